package plugin

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestByHand(t *testing.T) {
	good := &world{things: map[string]any{"b": map[string]string{"text": "x\x1b[31m"}, "a": struct{}{}}}
	tests := []struct {
		name   string
		source Source
		args   string
		stdin  string
		code   int
		stdout string
		stderr string
	}{
		{"a table", good, "", "", exitOK, "KIND               ID  NAME  SPEC\ncom.example.thing  a         {}\ncom.example.thing  b         {\"text\":\"x\\u001b[31m\"}\n", "2 resources, listed in "},
		{"JSON", good, "--json", "", exitOK, "{\"kind\":\"com.example.thing\",\"id\":\"a\",\"spec\":{}}\n", ""},
		{"version", good, "--version", "", exitOK, "test 1.0 (openpf9-go 1)\n", ""},
		{"help", good, "--help", "", exitOK, "", "is a discovery plugin"},
		{"schema", good, "--schema", "", exitOK, "\"additionalProperties\": false", ""},
		{"configuration", good, "--config -", `{"fail":"told to"}`, exitError, "", "test: told to\n"},
		{"a wrong one", good, "--config -", `{"fall":"x"}`, exitConfig, "", `test: config: unknown key "fall"; known are: fail`},
		{"none there", good, "--config /does/not/exist", "", exitConfig, "", "no such file"},
		{"an unknown flag", good, "--jsno", "", exitError, "", "not defined: -jsno"},
		{"an argument", good, "json", "", exitError, "", `no argument "json" is known`},
		{"an error", &world{err: errors.New("no luck")}, "", "", exitError, "", "test: list: no luck\n"},
		{"a panic", &panicking{}, "", "", exitPanic, "", "plugin.(*panicking).List"},
		{"an undeclared kind", raw{{Key: Key{"a.b", "1"}}}, "", "", exitError, "", "does not declare the kind"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := byHand(t.Context(), programOf(test.source), strings.Fields(test.args), strings.NewReader(test.stdin), &stdout, &stderr)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if !strings.Contains(stdout.String(), test.stdout) {
				t.Errorf("stdout %q, want %q in it", &stdout, test.stdout)
			}
			if !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("stderr %q, want %q in it", &stderr, test.stderr)
			}
		})
	}
}

// TestByHandWaitsNoLongerThanAnAgent for a list that heeds no context.
func TestByHandWaitsNoLongerThanAnAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		began, release := time.Now(), make(chan struct{})
		defer close(release)
		code := byHand(t.Context(), programOf(deaf(release)), nil, strings.NewReader(""), &stdout, &stderr)
		if took := time.Since(began); code != exitError || took != 31*time.Second || !strings.Contains(stderr.String(), "list: List has not returned for 31s") {
			t.Errorf("exit code %d after %v: %s", code, took, &stderr)
		}
	})
}

// deaf is a source whose list ends when it is closed, and not sooner.
type deaf chan struct{}

func (d deaf) List(context.Context, func(Resource)) error { <-d; return nil }

func TestPrintableKeepsTerminalsWhole(t *testing.T) {
	if got := printable("a\x1b[2J\u009b\n" + strings.Repeat("é", 100)); got != "a?[2J??"+strings.Repeat("é", 72)+"…" {
		t.Errorf("printable = %q", got)
	}
}

