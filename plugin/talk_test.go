package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

func TestTalkSendsASnapshotAndThenOnlyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{things: map[string]any{"a": map[string]int{"x": 1}, "b": map[string]int{"x": 2}}}
		a := start(t, w, "")
		if got := a.after(0); len(got) != 1 || !got[0].Whole || len(got[0].Upserts) != 2 {
			t.Fatalf("first: %+v, want a snapshot of two", got)
		}
		if got := a.after(time.Minute); len(got) != 0 || w.lists < 6 {
			t.Errorf("while nothing changes: %+v after %d lists, want nothing after 7", got, w.lists)
		}
		w.set(func() { w.things["a"] = map[string]int{"x": 3}; delete(w.things, "b"); w.things["c"] = struct{}{} })
		got := a.after(10 * time.Second)
		if len(got) != 1 || got[0].Whole || len(got[0].Upserts) != 2 || len(got[0].Deletes) != 1 || got[0].Deletes[0].ID != "b" {
			t.Errorf("after changes: %+v, want a and c, and b gone", got)
		}
		if err := a.session.Resync(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		if got := a.after(time.Second); len(got) != 1 || !got[0].Whole || len(got[0].Upserts) != 2 {
			t.Errorf("after resync: %+v, want a snapshot of two", got)
		}
	})
}

func TestTalkDeletesNothingAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{things: map[string]any{"a": struct{}{}, "b": struct{}{}}}
		a := start(t, w, "")
		a.after(0)
		w.set(func() { delete(w.things, "b"); w.things["c"] = struct{}{}; w.err = errors.New("no luck") })
		if got := a.after(30 * time.Second); len(got) != 0 {
			t.Errorf("after an error: %+v, want nothing", got)
		}
		if st := <-a.statuses; st != (protocol.Status{Level: protocol.Degraded, Code: "list", Text: "no luck"}) {
			t.Errorf("status = %+v", st)
		}
		w.set(func() { w.err = nil })
		if got := a.after(20 * time.Second); len(got) != 1 || len(got[0].Deletes) != 1 || len(got[0].Upserts) != 1 {
			t.Errorf("after it is mended: %+v, want one new and one gone", got)
		}
		if st := <-a.statuses; st.Level != protocol.OK || len(a.statuses) > 0 {
			t.Errorf("status = %+v and %d more, want one ok", st, len(a.statuses))
		}
	})
}

// raw lists what it is.
type raw []Resource

func (r raw) List(_ context.Context, emit func(Resource)) error {
	for _, x := range r {
		emit(x)
	}
	return nil
}

func TestTalkTellsTheAuthorWhatCannotBeTold(t *testing.T) {
	for want, rs := range map[string]raw{
		"does not declare the kind": {{Key: Key{"com.example.other", "1"}, Spec: struct{}{}}},
		"listed twice":              {{Key: Key{kind, "1"}, Spec: struct{}{}}, {Key: Key{kind, "1"}, Spec: struct{}{}}},
		"no JSON object":            {{Key: Key{kind, "1"}, Spec: 7}},
		"encode the spec":           {{Key: Key{kind, "1"}, Spec: make(chan int)}},
		"id":                        {{Key: Key{kind, ""}, Spec: struct{}{}}},
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t, rs, "")
				if got := a.after(time.Minute); len(got) != 0 {
					t.Errorf("the agent took in %+v", got)
				}
				if st := <-a.statuses; st.Level != protocol.Degraded || !strings.Contains(st.Text, want) {
					t.Errorf("status = %+v, want degraded with %q", st, want)
				}
			})
		})
	}
}

func TestTalkGathersHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{hints: make(chan []Key), world: world{things: map[string]any{"a": struct{}{}}}}
		a := start(t, w, "")
		a.after(0)
		w.set(func() { w.things["b"] = struct{}{}; delete(w.things, "a") })
		for range 50 {
			w.hints <- []Key{{kind, "a"}, {kind, "b"}}
		}
		got := a.after(200 * time.Millisecond)
		if len(got) != 1 || len(got[0].Upserts) != 1 || len(got[0].Deletes) != 1 || w.gets != 2 || w.lists != 1 {
			t.Errorf("after hints at keys: %+v by %d gets and %d lists, want both by 2 and 1", got, w.gets, w.lists)
		}
		w.hints <- nil
		if a.after(time.Second); w.lists != 2 {
			t.Errorf("a hint without a key led to %d lists, want a second", w.lists)
		}
		for i := range 200 {
			w.hints <- []Key{{kind, fmt.Sprint(i)}}
		}
		if a.after(time.Second); w.gets != 2 || w.lists != 3 {
			t.Errorf("a storm led to %d gets and %d lists, want one list", w.gets-2, w.lists-2)
		}
		w.set(func() { w.err = errors.New("no") })
		w.hints <- []Key{{kind, "b"}}
		if a.after(time.Second); w.lists < 4 {
			t.Error("a Get that fails led to no list")
		}
	})
}

func TestTalkWatchesAgainAfterABreakAndLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var watches int
		w := &watched{watch: func() error { watches++; return errors.New("broken") }}
		a := start(t, w, "")
		a.after(8 * time.Second)
		if watches != 4 { // at 0, 1, 3 and 7 s
			t.Errorf("%d watches within 8 s, want 4", watches)
		}
		if w.lists != 4 { // first, and after each gap
			t.Errorf("%d lists within 8 s, want 4", w.lists)
		}
	})
}

func TestTalkRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{world: world{things: map[string]any{"a": struct{}{}}}}
		a := start(t, w, "")
		a.after(0)
		if err := a.session.Refresh(t.Context(), protocol.Key{Kind: kind, ID: "a"}); err != nil {
			t.Fatal(err)
		}
		if a.after(time.Second); w.gets != 1 || w.lists != 1 {
			t.Errorf("a refresh of one led to %d gets and %d lists, want one get", w.gets, w.lists-1)
		}
		if err := a.session.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a.after(time.Second); w.lists != 2 {
			t.Errorf("a refresh of all led to %d lists, want one", w.lists-1)
		}
	})
}

func TestTalkAnswersAndLeavesWhileListHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{hang: make(chan struct{})}
		defer close(w.hang)
		a := start(t, w, "")
		a.after(5 * time.Minute)
		select {
		case err := <-a.ended:
			t.Fatalf("the session ended: %v, want that pings are answered", err)
		default:
		}
		if st := <-a.statuses; st.Level != protocol.Degraded || !strings.Contains(st.Text, "has not returned") {
			t.Errorf("status = %+v", st)
		}
		began := time.Now()
		a.stop()
		if code := <-a.exit; code != exitOK || time.Since(began) > time.Second {
			t.Errorf("left with %d after %v, want 0 within 1s", code, time.Since(began))
		}
	})
}

func TestTalkLeavesWithTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{hang: make(chan struct{})}
		defer close(w.hang)
		host, conn := net.Pipe()
		exit := make(chan int, 1)
		go func() { exit <- talk(t.Context(), programOf(w), conn, slog.New(slog.DiscardHandler)) }()
		if _, err := protocol.NewReader(host, 0).Frame(); err != nil {
			t.Fatal(err)
		}
		if err := protocol.NewWriter(host).Frame(protocol.Frame{Welcome: &protocol.Welcome{Protocol: 1}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		host.Close()
		if code := <-exit; code != exitOK || time.Since(began) > time.Second {
			t.Errorf("left with %d after %v, want 0 within 1s", code, time.Since(began))
		}
	})
}

type panicking struct{}

func (p *panicking) List(context.Context, func(Resource)) error { panic("oh") }

