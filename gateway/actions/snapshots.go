package actions

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/internal/wire"
)

// each calls f with all snapshots below, until it returns false.
func each(below []types.VirtualMachineSnapshotTree, f func(*types.VirtualMachineSnapshotTree) bool) bool {
	for i := range below {
		if !f(&below[i]) || !each(below[i].ChildSnapshotList, f) {
			return false
		}
	}
	return true
}

func (j *job) snapshots(f func(*types.VirtualMachineSnapshotTree) bool) {
	if j.vm.Snapshot != nil {
		each(j.vm.Snapshot.RootSnapshotList, f)
	}
}

// mark is put into the description of a snapshot that we make: by it the
// snapshot is recognised when the answer was lost.
func (j *job) mark() string { return "[openpf9 action " + j.q.ID + "]" }

func readySnapshot(j *job) (string, error) {
	a := j.q.Arguments
	switch {
	case a.Memory && j.power() != types.VirtualMachinePowerStatePoweredOn:
		return "", errors.New("it is not on, so there is no memory to hold: leave memory out")
	case a.Quiesce:
		return "", j.mustHaveTools("leave quiesce out")
	}
	return "", j.connected()
}

func createSnapshot(ctx context.Context, j *job) (*types.ManagedObjectReference, error) {
	a := j.q.Arguments
	res, err := methods.CreateSnapshot_Task(ctx, j.client, &types.CreateSnapshot_Task{
		This: j.ref, Name: a.Name, Description: strings.TrimSpace(a.Description + "\n" + j.mark()), Memory: a.Memory, Quiesce: a.Quiesce,
	})
	if err != nil {
		return nil, err
	}
	return &res.Returnval, nil
}

// snapshotMade finds the snapshot by its mark.
func snapshotMade(j *job) bool {
	found := false
	j.snapshots(func(s *types.VirtualMachineSnapshotTree) bool {
		if found = strings.Contains(s.Description, j.mark()); found {
			j.a.Made(s.Snapshot.Value)
		}
		return !found
	})
	return found
}

// unescaped undoes what vCenter does to a name; lists show it so.
var unescaped = strings.NewReplacer("%2f", "/", "%2F", "/", "%5c", `\`, "%5C", `\`, "%25", "%")

// findSnapshot finds the snapshot that is meant, by id or else by name.
func findSnapshot(j *job) (string, error) {
	want := j.q.Arguments.Snapshot
	if want == "" { // of revert only
		if j.vm.Snapshot == nil || j.vm.Snapshot.CurrentSnapshot == nil {
			return "", errors.New("it has no current snapshot")
		}
		j.snapshot = *j.vm.Snapshot.CurrentSnapshot
		return "", j.connected()
	}
	var named, all []string
	var found bool
	j.snapshots(func(s *types.VirtualMachineSnapshotTree) bool {
		if found = s.Snapshot.Value == want; found {
			j.snapshot = s.Snapshot
			return false
		}
		if s.Name == want || unescaped.Replace(s.Name) == want {
			named = append(named, s.Snapshot.Value)
			j.snapshot = s.Snapshot
		}
		all = append(all, fmt.Sprintf("%q (%s)", unescaped.Replace(s.Name), s.Snapshot.Value))
		return true
	})
	switch {
	case found || len(named) == 1:
		return "", j.connected()
	case len(named) > 1:
		return "", fmt.Errorf("%d snapshots are called %q: name one by its id, of %s", len(named), want, strings.Join(named, ", "))
	case strings.HasPrefix(want, "snapshot-") && j.q.Action == wire.ActionSnapshotRemove:
		return "it has no snapshot " + want + " any more", nil
	case len(all) == 0:
		return "", errors.New("it has no snapshots")
	}
	return "", fmt.Errorf("it has no snapshot %q; it has %s", want, strings.Join(all[:min(len(all), 32)], ", "))
}

func removeSnapshot(ctx context.Context, j *job) (*types.ManagedObjectReference, error) {
	res, err := methods.RemoveSnapshot_Task(ctx, j.client, &types.RemoveSnapshot_Task{
		This: j.snapshot, RemoveChildren: j.q.Arguments.Children, Consolidate: types.NewBool(true),
	})
	if err != nil {
		return nil, err
	}
	return &res.Returnval, nil
}

func snapshotGone(j *job) bool {
	gone := true
	j.snapshots(func(s *types.VirtualMachineSnapshotTree) bool {
		gone = s.Snapshot.Value != j.snapshot.Value
		return gone
	})
	return gone
}

func revertSnapshot(ctx context.Context, j *job) (*types.ManagedObjectReference, error) {
	res, err := methods.RevertToSnapshot_Task(ctx, j.client, &types.RevertToSnapshot_Task{This: j.snapshot})
	if err != nil {
		return nil, err
	}
	return &res.Returnval, nil
}
