// Package actions is what every host that can be told to do something has in
// common: it takes the deployment unit's requests as wire.ServiceActions, has
// each done once, one at a time for each target, and says how far they are. What
// is done, and to what, the gateway and the host agent say in [Options]. It is
// the far side of controlplane/du/actions.
//
// An id is written down before anything is done, and what is known of the
// hypervisor's task after that. So a restart does nothing twice; what was under
// way then is looked for and looked after.
package actions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// Options is what an Executor needs. All but Audit, Limits and Log must be given.
type Options struct {
	// Actions are those that can be done.
	Actions []string
	// Target says by its key alone why something cannot be acted on.
	Target func(plugin.Key) error
	// Do carries out an action that was just accepted, and ends it. It has until
	// the action's deadline, and a little more to find out how it ended.
	Do func(context.Context, *Action)
	// Resume looks after an action that an earlier run began, without asking for
	// anything that may have been done, and ends it. What ctx interrupts is left
	// to the next run, by both.
	Resume func(context.Context, *Action)
	// Control says why nothing may be done now; nil: it may.
	Control func() error
	// Journal is the path of a file of our own, which is made if it is missing.
	Journal string
	// Audit is told of each action that is begun, refused or ends; may be nil.
	Audit  func(AuditLine)
	Limits Limits
	Log    *slog.Logger // nil: discard
}

// Limits bound what actions may cost. Zero fields mean the default.
type Limits struct {
	Running int // actions at once; 8
	Kept    int // in the journal, of those that have ended; 1,000
}

// AuditLine is one line of the host's own audit.
type AuditLine struct {
	Time   time.Time  `json:"time"`
	By     string     `json:"by"` // as the deployment unit says
	Action string     `json:"action"`
	ID     string     `json:"id"`
	Target plugin.Key `json:"target"`
	Name   string     `json:"name,omitempty"` // of the target, once known
	State  string     `json:"state"`
	Reason string     `json:"reason,omitempty"`
}

// An Action is one that was accepted.
type Action struct {
	x *Executor

	// Executor.mu guards these. The request and the deadline never change.
	record
	ticket  *wire.ConsoleTicket // until it expires; not in the journal
	name    string              // of the target
	changed chan struct{}       // closed and replaced with each change
}

// Executor carries actions out. Make one with New and run it.
type Executor struct {
	o       Options
	log     *slog.Logger
	journal *journal
	begun   chan *Action  // Run takes them
	ended   chan struct{} // closed by Run
	left    []*Action     // open since an earlier run; immutable after New

	mu      sync.Mutex // guards the fields below and all entries; not held over I/O
	entries map[string]*Action
	busy    map[string]*Action // by the target's id
}