func TestTalkSaysWhyItGivesUp(t *testing.T) {
	tests := []struct {
		name   string
		source Source
		config string
		code   string
		text   string
		exit   int
	}{
		{"a panic", &panicking{}, "", "panic", "panic: oh", exitPanic},
		{"an unknown key", &world{}, `{"fial":"x"}`, "config", `unknown key "fial"; known are: fail`, exitConfig},
		{"a key in capitals", &world{}, `{"FAIL":"x"}`, "config", `unknown key "FAIL"`, exitConfig},
		{"a wrong type", &world{}, `{"fail":1}`, "config", "want string", exitConfig},
		{"a value without sense", &world{}, `{"fail":"nonsense"}`, "config", `config.fail: "nonsense": want sense`, exitConfig},
		{"New fails", &world{}, `{"fail":"no disk"}`, "start", "no disk", exitError},
		{"no source", nil, "", "start", "no source was made", exitError},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := start(t, test.source, test.config)
				if st := <-a.statuses; st.Level != protocol.Failed || st.Code != test.code || !strings.Contains(st.Text, test.text) {
					t.Errorf("status = %+v, want failed, %s, %q", st, test.code, test.text)
				}
				if code := <-a.exit; code != test.exit {
					t.Errorf("exit code %d, want %d", code, test.exit)
				}
				if err := <-a.ended; !errors.Is(err, protocol.ErrLeft) || !strings.Contains(err.Error(), test.text) {
					t.Errorf("the session: %v, want that the plugin left, and why", err)
				}
			})
		})
	}
}

// TestTalkSaysNothingOfItsListWhenItLeaves checks that neither SIGTERM, which
// ends a list under way, nor giving up is logged as a list that failed.
func TestTalkSaysNothingOfItsListWhenItLeaves(t *testing.T) {
	for name, test := range map[string]struct {
		source Source
		logged string
	}{
		"SIGTERM":   {patient{}, ""},
		"giving up": {nil, "cannot go on and leaves"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				host, conn := net.Pipe()
				go io.Copy(io.Discard, host)
				ctx, sigterm := context.WithCancel(t.Context())
				exit := make(chan int, 1)
				go func() { exit <- talk(ctx, programOf(test.source), conn, slog.New(slog.NewTextHandler(&log, nil))) }()
				if err := protocol.NewWriter(host).Frame(protocol.Frame{Welcome: &protocol.Welcome{Protocol: 1}}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				sigterm()
				<-exit
				if strings.Contains(log.String(), "stays in force") || !strings.Contains(log.String(), test.logged) {
					t.Errorf("it logged\n%s\nwant %q and nothing of its list", &log, test.logged)
				}
			})
		})
	}
}

// patient lists nothing, and returns when it must.
type patient struct{}

func (patient) List(ctx context.Context, _ func(Resource)) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestTalkLogsWhyItIsDismissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		host, conn := net.Pipe()
		exit := make(chan int, 1)
		go func() {
			exit <- talk(t.Context(), programOf(&world{}), conn, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		no := errors.New("not enabled here")
		if _, err := protocol.Open(t.Context(), host, protocol.Options{
			Admit: func(protocol.Hello) (json.RawMessage, error) { return nil, no },
		}); !errors.Is(err, no) {
			t.Errorf("Open: %v, want %v", err, no)
		}
		if code := <-exit; code != exitError || !strings.Contains(log.String(), no.Error()) {
			t.Errorf("left with %d and logged %q, want 1 and the reason", code, &log)
		}
	})
}

func TestTalkRefusesAnAgentOfAnotherTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, conn := net.Pipe()
		exit := make(chan int, 1)
		go func() { exit <- talk(t.Context(), programOf(&world{}), conn, slog.New(slog.DiscardHandler)) }()
		in := protocol.NewReader(host, 0)
		if _, err := in.Frame(); err != nil {
			t.Fatal(err)
		}
		if err := protocol.NewWriter(host).Frame(protocol.Frame{Welcome: &protocol.Welcome{Protocol: 9, Agent: "agent 9.9"}}); err != nil {
			t.Fatal(err)
		}
		f, err := in.Frame()
		if err != nil || f.Status == nil || f.Status.Level != protocol.Failed {
			t.Fatalf("%+v, %v, want a failed status", f, err)
		}
		for _, part := range []string{"agent 9.9", "protocol 9", "test 1.0", "upgrade the plugin"} {
			if !strings.Contains(f.Status.Text, part) {
				t.Errorf("the status says %q, want %q in it", f.Status.Text, part)
			}
		}
		if code := <-exit; code != exitError {
			t.Errorf("exit code %d, want %d", code, exitError)
		}
	})
}

