package netconf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/gateway/firstboot/testcard"
)

var errSilence = errors.New("no route to host")

// changer has a machine with a static address in force.
func changer(t *testing.T) (*Changer, settings.Settings) {
	t.Helper()
	s := machine(t)
	before := with(t, settings.KeyIP, "192.0.2.10/24", settings.KeyGateway, "192.0.2.1", settings.KeyHostname, "before")
	apply(t, s, before)
	c := &Changer{System: s, Store: settings.Store{Dir: t.TempDir()}, Window: time.Minute, Answers: func(context.Context, settings.Settings) (string, error) { return "", errSilence }}
	st, err := c.Store.Load()
	if err != nil {
		t.Fatal(err)
	}
	st.Settings = before
	if err := c.Store.Save(st); err != nil {
		t.Fatal(err)
	}
	return c, before
}

// wantBefore says that nothing of a change is left.
func wantBefore(t *testing.T, c *Changer, before settings.Settings, why string) {
	t.Helper()
	wantState(t, "192.0.2.10/24", "via 192.0.2.1")
	if name, _ := os.Hostname(); name != "before" {
		t.Errorf("host name = %q", name)
	}
	if got := content(t, c.System, networkFile); !strings.Contains(got, "Address=192.0.2.10/24\n") {
		t.Errorf("networkd is told:\n%s", got)
	}
	st, err := c.Store.Load()
	if err != nil {
		t.Fatal(err)
	}
	if st.Pending != nil || !st.Settings.Equal(&before) {
		t.Errorf("state = %+v", st)
	}
	if n := len(st.Changes); n == 0 || !strings.HasPrefix(st.Changes[n-1].Outcome, "rolled back: ") || !strings.Contains(st.Changes[n-1].Outcome, why) {
		t.Errorf("history = %+v, want an end with %q", st.Changes, why)
	}
}

func after(t testing.TB) settings.Settings {
	return with(t, settings.KeyIP, "198.51.100.7/24", settings.KeyGateway, "198.51.100.1", settings.KeyHostname, "after", settings.KeyDNS, "198.51.100.53")
}

func TestChangeIsKeptWhenSomebodyAnswers(t *testing.T) {
	c, _ := changer(t)
	asked := 0
	c.Answers = func(_ context.Context, s settings.Settings) (string, error) {
		if asked++; s.Address.String() != "198.51.100.7/24" {
			t.Errorf("asked with %s", s.Address)
		}
		wantState(t, "198.51.100.7/24", "via 198.51.100.1") // it is applied by then
		if asked == 1 {
			return "", errSilence
		}
		return "the deployment unit", nil
	}
	want := after(t)
	out, err := c.Try(t.Context(), want, nil)
	if err != nil || !out.Kept || !strings.Contains(out.Why, "deployment unit answered") {
		t.Fatalf("%+v, %v", out, err)
	}
	wantState(t, "198.51.100.7/24", "via 198.51.100.1")
	st, err := c.Store.Load()
	if err != nil || st.Pending != nil || !st.Settings.Equal(&want) {
		t.Errorf("state = %+v, %v", st, err)
	}
	if took, err := c.Recover(t.Context()); err != nil || took {
		t.Errorf("a kept change was taken back: %v %v", took, err)
	}
}

func TestChangeIsKeptWhenConfirmed(t *testing.T) {
	c, _ := changer(t)
	confirm := make(chan struct{}, 1)
	confirm <- struct{}{}
	out, err := c.Try(t.Context(), after(t), confirm)
	if err != nil || !out.Kept {
		t.Fatalf("%+v, %v", out, err)
	}
	wantState(t, "198.51.100.7/24", "via 198.51.100.1")
}

func TestChangeIsRolledBackWithoutAnAnswer(t *testing.T) {
	c, before := changer(t)
	c.Window = time.Second
	told := 0
	c.Applied = func(context.Context) {
		if told++; told == 1 {
			wantState(t, "198.51.100.7/24", "via 198.51.100.1")
		} else {
			wantState(t, "192.0.2.10/24", "via 192.0.2.1")
		}
	}
	out, err := c.Try(t.Context(), after(t), nil)
	if err != nil || out.Kept || told != 2 {
		t.Fatalf("%+v, %v; of %d changes was told", out, err, told)
	}
	wantBefore(t, c, before, "nothing answered: no route to host")
}

