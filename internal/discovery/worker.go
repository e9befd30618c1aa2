package discovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

const (
	defaultInterval = time.Minute
	defaultTimeout  = 30 * time.Second
	grace           = time.Second // after the timeout, before a list is given up
	absentInterval  = time.Minute // between looks for what is not installed
	firstBackOff    = time.Second
	lastBackOff     = 5 * time.Minute
	healthyFor      = time.Minute            // after which old failures are forgotten
	quiet           = 20 * time.Millisecond  // that hints must have before a list
	gatherMost      = 100 * time.Millisecond // of hints
	listRate        = 2                      // lists per second because of hints, and as many as
	listBurst       = 5                      // these at once
	getRate         = 20
	getBurst        = 20
)

// worker runs one module.
type worker struct {
	module Module
	sink   Sink
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned
	hints  *hints
	lists  *bucket
	gets   *bucket

	pending <-chan error // of a list that did not return in time; nil: none

	failures int
	failed   time.Time  // last
	watching chan error // a watch that broke; run takes it
	status   wire.SourceStatus
}

func newWorker(m Module, sink Sink, log *slog.Logger, cancel context.CancelFunc) *worker {
	if m.Interval <= 0 {
		m.Interval = defaultInterval
	}
	if m.Timeout <= 0 {
		m.Timeout = defaultTimeout
	}
	return &worker{
		module: m, sink: sink, log: log, cancel: cancel, done: make(chan struct{}), hints: newHints(),
		lists: newBucket(listRate, listBurst), gets: newBucket(getRate, getBurst), watching: make(chan error, 1),
		status: wire.SourceStatus{Name: m.Name, Kinds: m.Kinds, State: Starting, Since: time.Now().UTC()},
	}
}

// run lists and watches until ctx ends.
func (w *worker) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	w.sink.Status(w.status)
	if watcher, ok := w.module.Source.(plugin.Watcher); ok {
		wg.Go(func() { w.watch(ctx, watcher) })
	}
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-w.pending:
			w.pending = nil
			w.log.Info("a list that was given up has returned", "err", err)
			next.Reset(0)
		case err := <-w.watching:
			w.degrade(err)
			next.Reset(0)
		case <-next.C:
			next.Reset(w.list(ctx))
		case <-w.hints.c:
			if again := w.hinted(ctx); again >= 0 {
				next.Reset(again)
			}
		}
	}
}

// hinted looks at what is said to have changed. It returns when to list; a
// negative time leaves the schedule.
func (w *worker) hinted(ctx context.Context) time.Duration {
	keys, all := w.hints.take()
	getter, can := w.module.Source.(plugin.Getter)
	if !all && can && w.status.State == OK && w.pending == nil {
		for k := range keys {
			if wait := w.gets.wait(); wait > 0 {
				all = true // a storm: one list shows it all
				break
			}
			if !w.get(ctx, getter, k) {
				return 0
			}
		}
		if !all {
			return -1
		}
	}
	w.gather(ctx)
	if wait := w.lists.wait(); wait > 0 {
		return wait
	}
	return 0
}

// gather waits until hints pause, for they come in flocks.
func (w *worker) gather(ctx context.Context) {
	most := time.NewTimer(gatherMost)
	defer most.Stop()
	for {
		pause := time.NewTimer(quiet)
		select {
		case <-w.hints.c:
			w.hints.take()
			pause.Stop()
			continue
		case <-pause.C:
			return
		case <-most.C:
		case <-ctx.Done():
		}
		pause.Stop()
		return
	}
}

// get looks at one resource; false: the module should be listed.
func (w *worker) get(ctx context.Context, g plugin.Getter, k plugin.Key) bool {
	type result struct {
		r     plugin.Resource
		found bool
	}
	var got result
	err := w.call(ctx, func(ctx context.Context) (err error) {
		r, found, err := g.Get(ctx, k)
		got = result{r, found}
		return err
	})
	if err != nil {
		return false
	}
	w.sink.Got(w.module.Name, k, got.r, got.found)
	return true
}

