package actions

import (
	"context"
	"slices"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/vimfault"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	watchTurn  = 15               // seconds for which vCenter holds an empty answer back
	watchLimit = 40 * time.Second // of one turn
	farewell   = 5 * time.Second  // for tidying up in vCenter, whatever happened
	progressAt = time.Second      // between two news of progress
)

// watch calls each with the value of a property of an object, now and when it
// changes, until it returns true. It has a collector of its own in vCenter, for
// one that is shared gives everybody's changes to whoever asks first.
func watch(ctx context.Context, c *vim25.Client, ref types.ManagedObjectReference, path string, each func(any) bool) error {
	pc, err := property.DefaultCollector(c).Create(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		_ = pc.Destroy(ctx) // or it goes with the session
	}()
	if _, err := pc.CreateFilter(ctx, types.CreateFilter{Spec: types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: ref}},
		PropSet:   []types.PropertySpec{{Type: ref.Type, PathSet: []string{path}}},
	}}); err != nil {
		return err
	}
	req := types.WaitForUpdatesEx{This: pc.Reference(), Options: &types.WaitOptions{MaxWaitSeconds: types.NewInt32(watchTurn)}}
	for {
		turn, cancel := context.WithTimeout(ctx, watchLimit)
		res, err := methods.WaitForUpdatesEx(turn, c, &req)
		cancel()
		if err != nil {
			return err
		}
		if res.Returnval == nil {
			continue // nothing new
		}
		req.Version = res.Returnval.Version
		for _, filter := range res.Returnval.FilterSet {
			if len(filter.MissingSet) > 0 {
				return vimfault.Reported{LocalizedMethodFault: filter.MissingSet[0].Fault}
			}
			for _, o := range filter.ObjectSet {
				if len(o.MissingSet) > 0 {
					return vimfault.Reported{LocalizedMethodFault: o.MissingSet[0].Fault}
				}
				for _, change := range o.ChangeSet {
					if change.Name == path && change.Val != nil && each(change.Val) {
						return nil
					}
				}
			}
		}
	}
}

// follow waits for vCenter's task to end.
func (j *job) follow(ctx, own context.Context) {
	task := types.ManagedObjectReference{Type: "Task", Value: j.a.Known().Task}
	var info types.TaskInfo
	var err error
	if j.client == nil { // after a restart
		err = j.again(own)
	}
	if err == nil {
		err = j.wait(own, task, &info)
	}
	for err != nil && own.Err() == nil {
		j.x.log.Info("a task is out of sight", "action", j.q.ID, "task", task.Value, "err", err)
		if isLost(err) {
			j.x.o.Lost(j.client)
		}
		if isGone(err) { // vCenter keeps tasks for ten minutes or so
			j.search(ctx, own, "vCenter does not know the task any more")
			return
		}
		if pause(own, againAfter) == nil && j.resolve(own) == nil {
			err = j.wait(own, task, &info)
		}
	}
	switch {
	case ctx.Err() != nil && err != nil: // the next run goes on
	case err != nil:
		j.search(ctx, own, "vCenter has not ended it in time")
	case info.State == types.TaskInfoStateSuccess:
		if made, ok := info.Result.(types.ManagedObjectReference); ok && j.q.Action == wire.ActionSnapshotCreate {
			j.a.Made(made.Value)
		}
		j.a.Succeed("")
	case info.Error == nil:
		j.a.Fail("vCenter's task failed and does not say why", false)
	case !j.faster(ctx, vimfault.Reported{LocalizedMethodFault: *info.Error}):
		j.a.Fail("vCenter's task failed: "+vimfault.Words(vimfault.Reported{LocalizedMethodFault: *info.Error}), false)
	}
}

// wait follows the task until it has ended.
func (j *job) wait(ctx context.Context, task types.ManagedObjectReference, last *types.TaskInfo) error {
	var told time.Time
	return watch(ctx, j.client, task, "info", func(v any) bool {
		info, ok := v.(types.TaskInfo)
		if !ok {
			return false
		}
		*last = info
		if info.State == types.TaskInfoStateSuccess || info.State == types.TaskInfoStateError {
			return true
		}
		if time.Since(told) >= progressAt {
			told = time.Now()
			j.a.Progress(int(info.Progress))
		}
		return false
	})
}

// search finds out how an action ended, or where its task is, after it went out
// of sight. It asks vCenter for nothing but what is.
func (j *job) search(ctx, own context.Context, why string) {
	limit, cancel := context.WithDeadline(ctx, later(j.a.Until(), time.Now()).Add(settleLimit))
	defer cancel()
	for try := range 2 {
		if err := j.again(limit); err != nil {
			break
		}
		if j.verb.reached != nil && j.verb.reached(j) {
			j.a.Succeed("found done after " + why)
			return
		}
		task, known := j.findTask(limit)
		memo := j.a.Known()
		if known && task.Value != memo.Task {
			memo.Task = task.Value
			_ = j.a.Note(memo) // or it is searched for again after a restart
			j.follow(ctx, own)
			return
		}
		if memo.Task != "" || try == 0 && pause(limit, j.x.settleAfter) != nil { // the request may be on its way yet
			break
		}
	}
	if ctx.Err() != nil {
		return // the next run goes on
	}
	reason := why + ", it may have been done"
	if q := j.vm.Runtime.Question; q != nil {
		reason += "; vCenter waits for an answer to: " + q.Text
	}
	j.a.Fail(reason, true)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// findTask looks for the action's task among those of the VM that vCenter
// queued since it was asked.
func (j *job) findTask(ctx context.Context) (types.ManagedObjectReference, bool) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var none types.ManagedObjectReference
	pc := property.DefaultCollector(j.client)
	var vm mo.VirtualMachine
	if err := pc.RetrieveOne(ctx, j.ref, []string{"recentTask"}, &vm); err != nil || len(vm.RecentTask) == 0 {
		return none, false
	}
	var tasks []mo.Task
	if err := pc.Retrieve(ctx, vm.RecentTask, []string{"info"}, &tasks); err != nil {
		return none, false
	}
	for _, t := range slices.Backward(tasks) {
		if !t.Info.QueueTime.Before(j.a.Known().Asked) && slices.Contains(j.verb.tasks, t.Info.DescriptionId) {
			return t.Self, true
		}
	}
	return none, false
}

// isLost says that the client's session is gone.
func isLost(err error) bool { return vimfault.Has[types.NotAuthenticated](err) }

func isGone(err error) bool { return vimfault.Has[types.ManagedObjectNotFound](err) }

func isPowerState(err error) bool { return vimfault.Has[types.InvalidPowerState](err) }
