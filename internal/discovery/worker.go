package discovery

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

const (
	defaultInterval = time.Minute
	defaultTimeout  = 30 * time.Second
	grace           = time.Second // after a time limit, before a call is given up
	absentInterval  = time.Minute // between looks for what is not installed
	notYetInterval  = 2 * time.Second
	idleLook        = time.Hour // when there is nothing to wait for but answers
	manyGone        = 10        // of one batch: no sink doubts so few
)

// worker runs one module. Its loop never waits for the source.
type worker struct {
	module Module
	getter plugin.Getter // nil: the source has none
	batch  BatchGetter   // likewise; it is used in the getter's place
	sink   Sink
	log    *slog.Logger
	after  <-chan struct{} // closed when nothing of an earlier run is left; nil: nothing is

	cancel context.CancelFunc
	done   chan struct{} // closed when the loop has ended
	idle   chan struct{} // closed when, after that, no call is under way
	calls  sync.WaitGroup
	hints  *hints
	broken chan error // a watch that broke

	// Of the loop, until done is closed.
	began    bool
	call     *call // under way; nil: none
	keys     map[plugin.Key]struct{}
	gets     bucket
	schedule schedule
	status   wire.SourceStatus
}

func newWorker(m Module, sink Sink, log *slog.Logger, after <-chan struct{}) *worker {
	if m.Interval <= 0 {
		m.Interval = defaultInterval
	}
	if m.Timeout <= 0 {
		m.Timeout = defaultTimeout
	}
	now := time.Now()
	w := &worker{
		module: m, sink: sink, log: log, after: after,
		done: make(chan struct{}), idle: make(chan struct{}), hints: newHints(maxHints), broken: make(chan error, 1),
		gets: newBucket(getRate, getBurst), schedule: newSchedule(m.Interval, now),
		status: wire.SourceStatus{Name: m.Name, Kinds: m.Kinds, State: Starting, Since: now.UTC()},
	}
	w.getter, _ = m.Source.(plugin.Getter)
	if w.batch, _ = m.Source.(BatchGetter); w.batch != nil {
		w.hints, w.gets = newHints(maxBatch), newBucket(batchRate, batchBurst)
	}
	return w
}

// start runs the module until ctx ends or stop.
func (w *worker) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(ctx)
	go func() { // owned by the Runner, which waits for done and then for idle
		w.run(ctx)
		close(w.done)
		w.calls.Wait()
		close(w.idle)
	}()
}

// stop ends the loop and returns what is closed when the source has returned too.
func (w *worker) stop() <-chan struct{} {
	w.cancel()
	<-w.done
	if !w.began {
		return w.after
	}
	return w.idle
}

func (w *worker) run(ctx context.Context) {
	w.sink.Status(w.status)
	if !w.turn(ctx) {
		return
	}
	w.began = true
	if watcher, ok := w.module.Source.(plugin.Watcher); ok {
		w.calls.Go(func() { w.watch(ctx, watcher) })
	}
	timer := time.NewTimer(idleLook)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(w.next(ctx))
		var ended chan error
		if w.call != nil {
			ended = w.call.ended
		}
		select {
		case <-ctx.Done():
		case err := <-ended:
			w.finish(err)
		case err := <-w.broken:
			w.degrade(err)
			w.schedule.hint(time.Now())
		case <-w.hints.c:
			w.take()
		case <-timer.C:
		}
	}
}

