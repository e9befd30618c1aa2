package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const (
	hello     = `{"hello":{"protocols":[1],"name":"acme","version":"1.2","kinds":[{"name":"test.a"}]}}`
	snapshot1 = `{"delta":{"seq":1,"begin":true,"end":true,"count":1,"upserts":[{"kind":"test.a","id":"1","spec":{"x":1}}]}}`
)

func TestSessionTakesInWhatAPluginSends(t *testing.T) {
	batches := make(chan Batch, 10)
	statuses := make(chan Status, 10)
	events := make(chan Event, 10)
	p, s := open(t, Options{
		Agent: "agent 1", Interval: time.Second,
		Admit:  func(h Hello) (json.RawMessage, error) { return json.RawMessage(`{"of":"` + h.Name + `"}`), nil },
		Apply:  func(b Batch) error { batches <- b; return nil },
		Status: func(st Status) { statuses <- st },
		Event:  func(e Event) { events <- e },
	})
	w := p.read(t).Welcome
	if w == nil || w.Protocol != 1 || w.Window != 8 || w.IntervalMS != 1000 || w.Agent != "agent 1" || string(w.Config) != `{"of":"acme"}` {
		t.Fatalf("welcome = %+v", w)
	}
	ended := run(t, s)
	p.say(`{"later":{"x":1}}`, snapshot1)
	if b := <-batches; !b.Whole || len(b.Upserts) != 1 || string(b.Upserts[0].Spec) != `{"x":1}` {
		t.Errorf("the snapshot = %+v", b)
	}
	if a := p.read(t).Ack; a == nil || a.Seq != 1 {
		t.Errorf("ack = %+v, want 1", a)
	}
	p.say(`{"delta":{"seq":2,"deletes":[{"kind":"test.a","id":"1"}]}}`,
		`{"status":{"level":"degraded","code":"list","text":"no luck"}}`,
		`{"event":{"about":{"kind":"test.a","id":"1"},"type":"gone"}}`)
	if b := <-batches; b.Whole || len(b.Deletes) != 1 {
		t.Errorf("the changes = %+v", b)
	}
	if st := <-statuses; st.Level != Degraded || st.Text != "no luck" {
		t.Errorf("status = %+v", st)
	}
	if e := <-events; e.Type != "gone" {
		t.Errorf("event = %+v", e)
	}
	p.read(t) // ack
	if err := s.Resync(t.Context(), "because"); err != nil {
		t.Fatal(err)
	}
	if r := p.read(t).Resync; r == nil || r.Reason != "because" {
		t.Errorf("resync = %+v", r)
	}
	if err := s.Refresh(t.Context(), Key{"test.a", "1"}); err != nil {
		t.Fatal(err)
	}
	if r := p.read(t).Refresh; r == nil || len(r.Keys) != 1 {
		t.Errorf("refresh = %+v", r)
	}
	p.say(`{"status":{"level":"failed","text":"out of paper"}}`)
	p.conn.Close()
	if err := <-ended; !errors.Is(err, ErrLeft) || !strings.Contains(err.Error(), "out of paper") {
		t.Errorf("Run: %v, want that it left, and why", err)
	}
}

