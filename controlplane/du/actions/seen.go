package actions

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	seenLimit = 15 * time.Second       // for discovery to show what an action did
	seenEvery = 200 * time.Millisecond // a look into memory
)

// unseen waits until who lists resources sees what an action did, for people read
// what they have just written. It is bounded, for somebody else may have changed it
// again, or discovery may not work; then the outcome says so. It returns true if
// ctx ended: then the next run of ours has the outcome from the host again, and
// waits again.
func (m *Manager) unseen(ctx context.Context, o *open, last *wire.ActionOutcome) bool {
	if m.cfg.Resource == nil || last.State != wire.ActionSucceeded {
		return false
	}
	m.mu.Lock()
	a := o.action
	m.mu.Unlock()
	a.Result = last.Result
	if m.shows(&a) {
		return false
	}
	m.update(o, wire.ActionOutcome{ID: a.ID, State: wire.ActionRunning, Progress: 99, Reason: "it is done; waiting until lists show it"})
	late := time.NewTimer(m.seen)
	defer late.Stop()
	tick := time.NewTicker(seenEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if m.shows(&a) {
				return false
			}
		case <-late.C:
			if last.Reason != "" {
				last.Reason += "; "
			}
			last.Reason += "lists do not show it yet"
			return false
		case <-ctx.Done():
			return true
		}
	}
}

// shows says whether what is known of the target is as the action has left it. Of a
// target that is gone there is nothing to see.
func (m *Manager) shows(a *api.Action) bool {
	r, err := m.cfg.Resource(a.Host, a.Target)
	return err != nil || visible(a, &r)
}

// visible is shows for a resource. What cannot be seen of an action counts as seen.
func visible(a *api.Action, r *api.Resource) bool {
	switch a.Action {
	case wire.ActionPowerOn:
		return r.State == inventory.VMRunning || r.State == inventory.VMBlocked
	case wire.ActionPowerOff, wire.ActionShutdown:
		return r.State == inventory.VMShutOff || r.State == inventory.VMCrashed
	case wire.ActionSuspend: // libvirt's are off, and go on when they are started
		return r.State == inventory.VMSuspended || r.State == inventory.VMShutOff
	case wire.ActionSnapshotCreate, wire.ActionSnapshotRemove, wire.ActionSnapshotRevert:
	default:
		return true
	}
	var vm inventory.VM
	if json.Unmarshal(r.Spec, &vm) != nil {
		return true
	}
	want := a.Arguments.Snapshot
	switch {
	case a.Action != wire.ActionSnapshotCreate:
	case a.Result != nil && a.Result.Snapshot != "":
		want = a.Result.Snapshot
	default: // of an older gateway
		want = a.Arguments.Name
	}
	at := slices.IndexFunc(vm.Snapshots, func(s inventory.Snapshot) bool { return s.ID == want || s.Name == want })
	switch a.Action {
	case wire.ActionSnapshotRemove:
		return at < 0
	case wire.ActionSnapshotRevert:
		return want == "" || at >= 0 && vm.Snapshots[at].Current
	}
	return at >= 0
}
