// Package actions carries out what the deployment unit asks to be done to VMs
// of a vCenter: power, snapshots, tickets for consoles. It is the far side of
// package controlplane/du/actions, and serves wire.ServiceActions.
//
// An action is done once. Its id is written down before vCenter is asked, and
// what is known of vCenter's task after that, so that after a lost answer or a
// restart the task is looked for, and what it left, but nothing is asked for a
// second time. An action that wants what is already so does nothing.
//
// What may be controlled is the customer's to say: only VMs within the scope,
// and none while control is switched off. Each VM has one action at a time.
// Logging in to vCenter is not this package's business.
package actions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Scope is what the customer delegated.
type Scope interface {
	// Contains says whether an object may be controlled. ServerGUID is set to the
	// instance UUID of the object's vCenter. It must answer from memory.
	Contains(types.ManagedObjectReference) bool
}

// Options is what an Executor needs. Resolve, Scope, Control and Journal must be given.
type Options struct {
	// Resolve finds a VM by its key: a client of its vCenter that is logged in,
	// and the VM's reference. fs.ErrNotExist: there is no such vCenter here.
	Resolve func(ctx context.Context, target plugin.Key) (*vim25.Client, types.ManagedObjectReference, error)
	// Lost is told of a client that vCenter does not know any more, so that the
	// next Resolve logs in again; may be nil.
	Lost func(*vim25.Client)
	// Scope is asked for each action.
	Scope Scope
	// Control says why nothing may be controlled now; nil: it may.
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

// AuditLine is one line of the gateway's own audit.
type AuditLine struct {
	Time   time.Time  `json:"time"`
	By     string     `json:"by"` // as the deployment unit says
	Action string     `json:"action"`
	ID     string     `json:"id"`
	Target plugin.Key `json:"target"`
	Name   string     `json:"name,omitempty"` // of the VM, once known
	State  string     `json:"state"`
	Reason string     `json:"reason,omitempty"`
}

// An entry is an action that was accepted.
type entry struct {
	// Executor.mu guards these. The request never changes.
	record
	ticket  *wire.ConsoleTicket // until it expires; not in the journal
	name    string              // of the VM
	changed chan struct{}       // closed and replaced with each change
}

// Executor carries actions out. Make one with New and run it.
type Executor struct {
	o       Options
	log     *slog.Logger
	journal *journal
	begun   chan *entry   // Run takes them
	ended   chan struct{} // closed by Run
	// settleAfter is for a request to arrive whose answer was lost; immutable.
	settleAfter time.Duration

	mu      sync.Mutex // guards the fields below and all entries; not held over I/O
	entries map[string]*entry
	busy    map[string]*entry // by the target's id
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
	if o.Lost == nil {
		o.Lost = func(*vim25.Client) {}
	}
	j, all, damaged, err := openJournal(o.Journal)
	if err != nil {
		return nil, fmt.Errorf("journal of actions: %w", err)
	}
	if damaged > 0 {
		o.Log.Warn("lines of the journal are not understood", "journal", o.Journal, "count", damaged)
	}
	x := &Executor{
		o: o, log: o.Log, journal: j, begun: make(chan *entry), ended: make(chan struct{}),
		entries: make(map[string]*entry), busy: make(map[string]*entry), settleAfter: 5 * time.Second,
	}
	for _, r := range all {
		x.entries[r.Request.ID] = &entry{record: r, changed: make(chan struct{})}
	}
	for _, e := range x.entries {
		if !e.Outcome.Done() {
			x.busy[e.Request.Target.ID] = e
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
	x.mu.Lock()
	var left []*entry
	for _, e := range x.entries {
		if !e.Outcome.Done() {
			left = append(left, e)
		}
	}
	x.mu.Unlock()
	for _, e := range left {
		wg.Go(func() { x.resume(ctx, e) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-x.begun:
			wg.Go(func() { x.carryOut(ctx, e) })
		}
	}
}

var targetForm = regexp.MustCompile(`^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(vm-[0-9]+)$`)

// ParseTarget splits the key of a VM into the instance UUID of its vCenter and
// its reference there.
func ParseTarget(k plugin.Key) (vcenter string, ref types.ManagedObjectReference, err error) {
	if k.Kind != inventory.KindVM {
		return "", ref, fmt.Errorf("%.64q: only VMs can be controlled", k.Kind)
	}
	m := targetForm.FindStringSubmatch(k.ID)
	if m == nil {
		return "", ref, fmt.Errorf("%.80q is no VM of a vCenter: want its instance UUID, a slash and the VM's managed object id", k.ID)
	}
	return m[1], types.ManagedObjectReference{Type: "VirtualMachine", Value: m[2]}, nil
}

// errConflict says that an id was used for something else.
var errConflict = errors.New("the id was used for another action")

// accept takes a request on, refuses it, or finds that it was taken on before.
// The entry is nil if it was refused; an error means that the request is wrong.
func (x *Executor) accept(q *wire.ActionRequest) (*entry, wire.ActionOutcome, error) {
	if err := q.Validate(); err != nil {
		return nil, wire.ActionOutcome{}, err
	}
	e := &entry{changed: make(chan struct{}), record: record{
		Request: *q, Deadline: time.Now().Add(q.Deadline.Sub(q.Requested)),
		Outcome: wire.ActionOutcome{ID: q.ID, State: wire.ActionAccepted},
	}}
	known, err := x.enter(e)
	switch {
	case known != nil && !same(&known.Request, q):
		return nil, wire.ActionOutcome{}, errConflict
	case known != nil:
		return known, wire.ActionOutcome{}, nil
	case err == nil:
		if err = x.journal.add(&e.record); err != nil {
			err = fmt.Errorf("it cannot be written down, and so is not done: %w", err)
			x.drop(e)
		}
	}
	if err == nil {
		x.audit(e)
		select {
		case x.begun <- e:
			return e, wire.ActionOutcome{}, nil
		case <-x.ended:
			x.end(e, wire.ActionRefused, "the gateway is shutting down", nil)
			return e, wire.ActionOutcome{}, nil
		}
	}
	e.Outcome.State, e.Outcome.Reason = wire.ActionRefused, err.Error()
	x.audit(e)
	return nil, e.Outcome, nil
}

func same(a, b *wire.ActionRequest) bool {
	return a.Action == b.Action && a.Target == b.Target && reflect.DeepEqual(a.Arguments, b.Arguments)
}

// enter makes an entry one of ours, unless its id is known or it is refused.
func (x *Executor) enter(e *entry) (known *entry, refused error) {
	q := &e.Request
	_, _, wrong := ParseTarget(q.Target)
	off := x.o.Control()
	x.mu.Lock()
	defer x.mu.Unlock()
	if known := x.entries[q.ID]; known != nil {
		return known, nil
	}
	_, can := verbs[q.Action]
	switch other := x.busy[q.Target.ID]; {
	case !can:
		return nil, fmt.Errorf("there is no action %q here; there are %s", q.Action, strings.Join(wire.Actions(), ", "))
	case wrong != nil:
		return nil, wrong
	case off != nil:
		return nil, off
	case other != nil:
		return nil, fmt.Errorf("another action on this VM is under way: %s, %s, of %s", other.Request.ID, other.Request.Action, other.Request.RequestedBy)
	case len(x.busy) >= x.o.Limits.Running:
		return nil, fmt.Errorf("%d actions are under way, more are not done at once: try again when one has ended", len(x.busy))
	}
	x.entries[q.ID], x.busy[q.Target.ID] = e, e
	return nil, nil
}

// drop takes back enter.
func (x *Executor) drop(e *entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.entries, e.Request.ID)
	delete(x.busy, e.Request.Target.ID)
}

// settle finds an action that was asked for before. An id that is not known is
// refused from now on, for its request may still be on its way.
func (x *Executor) settle(id string) (*entry, error) {
	now := time.Now().UTC()
	e := &entry{changed: make(chan struct{}), record: record{
		Request: wire.ActionRequest{ID: id},
		Outcome: wire.ActionOutcome{ID: id, State: wire.ActionRefused, Reason: "the request never reached the gateway; nothing was done", Ended: now},
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

// change edits an entry, shows it to those who wait, and writes it down if keep
// is set. A record that cannot be written is a risk only together with a crash;
// it is logged.
func (x *Executor) change(e *entry, keep bool, edit func(*entry)) {
	x.mu.Lock()
	edit(e)
	r := e.record
	close(e.changed)
	e.changed = make(chan struct{})
	x.mu.Unlock()
	if !keep {
		return
	}
	if err := x.journal.add(&r); err != nil {
		x.log.Error("the state of an action is not written down", "action", r.Request.ID, "state", r.Outcome.State, "err", err)
	}
}

// end brings an action to its end.
func (x *Executor) end(e *entry, state, reason string, edit func(*entry)) {
	x.change(e, true, func(e *entry) {
		e.Outcome.State, e.Outcome.Reason, e.Outcome.Ended = state, reason, time.Now().UTC()
		if state == wire.ActionSucceeded {
			e.Outcome.Progress = 100
		}
		if edit != nil {
			edit(e)
		}
		if x.busy[e.Request.Target.ID] == e { // change holds mu
			delete(x.busy, e.Request.Target.ID)
		}
	})
	x.audit(e)
	x.trim()
}

// trim forgets the oldest actions that have ended, and rewrites the journal if
// it has become long.
func (x *Executor) trim() {
	x.mu.Lock()
	var over []*entry
	for _, e := range x.entries {
		if e.Outcome.Done() {
			over = append(over, e)
		}
	}
	slices.SortFunc(over, func(a, b *entry) int { return a.Outcome.Ended.Compare(b.Outcome.Ended) })
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
func (x *Executor) view(e *entry) (wire.ActionOutcome, <-chan struct{}) {
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

func (x *Executor) audit(e *entry) {
	x.mu.Lock()
	l := AuditLine{
		Time: time.Now().UTC(), By: e.Request.RequestedBy, Action: e.Request.Action, ID: e.Request.ID,
		Target: e.Request.Target, Name: e.name, State: e.Outcome.State, Reason: e.Outcome.Reason,
	}
	x.mu.Unlock()
	x.o.Audit(l)
}