func TestSessionRefusesAtTheDoor(t *testing.T) {
	no := errors.New("not on the list")
	tests := []struct {
		name, first string
		want        string
	}{
		{"a plugin of the future", `{"hello":{"protocols":[7],"name":"acme","version":"1","kinds":[{"name":"a.b"}]}}`, "upgrade agent 1"},
		{"an incomplete hello", `{"hello":{"protocols":[1]}}`, "hello.name"},
		{"an empty one", `{"hello":{}}`, "hello.protocols"},
		{"another message first", `{"pong":{"nonce":1}}`, "no hello"},
		{"no JSON", `HTTP/1.1 400 Bad Request`, "no JSON object"},
		{"a plugin that gives up", `{"status":{"level":"failed","text":"no disk"}}`, "no disk"},
		{"a plugin that is not wanted", hello, no.Error()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			host, conn := pair(t)
			p := &peer{conn: conn, in: NewReader(conn, 0)}
			p.say(test.first)
			_, err := Open(t.Context(), host, Options{Agent: "agent 1", Admit: func(Hello) (json.RawMessage, error) { return nil, no }})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("Open: %v, want %q", err, test.want)
			}
			for {
				f, rerr := p.in.Frame()
				if rerr != nil {
					break // closed
				}
				if f.Welcome != nil {
					t.Error("the plugin is welcomed")
				}
				if f.Stop == nil || f.Stop.Reason != err.Error() {
					t.Errorf("the plugin is told %+v, want %q", f.Stop, err)
				}
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		host, _ := pair(t)
		if _, err := Open(t.Context(), host, Options{HelloTimeout: 10 * time.Millisecond}); !errors.Is(err, ErrHung) {
			t.Errorf("Open: %v, want %v", err, ErrHung)
		}
	})
	t.Run("an ended context", func(t *testing.T) {
		host, _ := pair(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Open(ctx, host, Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("Open: %v, want %v", err, context.Canceled)
		}
	})
}

func TestSessionEndsWithTheFirstBreachAndSaysWhich(t *testing.T) {
	for rule, line := range map[Rule]string{
		RuleSeq:       `{"delta":{"seq":2}}`,
		RuleCount:     `{"delta":{"seq":1,"begin":true,"end":true,"count":3}}`,
		RuleKinds:     `{"delta":{"seq":1,"begin":true,"upserts":[{"kind":"test.x","id":"1","spec":{}}]}}`,
		RuleJSON:      `no json`,
		RuleStatus:    `{"status":{"level":"splendid"}}`,
		RuleDirection: `{"ack":{"seq":1}}`,
		RuleLineSize:  `{"x":"` + strings.Repeat("x", 5000) + `"}`,
	} {
		t.Run(string(rule), func(t *testing.T) {
			applied := false
			p, s := open(t, Options{Limits: Limits{MaxLine: 5000}, Apply: func(Batch) error { applied = true; return nil }})
			p.read(t)
			ended := run(t, s)
			p.say(line)
			err := <-ended
			if ruleOf(err) != rule {
				t.Errorf("Run: %v, want rule %s", err, rule)
			}
			if stop := p.read(t).Stop; stop == nil || stop.Reason != err.Error() {
				t.Errorf("the plugin is told %+v, want %q", stop, err)
			}
			if applied {
				t.Error("something was taken in")
			}
		})
	}
}

// A plugin that says everything at once and leaves is judged by what it said.
func TestSessionHearsAPluginThatHasLeft(t *testing.T) {
	for name, c := range map[string]struct {
		line string
		rule Rule
	}{
		"and broke a rule": {`{"delta":{"seq":2}}`, RuleSeq},
		"and broke none":   {snapshot1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			host, conn := pair(t)
			p := &peer{conn: conn}
			p.say(hello, c.line)
			_ = conn.Close() // before the welcome
			s, err := Open(t.Context(), host, Options{})
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			if err := <-run(t, s); ruleOf(err) != c.rule || c.rule == "" && !errors.Is(err, ErrLeft) {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

func TestSessionEndsWhenTheHostCannotTakeIn(t *testing.T) {
	full := errors.New("disk full")
	p, s := open(t, Options{Apply: func(Batch) error { return full }})
	p.read(t)
	ended := run(t, s)
	p.say(snapshot1)
	if err := <-ended; !errors.Is(err, full) {
		t.Errorf("Run: %v, want %v", err, full)
	}
	if f, err := p.in.Frame(); err == nil {
		t.Errorf("the plugin hears %+v, want no acknowledgement", f)
	}
}

func TestSessionStopsItsPlugin(t *testing.T) {
	t.Run("that leaves", func(t *testing.T) {
		p, s := open(t, Options{})
		p.read(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		cancel()
		if stop := p.read(t).Stop; stop == nil || stop.GraceMS != 2000 {
			t.Errorf("stop = %+v", stop)
		}
		p.conn.Close()
		if err := <-ended; err != context.Canceled { //nolint:errorlint // exactly: it did leave
			t.Errorf("Run: %v, want %v", err, context.Canceled)
		}
	})
	t.Run("that stays", func(t *testing.T) {
		p, s := open(t, Options{Grace: 10 * time.Millisecond})
		p.read(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "still there") {
			t.Errorf("Run: %v, want that it stayed", err)
		}
	})
}

func TestSessionFindsAHungPlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, conn := net.Pipe()
		p := &peer{conn: conn, in: NewReader(conn, 0)}
		go p.say(hello)
		var s *Session
		opened := make(chan error, 1)
		go func() {
			var err error
			s, err = Open(t.Context(), host, Options{})
			opened <- err
		}()
		p.read(t)
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Run(t.Context()) }()
		began := time.Now()
		for range 3 {
			ping := p.read(t).Ping
			p.say(fmt.Sprintf(`{"pong":{"nonce":%d}}`, ping.Nonce))
		}
		if took := time.Since(began); took != 45*time.Second {
			t.Errorf("three pings took %v, want 45s", took)
		}
		p.read(t)
		p.say(`{"pong":{"nonce":99}}`)
		if err := <-ended; !errors.Is(err, ErrHung) {
			t.Errorf("Run: %v, want %v", err, ErrHung)
		}
		if took := time.Since(began); took != 70*time.Second {
			t.Errorf("the end came after %v, want 70s", took)
		}
	})
}

func TestPaceSlowsDownWhatIsEndless(t *testing.T) {
	p := newPace(Limits{}.withDefaults())
	now := time.Unix(0, 0)
	var waited time.Duration
	const lines = 30_000
	for range lines {
		wait := p.take(now, 100)
		now = now.Add(wait)
		waited += wait
	}
	if want := (lines - lineBurst) / lineRate * time.Second; waited < want*9/10 || waited > want*11/10 {
		t.Errorf("%d lines waited %v, want about %v", lines, waited, want)
	}
	if p.note() == "" {
		t.Error("nothing is said of it")
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte(hello + "\n" + snapshot1 + "\n" + `{"delta":{"seq":2,"deletes":[{"kind":"test.a","id":"1"}]}}` + "\n"))
	f.Add([]byte(hello + "\n" + `{"status":{"level":"ok"}}` + "\n" + `{"pong":{"nonce":1}}` + "\n" + `{"event":{"about":{"kind":"test.a","id":"1"},"type":"x"}}` + "\n"))
	f.Add([]byte(`{"hello":{"protocols":[9]}}` + "\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		host, conn := pair(t)
		go func() {
			_, _ = conn.Write(said)
			_ = conn.(*net.UnixConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		}()
		whole := false
		s, err := Open(t.Context(), host, Options{Apply: func(b Batch) error {
			if whole = whole || b.Whole; !whole {
				t.Error("changes were taken in before a snapshot")
			}
			return nil
		}})
		if err == nil {
			err = s.Run(t.Context())
		}
		if err == nil {
			t.Fatal("a session ended without saying why")
		}
	})
}

// peer is the plugin's end, played by a test.
type peer struct {
	conn net.Conn
	in   *Reader
}

func (p *peer) say(lines ...string) {
	_, _ = io.WriteString(p.conn, strings.Join(lines, "\n")+"\n") // a closed end shows when reading
}

func (p *peer) read(t *testing.T) Frame {
	t.Helper()
	f, err := p.in.Frame()
	if err != nil {
		t.Fatalf("the plugin hears nothing: %v", err)
	}
	return f
}

// open opens a session with a plugin that has said hello.
func open(t *testing.T, o Options) (*peer, *Session) {
	t.Helper()
	host, conn := pair(t)
	p := &peer{conn: conn, in: NewReader(conn, 0)}
	p.say(hello)
	s, err := Open(t.Context(), host, o)
	if err != nil {
		t.Fatal(err)
	}
	return p, s
}

// run runs a session and returns what gets its end.
func run(t *testing.T, s *Session) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	return ended
}

// pair returns both ends of a Unix socket, closed with the test. Reads of the
// second fail after 10 s.
func pair(t *testing.T) (host, plugin net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	if err := ends[1].SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return ends[0], ends[1]
}