// New reads the journal. What it has left open is looked after by Run.
func New(o Options) (*Executor, error) {
	if o.Limits.Running <= 0 {
		o.Limits.Running = 8
	}
	if o.Limits.Kept <= 0 {
		o.Limits.Kept = 1000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Audit == nil {
		o.Audit = func(AuditLine) {}
	}
	j, all, damaged, err := openJournal(o.Journal)
	if err != nil {
		return nil, fmt.Errorf("journal of actions: %w", err)
	}
	if damaged > 0 {
		o.Log.Warn("lines of the journal are not understood", "journal", o.Journal, "count", damaged)
	}
	x := &Executor{
		o: o, log: o.Log, journal: j, begun: make(chan *Action), ended: make(chan struct{}),
		entries: make(map[string]*Action), busy: make(map[string]*Action),
	}
	for _, r := range all {
		x.entries[r.Request.ID] = &Action{x: x, record: r, changed: make(chan struct{})}
	}
	for _, e := range x.entries {
		if !e.Outcome.Done() {
			x.busy[e.Request.Target.ID] = e
			x.left = append(x.left, e)
		}
	}
	return x, nil
}

// Run carries out what is asked until ctx ends. What is under way in vCenter
// then goes on there, and the next run finds it.
func (x *Executor) Run(ctx context.Context) error {
	defer func() { _ = x.journal.close() }() // whatever was added is on disk
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(x.ended)
	for _, e := range x.left {
		wg.Go(func() { x.safely(e, func() { x.resume(ctx, e) }) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-x.begun:
			wg.Go(func() { x.safely(e, func() { x.o.Do(ctx, e) }) })
		}
	}
}

// safely ends an action that panics, with everybody else's work going on: what a far
// side answers may make a library panic, and would again after a restart.
func (x *Executor) safely(e *Action, f func()) {
	defer func() {
		if p := recover(); p != nil {
			x.log.Error("an action panicked", "action", e.Request.ID, "panic", p, "stack", string(debug.Stack()))
			e.Fail(fmt.Sprintf("the program made a mistake, or the hypervisor's answer cannot be: %v", p), true)
		}
	}()
	f()
}

// resume ends what was not begun, and has the rest looked after.
func (x *Executor) resume(ctx context.Context, e *Action) {
	switch {
	case e.Memo.Asked.IsZero():
		e.Fail("it was interrupted by a restart, nothing was done; try again", false)
	case !slices.Contains(x.o.Actions, e.Request.Action):
		e.Fail("it was begun by a newer version, which this one does not understand", true)
	default:
		x.o.Resume(ctx, e)
	}
}

// errConflict says that an id was used for something else.
var errConflict = errors.New("the id was used for another action")

// accept takes a request on, refuses it, or finds that it was taken on before.
// The entry is nil if it was refused; an error means that the request is wrong.
func (x *Executor) accept(q *wire.ActionRequest) (*Action, wire.ActionOutcome, error) {
	if err := q.Validate(); err != nil {
		return nil, wire.ActionOutcome{}, err
	}
	e := &Action{x: x, changed: make(chan struct{}), record: record{
		Request: *q, Deadline: time.Now().Add(q.Deadline.Sub(q.Requested)),
		Outcome: wire.ActionOutcome{ID: q.ID, State: wire.ActionAccepted},
	}}
	verdict := wire.ActionRefused
	known, err := x.enter(e)
	switch {
	case known != nil && !same(&known.Request, q):
		return nil, wire.ActionOutcome{}, errConflict
	case known != nil:
		return known, wire.ActionOutcome{}, nil
	case err == nil:
		if err = x.journal.add(&e.record); err != nil {
			verdict, err = wire.ActionFailed, fmt.Errorf("it cannot be written down, nothing was done: %w", err)
			x.drop(e)
		}
	}
	if err == nil {
		x.audit(e)
		select {
		case x.begun <- e:
			return e, wire.ActionOutcome{}, nil
		case <-x.ended:
			e.Fail("the program is shutting down, nothing was done; try again", false)
			return e, wire.ActionOutcome{}, nil
		}
	}
	e.Outcome.State, e.Outcome.Reason = verdict, err.Error()
	x.audit(e)
	return nil, e.Outcome, nil
}

func same(a, b *wire.ActionRequest) bool {
	return a.Action == b.Action && a.Target == b.Target && reflect.DeepEqual(a.Arguments, b.Arguments)
}

// enter makes an entry one of ours, unless its id is known or it is refused.
func (x *Executor) enter(e *Action) (known *Action, refused error) {
	q := &e.Request
	wrong := x.o.Target(q.Target)
	off := x.o.Control()
	x.mu.Lock()
	defer x.mu.Unlock()
	if known := x.entries[q.ID]; known != nil {
		return known, nil
	}
	switch other := x.busy[q.Target.ID]; {
	case !slices.Contains(x.o.Actions, q.Action):
		return nil, fmt.Errorf("there is no action %q here; there are %s", q.Action, strings.Join(x.o.Actions, ", "))
	case wrong != nil:
		return nil, wrong
	case off != nil:
		return nil, off
	case other != nil:
		return nil, fmt.Errorf("another action on it is under way: %s, %s, of %s", other.Request.ID, other.Request.Action, other.Request.RequestedBy)
	case len(x.busy) >= x.o.Limits.Running:
		return nil, fmt.Errorf("%d actions are under way, more are not done at once: try again when one has ended", len(x.busy))
	}
	x.entries[q.ID], x.busy[q.Target.ID] = e, e
	return nil, nil
}

// drop takes back enter.
func (x *Executor) drop(e *Action) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.entries, e.Request.ID)
	delete(x.busy, e.Request.Target.ID)
}

// settle finds an action that was asked for before. One whose id is not known has
// failed for good, for its request may still be on its way.
func (x *Executor) settle(id string) (*Action, error) {
	now := time.Now().UTC()
	e := &Action{x: x, changed: make(chan struct{}), record: record{
		Request: wire.ActionRequest{ID: id},
		Outcome: wire.ActionOutcome{ID: id, State: wire.ActionFailed, Reason: "the request never arrived, nothing was done; try again", Ended: now},
	}}
	x.mu.Lock()
	known := x.entries[id]
	if known == nil {
		x.entries[id] = e
	}
	x.mu.Unlock()
	if known != nil {
		return known, nil
	}
	if err := x.journal.add(&e.record); err != nil {
		x.mu.Lock()
		delete(x.entries, id)
		x.mu.Unlock()
		return nil, err
	}
	x.audit(e)
	x.trim()
	return e, nil
}

// change edits an action, shows it to those who wait, and writes it down if keep
// is set.
func (x *Executor) change(e *Action, keep bool, edit func()) error {
	x.mu.Lock()
	edit()
	r := e.record
	close(e.changed)
	e.changed = make(chan struct{})
	x.mu.Unlock()
	if !keep {
		return nil
	}
	if err := x.journal.add(&r); err != nil {
		x.log.Error("the state of an action is not written down", "action", r.Request.ID, "state", r.Outcome.State, "err", err)
		return fmt.Errorf("write it down: %w", err)
	}
	return nil
}