// list lists once and returns when to do it again.
func (w *worker) list(ctx context.Context) time.Duration {
	if w.pending != nil {
		return w.module.Interval
	}
	var rs []plugin.Resource
	began := time.Now()
	err := w.call(ctx, func(ctx context.Context) error {
		var all []plugin.Resource // the call's own, in case it is given up
		err := w.module.Source.List(ctx, func(r plugin.Resource) { all = append(all, r) })
		if err == nil {
			rs = all
		}
		return err
	})
	switch {
	case ctx.Err() != nil:
		return w.module.Interval
	case errors.Is(err, fs.ErrNotExist):
		w.failures = 0
		w.set(OK, "not installed: "+err.Error(), -1)
		return absentInterval
	case err != nil:
		w.degrade(err)
		return w.backOff()
	}
	if time.Since(w.failed) > healthyFor {
		w.failures = 0
	}
	w.sink.Listed(w.module.Name, w.module.Kinds, rs)
	w.set(OK, "", len(rs))
	w.log.Debug("listed", "count", len(rs), "took", time.Since(began))
	return w.module.Interval
}

// call runs f with the module's time limit, and makes a panic an error. A call
// that does not return is left behind in w.pending.
func (w *worker) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, w.module.Timeout)
	result := make(chan error, 1)
	go func() { // ends with the source's call; see Runner.Run
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				w.log.Error("module panicked", "panic", p, "stack", string(debug.Stack()))
				result <- fmt.Errorf("panic: %v", p)
			}
		}()
		result <- f(ctx)
	}()
	limit := time.NewTimer(w.module.Timeout + grace)
	defer limit.Stop()
	select {
	case err := <-result:
		return err
	case <-limit.C:
	case <-ctx.Done():
		// The source should notice by itself.
		select {
		case err := <-result:
			return err
		case <-time.After(grace):
		}
	}
	w.pending = result
	return errGivenUp
}

var errGivenUp = errors.New("the module does not return")

// watch passes hints on until ctx ends. After each break there may be a gap, so
// it asks for a list.
func (w *worker) watch(ctx context.Context, watcher plugin.Watcher) {
	wait := firstBackOff
	for ctx.Err() == nil {
		began := time.Now()
		err := w.watchOnce(ctx, watcher)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > healthyFor {
			wait = firstBackOff
		}
		pause := wait/2 + rand.N(wait/2+1)
		if errors.Is(err, fs.ErrNotExist) {
			pause = absentInterval
		} else {
			select {
			case w.watching <- fmt.Errorf("watch: %w", err):
			default:
			}
			wait = min(2*wait, lastBackOff)
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return
		}
		w.hints.add(nil)
	}
}

func (w *worker) watchOnce(ctx context.Context, watcher plugin.Watcher) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if err := watcher.Watch(ctx, func(keys ...plugin.Key) { w.hints.add(keys) }); err != nil {
		return err
	}
	return errors.New("ended without an error")
}

// degrade notes a failure. What was listed last stays in force.
func (w *worker) degrade(err error) {
	state := Degraded
	if w.status.Listed.IsZero() || errors.Is(err, errGivenUp) {
		state = Failed
	}
	w.set(state, err.Error(), -1)
}

// backOff returns when to try again after one more failure.
func (w *worker) backOff() time.Duration {
	w.failed = time.Now()
	wait := min(firstBackOff<<min(w.failures, 16), lastBackOff)
	w.failures++
	return wait/2 + rand.N(wait/2+1)
}

// set notes the module's health; count -1: there is no new list.
func (w *worker) set(state, reason string, count int) {
	now := time.Now().UTC()
	turned := state != w.status.State
	changed := turned || reason != w.status.Reason
	if turned {
		w.status.Since = now
	}
	w.status.State, w.status.Reason = state, reason
	if count >= 0 {
		changed = changed || count != w.status.Count
		w.status.Count, w.status.Listed = count, now
	}
	st := w.status
	if !changed {
		return
	}
	w.sink.Status(st)
	switch {
	case !turned:
	case state == OK:
		w.log.Info("module is well", "count", st.Count, "note", reason)
	default:
		w.log.Warn("module fails, its last list stays in force", "state", state, "err", reason)
	}
}