// turn waits until nothing of an earlier run is left; false: ctx ended first.
func (w *worker) turn(ctx context.Context) bool {
	late := time.NewTimer(grace)
	defer late.Stop()
	for w.after != nil {
		select {
		case <-w.after:
			w.after = nil
		case <-late.C:
			w.set(Failed, "the module does not return from an earlier call; it starts anew when it does", -1)
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// next begins what is due, gives up what is late, and returns how long to wait
// for the next time of either.
func (w *worker) next(ctx context.Context) time.Duration {
	now := time.Now()
	if w.call != nil {
		if w.call.late {
			return idleLook
		}
		if wait := w.call.limit.Sub(now); wait > 0 {
			return wait
		}
		w.call.late = true
		w.degrade(errGivenUp)
		return idleLook
	}
	later := idleLook
	switch {
	case len(w.keys) == 0:
	case w.batch != nil:
		if later = w.gets.take(now); later <= 0 {
			w.beginBatch(ctx, slices.Collect(maps.Keys(w.keys)))
			clear(w.keys)
			return w.call.limit.Sub(now)
		}
	case w.gets.take(now) > 0:
		clear(w.keys) // a storm: one list shows it all
		w.schedule.hint(now)
	default:
		k := anyOf(w.keys)
		delete(w.keys, k)
		w.beginGet(ctx, k)
		return w.call.limit.Sub(now)
	}
	if wait := w.schedule.begin(now); wait > 0 {
		return min(wait, later)
	}
	clear(w.keys)
	w.beginList(ctx)
	return w.call.limit.Sub(now)
}

func anyOf(keys map[plugin.Key]struct{}) (k plugin.Key) {
	for k = range keys {
		break
	}
	return k
}

var errGivenUp = errors.New("the module does not return")

// take plans for what is said to have changed.
func (w *worker) take() {
	got := w.hints.take()
	switch {
	case got.urgent:
		w.schedule.insist(time.Now())
	case got.all || w.getter == nil && w.batch == nil || w.status.State != OK:
		w.schedule.hint(time.Now())
	default:
		for k := range got.keys {
			if !slices.Contains(w.module.Kinds, k.Kind) {
				w.log.Warn("a hint at a kind that the module may not list", "kind", k.Kind)
				continue
			}
			if w.keys == nil {
				w.keys = make(map[plugin.Key]struct{})
			}
			w.keys[k] = struct{}{}
		}
		if len(w.keys) > w.hints.most {
			clear(w.keys)
			w.schedule.hint(time.Now())
		}
	}
}

// finish takes the answer of the call under way.
func (w *worker) finish(err error) {
	c := w.call
	w.call = nil
	now := time.Now()
	switch {
	case c.late:
		w.log.Info("a call that was given up has returned", "err", err)
		w.schedule.insist(now)
	case c.isList():
		w.listed(c, err, now)
	case err != nil:
		w.log.Debug("what was hinted at could not be looked at, listing all", "key", c.key, "keys", len(c.keys), "err", err)
		w.schedule.hint(now)
	case c.keys != nil:
		w.changed(c, now)
	default:
		var r plugin.Resource
		if len(c.resources) > 0 {
			r = c.resources[0]
		}
		w.sink.Got(w.module.Name, c.key, r, len(c.resources) > 0)
	}
}

// changed hands over what was looked at together. After many losses it lists, so
// that the sink need not take a batch's word for them.
func (w *worker) changed(c *call, now time.Time) {
	gone := c.gone()
	w.sink.Changed(w.module.Name, w.module.Kinds, c.resources, gone)
	if len(gone) > manyGone {
		w.schedule.hint(now)
	}
}

func (w *worker) listed(c *call, err error, now time.Time) {
	switch {
	case errors.Is(err, fs.ErrNotExist) && w.status.Count == 0:
		w.schedule.later(now, absentInterval)
		w.sink.Listed(w.module.Name, w.module.Kinds, nil)
		w.declare(nil)
		w.set(OK, "not installed: "+err.Error(), 0)
	case errors.Is(err, plugin.ErrNotYet) && w.status.Listed.IsZero():
		w.schedule.later(now, notYetInterval)
		w.set(Starting, err.Error(), -1)
	case err != nil:
		w.schedule.missed(now)
		w.degrade(err)
	default:
		w.schedule.succeeded(now)
		w.sink.Listed(w.module.Name, w.module.Kinds, c.resources)
		w.declare(c.declared)
		w.set(OK, "", len(c.resources))
		w.log.Debug("listed", "count", len(c.resources))
	}
}

// declare hands over what the source declares, if it is one that does.
func (w *worker) declare(kinds []plugin.Kind) {
	if _, ok := w.module.Source.(Declarer); ok {
		w.sink.Declared(w.module.Name, w.module.Kinds, kinds)
	}
}

// degrade notes a failure. What was listed last stays in force.
func (w *worker) degrade(err error) {
	state := Degraded
	if w.status.Listed.IsZero() || errors.Is(err, errGivenUp) {
		state = Failed
	}
	w.set(state, err.Error(), -1)
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
	if !changed {
		return
	}
	w.sink.Status(w.status)
	switch {
	case !turned:
	case state == Starting:
		w.log.Info("module is starting", "note", reason)
	case state == OK:
		w.log.Info("module is well", "count", w.status.Count, "note", reason)
	default:
		w.log.Warn("module fails, its last list stays in force", "state", state, "err", reason)
	}
}