// end brings an action to its end. If that cannot be written, the next run looks
// after the action once more, which does no harm.
func (e *Action) end(state, reason string, edit func()) {
	x := e.x
	_ = x.change(e, true, func() {
		e.Outcome.State, e.Outcome.Reason, e.Outcome.Ended = state, reason, time.Now().UTC()
		edit()
		if x.busy[e.Request.Target.ID] == e { // change holds mu
			delete(x.busy, e.Request.Target.ID)
		}
	})
	x.audit(e)
	x.trim()
}

// Asked returns what is to be done. It is not to be changed.
func (e *Action) Asked() *wire.ActionRequest { return &e.Request }

// Until is the deadline, by the clock of this machine.
func (e *Action) Until() time.Time { return e.Deadline }

// Known returns what was noted.
func (e *Action) Known() Memo {
	e.x.mu.Lock()
	defer e.x.mu.Unlock()
	return e.Memo
}

// Name says what the target is called, for the audit.
func (e *Action) Name(name string) { _ = e.x.change(e, false, func() { e.name = name }) }

// Note writes down what is known. The first note says that the action is about to
// be begun: if it fails, it must not be, for the next run would know nothing of it.
func (e *Action) Note(m Memo) error {
	return e.x.change(e, true, func() {
		e.Memo, e.Outcome.State = m, wire.ActionRunning
		if e.Outcome.Started.IsZero() {
			e.Outcome.Started = time.Now().UTC()
		}
	})
}

// Progress says how far it is, in percent.
func (e *Action) Progress(percent int) {
	_ = e.x.change(e, false, func() { e.Outcome.Progress = min(max(percent, 0), 99) })
}

// Ticket has a ticket handed on until it expires. It is not written down.
func (e *Action) Ticket(t *wire.ConsoleTicket) { _ = e.x.change(e, false, func() { e.ticket = t }) }

// Made says which snapshot was made.
func (e *Action) Made(snapshot string) {
	_ = e.x.change(e, false, func() { e.Outcome.Result = &wire.ActionResult{Snapshot: snapshot} })
}

// Succeed ends it: it is as was wanted. The note may be empty.
func (e *Action) Succeed(note string) {
	e.end(wire.ActionSucceeded, note, func() { e.Outcome.Progress = 100 })
}

// Unchanged ends it: there was nothing to do, and why.
func (e *Action) Unchanged(why string) {
	e.end(wire.ActionSucceeded, why, func() { e.Outcome.Progress, e.Outcome.Result = 100, &wire.ActionResult{Unchanged: true} })
}

// Refuse ends what is not allowed, by us, by the target's state or by the
// hypervisor, before it was begun.
func (e *Action) Refuse(why string) { e.end(wire.ActionRefused, why, func() {}) }

// Fail ends it. uncertain says that nobody knows whether it did something; if it
// is not set, and nothing was done, why says that.
func (e *Action) Fail(why string, uncertain bool) {
	e.end(wire.ActionFailed, why, func() { e.Outcome.Uncertain = uncertain })
}

// trim forgets the oldest actions that have ended, and rewrites the journal if
// it has become long.
func (x *Executor) trim() {
	x.mu.Lock()
	var over []*Action
	for _, e := range x.entries {
		if e.Outcome.Done() {
			over = append(over, e)
		}
	}
	slices.SortFunc(over, func(a, b *Action) int { return a.Outcome.Ended.Compare(b.Outcome.Ended) })
	for _, e := range over[:max(0, len(over)-x.o.Limits.Kept)] {
		delete(x.entries, e.Request.ID)
	}
	needed := len(x.entries)
	x.mu.Unlock()
	if !x.journal.long(needed) {
		return
	}
	err := x.journal.rewrite(func() []record {
		x.mu.Lock()
		defer x.mu.Unlock()
		all := make([]record, 0, len(x.entries))
		for _, e := range x.entries {
			all = append(all, e.record)
		}
		return all
	})
	if err != nil {
		x.log.Warn("the journal of actions is not shortened", "err", err)
	}
}

// view is what may be said of an entry, with the ticket while it is good.
func (x *Executor) view(e *Action) (wire.ActionOutcome, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	o := e.Outcome
	if e.ticket != nil && time.Now().Before(e.ticket.Expires) {
		result := wire.ActionResult{Console: e.ticket}
		if o.Result != nil {
			result.Unchanged, result.Snapshot = o.Result.Unchanged, o.Result.Snapshot
		}
		o.Result = &result
	}
	return o, e.changed
}

func (x *Executor) audit(e *Action) {
	x.mu.Lock()
	l := AuditLine{
		Time: time.Now().UTC(), By: e.Request.RequestedBy, Action: e.Request.Action, ID: e.Request.ID,
		Target: e.Request.Target, Name: e.name, State: e.Outcome.State, Reason: e.Outcome.Reason,
	}
	x.mu.Unlock()
	x.o.Audit(l)
}
