package actions

import (
	"context"
	"encoding/json"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// A stock holds one VM.
type stock struct {
	mu sync.Mutex // guards the field below
	vm *api.Resource
}

func (s *stock) get(wire.HostID, plugin.Key) (api.Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vm == nil {
		return api.Resource{}, fs.ErrNotExist
	}
	return *s.vm, nil
}

func (s *stock) set(state string, snapshots ...inventory.Snapshot) {
	spec, err := json.Marshal(inventory.VM{State: state, Snapshots: snapshots})
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vm = &api.Resource{Key: stop.Target, Name: "web", State: state, Spec: spec}
}

var snap = api.ActionRequest{Action: wire.ActionSnapshotCreate, Target: stop.Target, Arguments: wire.ActionArguments{Name: "before"}}

func made(w http.ResponseWriter, r *http.Request) {
	say(w, r, wire.ActionOutcome{State: wire.ActionSucceeded, Result: &wire.ActionResult{Snapshot: "snapshot-7"}})
}

func TestAnActionEndsWhenListsShowIt(t *testing.T) {
	var s stock
	s.set(inventory.VMRunning)
	m := manager(t, func(m *Manager) { m.cfg.Resource = s.get }, made)
	a, err := m.Begin(t.Context(), ops, host, "", &snap)
	if err != nil || a.Name != "web" {
		t.Fatalf("%+v, %v", a, err)
	}
	for !strings.Contains(a.Reason, "waiting until lists show it") {
		if a, err = m.Wait(t.Context(), ops, host, a.ID, a.Revision); err != nil || a.Done() {
			t.Fatalf("it has ended before: %+v, %v", a, err)
		}
	}
	s.set(inventory.VMRunning, inventory.Snapshot{ID: "snapshot-7", Name: "before"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if a, err = m.Wait(ctx, ops, host, a.ID, -1); err != nil || a.State != wire.ActionSucceeded || a.Reason != "" || a.Result == nil || a.Result.Snapshot != "snapshot-7" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestAnActionDoesNotWaitForEver(t *testing.T) {
	var s stock
	s.set(inventory.VMRunning)
	m := manager(t, func(m *Manager) { m.cfg.Resource, m.seen = s.get, 300*time.Millisecond }, made)
	if a := end(t, m, snap); a.State != wire.ActionSucceeded || a.Reason != "lists do not show it yet" {
		t.Errorf("%+v", a)
	}
}

// What waits to be seen when the deployment unit stops waits on with the next.
func TestARestartWaitsOn(t *testing.T) {
	var s stock
	s.set(inventory.VMRunning)
	now := time.Now().UTC()
	a := api.Action{
		ID: "action-1", Host: host, Action: wire.ActionSnapshotCreate, Target: stop.Target, Arguments: snap.Arguments, RequestedBy: "ops",
		Requested: now, Deadline: now.Add(time.Minute), State: wire.ActionRunning, Revision: 1,
	}
	o := &open{sent: true, action: a, changed: make(chan struct{})}
	m := manager(t, func(m *Manager) { // the first run, which stops
		m.cfg.Resource = s.get
		if err := m.insert(t.Context(), &a, a.ID, "digest"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if !m.unseen(ctx, o, &wire.ActionOutcome{ID: a.ID, State: wire.ActionSucceeded, Result: &wire.ActionResult{Snapshot: "snapshot-7"}}) {
			t.Error("it does not wait")
		}
		o.action = a
		m.enter(o)
		m.left = append(m.left, o)
	}, made)
	if got, err := m.Wait(t.Context(), ops, host, a.ID, 1); err != nil || got.Done() {
		t.Errorf("the next run: %+v, %v", got, err)
	}
	s.set(inventory.VMRunning, inventory.Snapshot{ID: "snapshot-7"})
	if got, err := m.Wait(t.Context(), ops, host, a.ID, -1); err != nil || got.State != wire.ActionSucceeded || got.Reason != "" {
		t.Errorf("then: %+v, %v", got, err)
	}
}

func TestWhatListsShow(t *testing.T) {
	one, two := inventory.Snapshot{ID: "snapshot-1", Name: "a"}, inventory.Snapshot{ID: "snapshot-2", Name: "b", Current: true}
	named := func(s string) wire.ActionArguments { return wire.ActionArguments{Snapshot: s} }
	tests := []struct {
		action  string
		args    wire.ActionArguments
		made    string
		state   string
		has     []inventory.Snapshot
		visible bool
	}{
		{wire.ActionPowerOn, wire.ActionArguments{}, "", inventory.VMShutOff, nil, false},
		{wire.ActionPowerOn, wire.ActionArguments{}, "", inventory.VMRunning, nil, true},
		{wire.ActionPowerOff, wire.ActionArguments{}, "", inventory.VMRunning, nil, false},
		{wire.ActionPowerOff, wire.ActionArguments{}, "", inventory.VMShutOff, nil, true},
		{wire.ActionShutdown, wire.ActionArguments{}, "", inventory.VMShuttingDown, nil, false},
		{wire.ActionSuspend, wire.ActionArguments{}, "", inventory.VMRunning, nil, false},
		{wire.ActionSuspend, wire.ActionArguments{}, "", inventory.VMSuspended, nil, true},
		{wire.ActionReset, wire.ActionArguments{}, "", inventory.VMShutOff, nil, true}, // it cannot be seen
		{wire.ActionConsole, wire.ActionArguments{}, "", inventory.VMRunning, nil, true},
		{wire.ActionSnapshotCreate, wire.ActionArguments{Name: "a"}, "snapshot-3", inventory.VMRunning, []inventory.Snapshot{one}, false}, // another of the name
		{wire.ActionSnapshotCreate, wire.ActionArguments{Name: "a"}, "snapshot-1", inventory.VMRunning, []inventory.Snapshot{one}, true},
		{wire.ActionSnapshotCreate, wire.ActionArguments{Name: "b"}, "", inventory.VMRunning, []inventory.Snapshot{one}, false},
		{wire.ActionSnapshotCreate, wire.ActionArguments{Name: "b"}, "", inventory.VMRunning, []inventory.Snapshot{one, two}, true},
		{wire.ActionSnapshotRemove, named("a"), "", inventory.VMRunning, []inventory.Snapshot{one, two}, false},
		{wire.ActionSnapshotRemove, named("snapshot-1"), "", inventory.VMRunning, []inventory.Snapshot{two}, true},
		{wire.ActionSnapshotRevert, named("a"), "", inventory.VMRunning, []inventory.Snapshot{one, two}, false},
		{wire.ActionSnapshotRevert, named("b"), "", inventory.VMRunning, []inventory.Snapshot{one, two}, true},
		{wire.ActionSnapshotRevert, named(""), "", inventory.VMRunning, nil, true},
	}
	for _, test := range tests {
		var s stock
		s.set(test.state, test.has...)
		a := api.Action{Action: test.action, Target: stop.Target, Arguments: test.args, Result: &wire.ActionResult{Snapshot: test.made}}
		if got := visible(&a, s.vm); got != test.visible {
			t.Errorf("%s %+v of a VM that is %s with %v: visible is %v", test.action, test.args, test.state, test.has, got)
		}
	}
	m := &Manager{cfg: Config{Resource: (&stock{}).get}}
	if !m.shows(&api.Action{Action: wire.ActionPowerOff}) {
		t.Error("it waits for a VM that is gone")
	}
}
