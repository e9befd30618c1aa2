package plugin

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
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

func TestPrintableKeepsTerminalsWhole(t *testing.T) {
	if got := printable("a\x1b[2J\u009b\n" + strings.Repeat("é", 100)); got != "a?[2J??"+strings.Repeat("é", 72)+"…" {
		t.Errorf("printable = %q", got)
	}
}

func TestConfigHasDefaultsAndDurations(t *testing.T) {
	type config struct {
		Dir  string   `json:"dir"`
		Wait Duration `json:"wait"`
	}
	var got config
	p := Plugin[config]{
		Name: "test", Version: "1", Kinds: []Kind{{Name: kind}},
		Config: config{Dir: "/srv", Wait: Duration(time.Minute)},
		New:    func(_ context.Context, c config) (Source, error) { got = c; return raw{}, nil },
	}.program()
	for text, want := range map[string]config{
		``:                          {"/srv", Duration(time.Minute)},
		`{"wait":"5s"}`:             {"/srv", Duration(5 * time.Second)},
		string(p.config.Defaults()): {"/srv", Duration(time.Minute)},
	} {
		if _, err := p.open(t.Context(), []byte(text)); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{`{"wait":5}`, `{"wait":"soon"}`, `[]`, `{`} {
		if _, err := p.open(t.Context(), []byte(text)); !isBadConfig(err) {
			t.Errorf("%s: %v, want a bad configuration", text, err)
		}
	}
}

func TestMistakesInMainShowAtOnce(t *testing.T) {
	for name, f := range map[string]func(){
		"no name":               func() { Plugin[settings]{Version: "1", Kinds: []Kind{{Name: kind}}}.program() },
		"no kinds":              func() { Plugin[settings]{Name: "test", Version: "1"}.program() },
		"a config of one value": func() { Plugin[string]{Name: "test", Version: "1", Kinds: []Kind{{Name: kind}}}.program() },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
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