func TestTalkKeepsToTheWindowAndToSmallBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{things: make(map[string]any)}
		for i := range 3000 {
			w.things[strings.Repeat("\x01", 20)+fmt.Sprint(i)] = map[string]string{"text": strings.Repeat("é<", 300)}
		}
		host, conn := net.Pipe()
		go talk(t.Context(), programOf(w), conn, slog.New(slog.DiscardHandler))
		in := protocol.NewReader(host, 0)
		out := protocol.NewWriter(host)
		if _, err := in.Line(); err != nil {
			t.Fatal(err)
		}
		if err := out.Frame(protocol.Frame{Welcome: &protocol.Welcome{Protocol: 1, Window: 3}}); err != nil {
			t.Fatal(err)
		}
		count := 0
		for seq := uint64(1); ; seq++ {
			line, err := in.Line()
			if err != nil {
				t.Fatal(err)
			}
			if len(line) > maxBatch {
				t.Errorf("delta %d has %d bytes, want at most %d", seq, len(line), maxBatch)
			}
			f, err := protocol.ParseFrame(line)
			if err != nil || f.Delta == nil || f.Delta.Seq != seq {
				t.Fatalf("%.80s, %v, want delta %d", line, err, seq)
			}
			if count += len(f.Delta.Upserts); f.Delta.End {
				break
			}
			if seq%3 != 0 {
				continue
			}
			_ = host.SetReadDeadline(time.Now().Add(time.Hour))
			if line, err := in.Line(); err == nil {
				t.Fatalf("beyond the window: %.80s", line)
			}
			_ = host.SetReadDeadline(time.Time{})
			if err := out.Frame(protocol.Frame{Ack: &protocol.Ack{Seq: seq}}); err != nil {
				t.Fatal(err)
			}
		}
		if count != 3000 {
			t.Errorf("%d resources came, want 3000", count)
		}
		host.Close()
	})
}

type historian struct{ world }

func (h *historian) Events(ctx context.Context, tell func(Event)) error {
	for i := range 3 {
		tell(Event{About: Key{kind, "a"}, Type: "crashed", Data: map[string]int{"n": i}})
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestTalkTellsHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, conn := net.Pipe()
		go talk(t.Context(), programOf(&historian{}), conn, slog.New(slog.DiscardHandler))
		var got []protocol.Event
		s, err := protocol.Open(t.Context(), host, protocol.Options{Event: func(e protocol.Event) { got = append(got, e) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = s.Run(ctx)
		if len(got) != 3 || string(got[2].Data) != `{"n":2}` || got[0].At.IsZero() {
			t.Errorf("events: %+v, want three", got)
		}
	})
}

// FuzzTalk says anything to a plugin: it must neither panic nor stay.
func FuzzTalk(f *testing.F) {
	f.Add([]byte(`{"welcome":{"protocol":1}}` + "\n" + `{"ack":{"seq":1}}` + "\n" + `{"resync":{}}` + "\n"))
	f.Add([]byte(`{"welcome":{"protocol":1,"window":-1,"interval_ms":-5,"config":[]}}` + "\n" + `{"ping":{"nonce":1}}` + "\n"))
	f.Add([]byte(`{"refresh":{"keys":[{"kind":"x","id":"y"}]}}` + "\n" + `{"stop":{}}` + "\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		synctest.Test(t, func(t *testing.T) {
			host, conn := net.Pipe()
			exit := make(chan int, 1)
			go func() {
				exit <- talk(t.Context(), programOf(&world{things: map[string]any{"a": struct{}{}}}), conn, slog.New(slog.DiscardHandler))
			}()
			go io.Copy(io.Discard, host)
			_, _ = io.Copy(host, bytes.NewReader(said)) // it may have left
			time.Sleep(time.Minute)                     // of the bubble's clock
			host.Close()
			<-exit
		})
	})
}
