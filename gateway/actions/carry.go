package actions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vimfault"
	"github.com/openpf9/openpf9/internal/actions"
	"github.com/openpf9/openpf9/internal/netcause"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	callLimit   = 30 * time.Second // of one question to vCenter
	againAfter  = time.Second      // between tries of what only looks
	settleLimit = 30 * time.Second // beyond the deadline, for finding out how it ended
)

// A job is one action being carried out.
type job struct {
	x        *Executor
	a        *actions.Action
	q        *wire.ActionRequest
	verb     verb
	client   *vim25.Client
	ref      types.ManagedObjectReference
	vm       mo.VirtualMachine // as it was looked at last
	snapshot types.ManagedObjectReference
}

func (x *Executor) job(a *actions.Action) *job {
	return &job{x: x, a: a, q: a.Asked(), verb: verbs[a.Asked().Action]}
}

// carryOut does an action that was just accepted.
func (x *Executor) carryOut(ctx context.Context, a *actions.Action) {
	j := x.job(a)
	own, cancel := context.WithDeadline(ctx, a.Until())
	defer cancel()
	asked, done, err := j.prepareAnswered(own)
	switch {
	case ctx.Err() != nil: // the next run says that nothing was done
		return
	case err != nil:
		j.undone(err)
		return
	case done != "":
		a.Unchanged(done)
		return
	}
	memo := actions.Memo{Asked: asked, Object: j.snapshot.Value}
	if err := a.Note(memo); err != nil {
		a.Fail(err.Error()+", nothing was done", false)
		return
	}
	if err := j.permitted(); err != nil { // looking has taken its time
		j.undone(err)
		return
	}
	var sent netcause.Delivery
	call, release := context.WithTimeout(sent.Watch(own), callLimit)
	task, err := j.verb.start(call, j)
	release()
	switch {
	case err == nil && task != nil:
		memo.Task = task.Value
		_ = a.Note(memo) // or the task is searched for after a restart
		j.follow(ctx, own)
	case err == nil:
		j.finish(ctx, own, true)
	case vimfault.Is(err): // it was not done
		j.refused(ctx, err)
	case !sent.Begun():
		j.undone(err)
	default: // it may have been done
		x.log.Warn("vCenter's answer was lost", "action", j.q.ID, "err", err)
		j.lost(ctx, own, fmt.Sprintf("the answer of %s was lost (%s)", j.vcenter(err), netcause.Words(err)))
	}
}

// resume looks after an action that an earlier run began.
func (x *Executor) resume(ctx context.Context, a *actions.Action) {
	j := x.job(a)
	// The deadline may have passed while we were away.
	own, cancel := context.WithDeadline(ctx, later(a.Until(), time.Now().Add(settleLimit)))
	defer cancel()
	j.snapshot = types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: a.Known().Object}
	if a.Known().Task != "" {
		j.follow(ctx, own)
		return
	}
	j.lost(ctx, own, "the gateway was restarted before vCenter had answered")
}

// lost goes on when nobody knows whether vCenter was asked.
func (j *job) lost(ctx, own context.Context, why string) {
	switch {
	case j.verb.harmless:
		j.a.Fail(why+", nothing was changed; ask again", false)
		return
	case j.verb.waits:
		j.finish(ctx, own, false)
		return
	}
	j.search(ctx, own, why)
}

// prepareAnswered prepares for as long as vCenter answers as far as is known: nothing was
// asked of it yet, so that nobody need wait for what will not come.
func (j *job) prepareAnswered(ctx context.Context) (asked time.Time, done string, err error) {
	ctx, release := j.x.o.Answering(ctx, j.q.Target)
	defer release()
	asked, done, err = j.prepare(ctx)
	silent, is := errors.AsType[*session.SilentError](context.Cause(ctx))
	if _, denied := err.(Denied); is && err != nil && !denied {
		err = silent
	}
	return asked, done, err
}

// prepare looks at all that can be known before vCenter is asked. done says that
// there is nothing to do, asked is vCenter's clock.
func (j *job) prepare(ctx context.Context) (asked time.Time, done string, err error) {
	if err := j.find(ctx); err != nil {
		return asked, "", err
	}
	if done, err = j.verb.ready(j); err != nil {
		return asked, "", Denied(err.Error())
	}
	if done != "" {
		return asked, done, nil
	}
	if asked, err = vcenterTime(ctx, j.client); err == nil {
		err = ctx.Err() // for there must be time left
	}
	return asked, "", err
}

