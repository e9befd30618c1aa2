package actions

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// executor runs one whose actions are done by the function.
func executor(t *testing.T, do func(context.Context, *Action)) *Executor {
	t.Helper()
	x, err := New(Options{
		Actions: wire.Actions(), Target: func(plugin.Key) error { return nil }, Control: func() error { return nil },
		Journal: filepath.Join(t.TempDir(), "journal"), Do: do, Resume: func(context.Context, *Action) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = x.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return x
}

func ask(id string) *wire.ActionRequest {
	now := time.Now()
	return &wire.ActionRequest{ID: id, Action: wire.ActionPowerOff, Target: plugin.Key{Kind: "compute.vm", ID: "x"}, Requested: now, Deadline: now.Add(time.Minute)}
}

// outcome waits for an action's end.
func outcome(t *testing.T, x *Executor, a *Action) wire.ActionOutcome {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		o, changed := x.view(a)
		if o.Done() {
			return o
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("it does not end: %+v", o)
		}
	}
}

// What cannot be written down is not done: after a restart nobody would know.
func TestNothingIsDoneWithoutTheJournal(t *testing.T) {
	var x *Executor
	ready, done := make(chan struct{}), false
	x = executor(t, func(_ context.Context, a *Action) {
		<-ready
		_ = x.journal.close() // the disk is full, say
		if err := a.Note(Memo{Asked: time.Now()}); err != nil {
			a.Fail(err.Error(), false)
			return
		}
		done = true
	})
	close(ready)
	a, _, err := x.accept(ask("action-1"))
	if err != nil || a == nil {
		t.Fatalf("got %v, %v", a, err)
	}
	if o := outcome(t, x, a); o.State != wire.ActionFailed || o.Uncertain || !strings.Contains(o.Reason, "write it down") || done {
		t.Errorf("got %+v, done %v", o, done)
	}
	a, o, err := x.accept(ask("action-2"))
	if err != nil || a != nil || o.State != wire.ActionFailed || o.Uncertain || !strings.Contains(o.Reason, "cannot be written down, nothing was done") {
		t.Errorf("then got %v, %+v, %v", a, o, err)
	}
	if _, err := x.settle("action-3"); err == nil {
		t.Error("an unknown id is settled, though that cannot be written down")
	}
	if _, o, err := x.accept(ask("action-4")); err != nil || !strings.Contains(o.Reason, "cannot be written down") {
		t.Errorf("the target is not free: %+v, %v", o, err)
	}
}

func TestAPanicEndsOneActionOnly(t *testing.T) {
	x := executor(t, func(_ context.Context, a *Action) {
		if a.Asked().ID == "action-1" {
			panic("expected ArrayOfInt to have a name")
		}
		a.Succeed("")
	})
	for id, want := range map[string]string{"action-1": wire.ActionFailed, "action-2": wire.ActionSucceeded} {
		q := ask(id)
		q.Target.ID = id
		a, _, err := x.accept(q)
		if err != nil || a == nil {
			t.Fatalf("got %v, %v", a, err)
		}
		if o := outcome(t, x, a); o.State != want || o.Uncertain != (want == wire.ActionFailed) {
			t.Errorf("%s: %+v, want %s", id, o, want)
		}
	}
}

// A request that comes before Run is new, and not what an earlier run left.
func TestWhatComesBeforeRunIsDoneOnce(t *testing.T) {
	did := 0
	x, err := New(Options{
		Actions: wire.Actions(), Target: func(plugin.Key) error { return nil }, Control: func() error { return nil },
		Journal: filepath.Join(t.TempDir(), "journal"), Resume: func(context.Context, *Action) { t.Error("resumed") },
		Do: func(_ context.Context, a *Action) {
			did++
			a.Succeed("")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	accepted := make(chan *Action, 1)
	wg.Go(func() {
		a, _, _ := x.accept(ask("action-1"))
		accepted <- a
	})
	for known := false; !known; { // it waits for Run
		x.mu.Lock()
		known = x.entries["action-1"] != nil
		x.mu.Unlock()
	}
	wg.Go(func() { _ = x.Run(ctx) })
	o := outcome(t, x, <-accepted)
	cancel()
	wg.Wait()
	if o.State != wire.ActionSucceeded || did != 1 {
		t.Errorf("done %d times: %+v", did, o)
	}
}

func TestProgressIsSeen(t *testing.T) {
	on := make(chan int)
	x := executor(t, func(_ context.Context, a *Action) {
		for n := range on {
			a.Progress(n)
		}
		a.Ticket(&wire.ConsoleTicket{URL: "x", Expires: time.Now().Add(time.Minute)})
		a.Succeed("")
	})
	a, _, err := x.accept(ask("action-1"))
	if err != nil {
		t.Fatal(err)
	}
	for sent, want := range map[int]int{30: 30, 500: 99, -1: 0} {
		_, changed := x.view(a)
		on <- sent
		<-changed
		if o, _ := x.view(a); o.Progress != want {
			t.Errorf("%d shows as %d, want %d", sent, o.Progress, want)
		}
	}
	close(on)
	if o := outcome(t, x, a); o.Progress != 100 || o.Result == nil || o.Result.Console == nil {
		t.Errorf("the end: %+v", o)
	}
	x.mu.Lock()
	a.ticket.Expires = time.Now()
	x.mu.Unlock()
	if o, _ := x.view(a); o.Result != nil {
		t.Errorf("a ticket that has expired: %+v", o.Result)
	}
}