func TestMistakesOfTheAuthorAreNamed(t *testing.T) {
	source := func(context.Context, settings) (Source, error) { return raw{}, nil }
	kinds := []Kind{{Name: kind}}
	good := Plugin[settings]{Name: "test", Version: "1", Kinds: kinds, New: source}
	with := func(change func(*Plugin[settings])) func() error {
		return func() error {
			p := good
			change(&p)
			_, err := p.program()
			return err
		}
	}
	type mode struct {
		Mode string `json:"mode" enum:"fast,slow"`
	}
	type odd struct {
		N int `json:"n" min:"one"`
	}
	for name, test := range map[string]struct {
		program func() error
		want    string
	}{
		"none":                  {with(func(*Plugin[settings]) {}), ""},
		"no name":               {with(func(p *Plugin[settings]) { p.Name = "" }), "name \"\": want 1 to 64"},
		"no kinds":              {with(func(p *Plugin[settings]) { p.Kinds = nil }), "0 kinds, want 1 to 64"},
		"a kind in capitals":    {with(func(p *Plugin[settings]) { p.Kinds = []Kind{{Name: "LUN"}} }), "kind \"LUN\": want lower-case"},
		"a kind twice":          {with(func(p *Plugin[settings]) { p.Kinds = []Kind{{Name: kind}, {Name: kind}} }), "declared twice"},
		"a schema of no JSON":   {with(func(p *Plugin[settings]) { p.Kinds = []Kind{{Name: kind, Schema: []byte("{")}} }), "is not JSON"},
		"a column with no path": {with(func(p *Plugin[settings]) { p.Kinds = []Kind{{Name: kind, Columns: []Column{{Name: "A"}}}} }), "column A: path"},
		"no New":                {with(func(p *Plugin[settings]) { p.New = nil }), "New is nil"},
		"a config of one value": {func() error {
			_, err := Plugin[string]{Name: "test", Version: "1", Kinds: kinds}.program()
			return err
		}, "Config is a string, want a struct"},
		"a default that is refused": {func() error {
			_, err := Plugin[mode]{Name: "test", Version: "1", Kinds: kinds, New: func(context.Context, mode) (Source, error) { return raw{}, nil }}.program()
			return err
		}, `Config.mode: "" is not one of "fast", "slow"`},
		"an odd tag": {func() error {
			_, err := Plugin[odd]{Name: "test", Version: "1", Kinds: kinds, New: func(context.Context, odd) (Source, error) { return raw{}, nil }}.program()
			return err
		}, `the tag min of the field N: "one" is no number`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.program(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// The author reads one line, not a trace.
func TestServeTellsAMistakeInOneLine(t *testing.T) {
	if os.Getenv("SERVE_A_MISTAKE") != "" {
		Serve(Plugin[settings]{Name: "test", Version: "1", Kinds: []Kind{{Name: "LUN"}}, New: func(context.Context, settings) (Source, error) { return raw{}, nil }})
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServeTellsAMistakeInOneLine$")
	cmd.Env = append(os.Environ(), "SERVE_A_MISTAKE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitError {
		t.Errorf("it ends with %v, want status %d", err, exitError)
	}
	if line, more, _ := strings.Cut(stderr.String(), "\n"); more != "" || !strings.HasPrefix(line, `plugin test: a mistake in what is given to plugin.Serve: kind "LUN": want`) {
		t.Errorf("it says\n%s", &stderr)
	}
}

func TestNotifierTellsSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	env := map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": strconv.Itoa(os.Getpid())}
	n := newNotifier(func(k string) string { return env[k] })
	defer n.close()
	if n.every != 10*time.Second {
		t.Errorf("a ping each %v, want 10s", n.every)
	}
	n.tell("WATCHDOG=1")
	buf := make([]byte, 100)
	_ = systemd.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := systemd.Read(buf); err != nil || string(buf[:got]) != "WATCHDOG=1" {
		t.Errorf("systemd heard %q, %v", buf[:got], err)
	}
	env["WATCHDOG_PID"] = "1"
	if other := newNotifier(func(k string) string { return env[k] }); other.every != 0 {
		t.Error("it pings for another process")
	}
	none := newNotifier(func(string) string { return "" })
	none.tell("READY=1")
	none.close()
}

// TestTheWatchdogHearsNothingOfASourceThatHangs so that systemd restarts it.
func TestTheWatchdogHearsNothingOfASourceThatHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	heard := func() map[string]int {
		said := make(map[string]int)
		for buf := make([]byte, 100); ; {
			n, _, err := syscall.Recvfrom(fd, buf, syscall.MSG_DONTWAIT)
			if err != nil {
				return said
			}
			said[string(buf[:n])]++
		}
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", "")
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		a := start(t, w, "")
		a.after(25 * time.Second)
		if got := heard(); got["READY=1"] != 1 || got["WATCHDOG=1"] != 2 {
			t.Errorf("in 25s systemd heard %v, want one READY and two pings", got)
		}
		w.set(func() { w.hang = make(chan struct{}) })
		a.after(time.Minute)
		heard()
		if a.after(10 * time.Minute); len(heard()) > 0 {
			t.Error("systemd heard of a source that hangs")
		}
		close(w.hang) // its List, which holds the lock
		a.after(time.Minute)
		if got := heard(); got["WATCHDOG=1"] < 5 {
			t.Errorf("after it returned systemd heard %v, want pings", got)
		}
	})
}

func TestLedgerTakesUnchangedResourcesInCheaply(t *testing.T) {
	var rs raw
	for i := range 1000 {
		rs = append(rs, Resource{Key: Key{kind, strconv.Itoa(i)}, Spec: &settings{Fail: "no"}})
	}
	l := newLedger(programOf(rs).hello.Kinds)
	list := func(want int) {
		l.begin(false)
		if err := l.list(t.Context(), rs); err != nil {
			t.Fatal(err)
		}
		if up, del := l.commit(); len(up)+len(del) != want {
			t.Fatalf("%d and %d changes, want %d", len(up), len(del), want)
		}
	}
	list(1000)
	if n := testing.AllocsPerRun(10, func() { list(0) }); n > 2*1000+100 {
		t.Errorf("a list of 1000 unchanged resources allocates %v times, want at most twice each", n)
	}
}