// find resolves the target, checks that it may be controlled, and looks at it.
func (j *job) find(ctx context.Context) error {
	if err := j.resolve(ctx); err != nil {
		return err
	}
	if err := j.permitted(); err != nil {
		return err
	}
	err := j.look(ctx)
	if isLost(err) {
		j.x.o.Lost(j.client)
		if err = j.resolve(ctx); err == nil {
			err = j.look(ctx)
		}
	}
	switch {
	case isGone(err):
		return deniedf("%s has no such VM any more", j.vcenter(err))
	case err != nil:
		return err
	}
	j.a.Name(j.vm.Name)
	if c := j.vm.Config; c != nil && c.Template {
		return deniedf("%s is a template", j.vm.Name)
	}
	return nil
}

// permitted asks whether the VM may be controlled now.
func (j *job) permitted() error {
	vcenter, ref, err := ParseTarget(j.q.Target)
	if err != nil {
		return Denied(err.Error())
	}
	if ref.Value != j.ref.Value {
		return fmt.Errorf("%s was resolved to %s", ref, j.ref)
	}
	ref.ServerGUID = vcenter
	return j.x.o.Permit(ref)
}

func (j *job) resolve(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var err error
	j.client, j.ref, err = j.x.o.Resolve(ctx, j.q.Target)
	return err
}

// look reads the VM's state.
func (j *job) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var vm mo.VirtualMachine
	err := property.DefaultCollector(j.client).RetrieveOne(ctx, j.ref, []string{
		"name", "config.template", "runtime.powerState", "runtime.connectionState", "runtime.question", "guest.toolsRunningStatus", "snapshot",
	}, &vm)
	if err == nil {
		j.vm = vm
	}
	return err
}

// again resolves and looks anew, for what only looks may be tried for as long
// as there is time.
func (j *job) again(ctx context.Context) error {
	var err error
	for {
		if err = j.resolve(ctx); err == nil {
			if err = j.look(ctx); err == nil {
				return nil
			}
			if isLost(err) {
				j.x.o.Lost(j.client)
			}
		}
		if err := pause(ctx, againAfter); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func vcenterTime(ctx context.Context, c *vim25.Client) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	t, err := methods.GetCurrentTime(ctx, c)
	if err != nil {
		return time.Time{}, err
	}
	return *t, nil
}

// refused ends an action that vCenter did not begin.
func (j *job) refused(ctx context.Context, err error) {
	switch {
	case j.faster(ctx, err):
	case isLost(err):
		j.x.o.Lost(j.client)
		j.undone(err)
	default:
		j.a.Refuse(fmt.Sprintf("%s refuses: %s", j.vcenter(err), vimfault.Words(err)))
	}
}

// faster ends an action if the VM became what was wanted since it was looked at.
func (j *job) faster(ctx context.Context, err error) bool {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if j.verb.reached == nil || !isPowerState(err) || j.look(ctx) != nil || !j.verb.reached(j) {
		return false
	}
	j.a.Unchanged("somebody else was faster: it is so already")
	return true
}

// finish waits for the state that an action without a task leads to, if any.
// sure says that vCenter has taken the request.
func (j *job) finish(ctx, own context.Context, sure bool) {
	if !j.verb.waits {
		j.a.Succeed("")
		return
	}
	for {
		err := j.waitForPower(own)
		switch {
		case err == nil:
			j.a.Succeed("")
			return
		case ctx.Err() != nil:
			return // the next run goes on
		case own.Err() != nil:
			j.a.Fail(j.verb.late, !sure)
			return
		}
		j.x.log.Info("a VM is out of sight", "action", j.q.ID, "err", err)
		if isLost(err) {
			j.x.o.Lost(j.client)
		}
		j.client = nil
		_ = pause(own, againAfter) // own is looked at above
	}
}

// waitForPower returns nil when the VM is as was wanted.
func (j *job) waitForPower(ctx context.Context) error {
	if j.client == nil {
		if err := j.again(ctx); err != nil {
			return err
		}
	}
	return watch(ctx, j.client, j.ref, "runtime.powerState", func(v any) bool {
		s, ok := v.(types.VirtualMachinePowerState)
		if ok {
			j.vm.Runtime.PowerState = s
		}
		return ok && j.verb.reached(j)
	})
}