func TestChangeIsRolledBackWhenTheConsoleCloses(t *testing.T) {
	c, before := changer(t)
	_, log := services(t, c.System)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Answers = func(context.Context, settings.Settings) (string, error) {
		cancel()
		return "", errSilence
	}
	if out, err := c.Try(ctx, after(t), nil); err != nil || out.Kept {
		t.Fatalf("%+v, %v", out, err)
	}
	wantBefore(t, c, before, "closed")
	if b, err := os.ReadFile(log); err != nil || strings.Count(string(b), "networkctl reload\n") != 2 {
		t.Errorf("called %q, %v, want two reloads", b, err)
	}
}

func TestChangeThatCannotBeAppliedIsRolledBack(t *testing.T) {
	c, before := changer(t)
	bin := t.TempDir()
	if err := os.MkdirAll(c.System.path(timesyncdRuns), 0o755); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n[ -e " + bin + "/once ] && exit 0\ntouch " + bin + "/once\necho no bus >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	want := after(t)
	want.NTP = []string{"192.0.2.9"}
	if out, err := c.Try(t.Context(), want, nil); err != nil || out.Kept {
		t.Fatalf("%+v, %v", out, err)
	}
	wantBefore(t, c, before, "no bus")
}

func TestTwoChangesExclude(t *testing.T) {
	c, before := changer(t)
	c.Answers = func(ctx context.Context, _ settings.Settings) (string, error) {
		if _, err := c.Try(ctx, before, nil); !errors.Is(err, settings.ErrBusy) {
			t.Errorf("a second change: %v, want ErrBusy", err)
		}
		if took, err := c.Recover(ctx); took || err != nil {
			t.Errorf("a change was taken from its holder: %v, %v", took, err)
		}
		return "the vCenter", nil
	}
	if out, err := c.Try(t.Context(), after(t), nil); err != nil || !out.Kept {
		t.Fatalf("%+v, %v", out, err)
	}
}

// victim changes the network and waits to be killed.
func victim(dirs string) {
	root, state, _ := strings.Cut(dirs, ":")
	c := &Changer{
		System: &System{Root: root, Link: testcard.Name},
		Store:  settings.Store{Dir: state},
		Answers: func(context.Context, settings.Settings) (string, error) {
			fmt.Println("applied")
			return "", errSilence
		},
	}
	want, problems := settings.Settings{}.With(map[string]string{settings.KeyIP: "198.51.100.7/24", settings.KeyGateway: "198.51.100.1", settings.KeyHostname: "after"})
	if len(problems) > 0 {
		panic(problems)
	}
	out, err := c.Try(context.Background(), want, nil)
	fmt.Println("ended by itself:", out, err)
}

func TestChangeOfAKilledProcessIsRolledBack(t *testing.T) {
	c, before := changer(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), victimEnv+"="+c.System.Root+":"+c.Store.Dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 100)
	n, err := out.Read(said)
	if err != nil || !strings.HasPrefix(string(said[:n]), "applied") {
		t.Fatalf("the victim said %q, %v", said[:n], err)
	}
	wantState(t, "198.51.100.7/24", "via 198.51.100.1")
	if took, err := c.Recover(t.Context()); took || err != nil {
		t.Errorf("taken back while its holder lives: %v, %v", took, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if took, err := c.Recover(t.Context()); !took || err != nil {
		t.Errorf("Recover = %v, %v, want that it took the change back", took, err)
	}
	wantBefore(t, c, before, "restarted")
	if took, err := c.Recover(t.Context()); took || err != nil {
		t.Errorf("Recover a second time = %v, %v", took, err)
	}
}

// A roll-back that was itself cut short begins again.
func TestRecoverAfterACrashWithinARollBack(t *testing.T) {
	c, before := changer(t)
	st, err := c.Store.Load()
	if err != nil {
		t.Fatal(err)
	}
	st.Pending = &settings.Pending{Before: before, After: after(t), What: "gw.ip"}
	if err := c.Store.Save(st); err != nil {
		t.Fatal(err)
	}
	// Half of it is back already.
	apply(t, c.System, with(t, settings.KeyIP, "192.0.2.10/24", settings.KeyHostname, "after"))
	if took, err := c.Recover(t.Context()); !took || err != nil {
		t.Errorf("Recover = %v, %v", took, err)
	}
	wantBefore(t, c, before, "restarted")
}
