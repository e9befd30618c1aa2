// Package power carries out what the deployment unit asks to be done to the VMs
// of a KVM host, by libvirt: switching on and off, no more yet.
//
// It is off unless the host's administrator has set libvirt.control, because who
// controls libvirt is as good as root, and the agent is to be nobody in
// particular. libvirt is asked once; after a lost answer or a restart the VM is
// looked at, and nothing is asked for a second time.
package power

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/openpf9/openpf9/agent/libvirt"
	"github.com/openpf9/openpf9/internal/actions"
	"github.com/openpf9/openpf9/internal/netcause"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	lookLimit = 15 * time.Second // for libvirt to say how a VM is
	lookEvery = time.Second      // at a VM whose guest was asked to do something
	lostLooks = 5                // at a VM after a lost answer
)

// Options is what power needs. All but Audit and Log must be given.
type Options struct {
	// Conn returns the connection to libvirt, which a reload replaces; nil: there
	// is none yet.
	Conn func() *libvirt.Conn
	// Control says why nothing may be controlled now; nil: it may.
	Control func() error
	Journal string // path of a file of our own
	Audit   func(actions.AuditLine)
	Log     *slog.Logger
}

type power struct{ Options }

// New reads the journal and returns what carries actions out once it is run.
func New(o Options) (*actions.Executor, error) {
	p := &power{o}
	return actions.New(actions.Options{
		Actions: []string{wire.ActionPowerOn, wire.ActionPowerOff, wire.ActionShutdown, wire.ActionReset, wire.ActionReboot, wire.ActionSuspend},
		Target:  target, Do: p.do, Resume: p.resume, Control: o.Control, Journal: o.Journal, Audit: o.Audit, Log: o.Log,
	})
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func target(k plugin.Key) error {
	if k.Kind != inventory.KindVM || !uuidForm.MatchString(k.ID) {
		return fmt.Errorf("%.64s %.64q is no VM of a KVM host", k.Kind, k.ID)
	}
	return nil
}

// A vm is one as it was looked at.
type vm struct {
	there  bool
	name   string
	state  string
	reason string
}

func (p *power) look(ctx context.Context, k plugin.Key) (vm, error) {
	c := p.Conn()
	if c == nil {
		return vm{}, errors.New("the agent is starting")
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	r, there, err := c.VMs().Get(ctx, k)
	if err != nil || !there {
		return vm{}, err
	}
	spec, ok := r.Spec.(inventory.VM)
	if !ok {
		return vm{}, fmt.Errorf("libvirt's VM is a %T", r.Spec)
	}
	return vm{there: true, name: r.Name, state: spec.State, reason: spec.StateReason}, nil
}

func (v vm) on() bool { return v.state == inventory.VMRunning || v.state == inventory.VMBlocked }

// reached says whether a VM is as the action wants it.
func (v vm) reached(action string) bool {
	switch action {
	case wire.ActionPowerOn:
		return v.on()
	case wire.ActionPowerOff, wire.ActionShutdown:
		return !v.there || v.state == inventory.VMShutOff || v.state == inventory.VMCrashed
	case wire.ActionSuspend:
		return v.state == inventory.VMShutOff && v.reason == "saved"
	}
	return false // it cannot be seen
}

// wanted is how the actions want a VM, in words.
var wanted = map[string]string{
	wire.ActionPowerOn: "on", wire.ActionPowerOff: "off", wire.ActionShutdown: "off", wire.ActionSuspend: "suspended",
}

// verb is what to do to a VM that is not as is wanted, or why it cannot be.
func (v vm) verb(action string) (libvirt.Verb, error) {
	if action == wire.ActionPowerOn {
		switch v.state {
		case inventory.VMPaused:
			return libvirt.VerbResume, nil
		case inventory.VMSuspended:
			return libvirt.VerbWake, nil
		case inventory.VMShuttingDown:
			return "", errors.New("it is shutting down: wait until it is off")
		}
		return libvirt.VerbStart, nil
	}
	if action == wire.ActionPowerOff {
		return libvirt.VerbDestroy, nil
	}
	if !v.on() {
		return "", fmt.Errorf("it is %s: start it first", v.state)
	}
	return map[string]libvirt.Verb{
		wire.ActionShutdown: libvirt.VerbShutdown, wire.ActionReset: libvirt.VerbReset,
		wire.ActionReboot: libvirt.VerbReboot, wire.ActionSuspend: libvirt.VerbSave,
	}[action], nil
}

// do carries out an action that was just accepted.
func (p *power) do(ctx context.Context, a *actions.Action) {
	q := a.Asked()
	own, cancel := context.WithDeadline(ctx, a.Until())
	defer cancel()
	v, err := p.look(own, q.Target)
	switch {
	case ctx.Err() != nil: // the next run says that nothing was done
		return
	case err != nil:
		undone(a, err)
		return
	case !v.there:
		a.Refuse("there is no such VM on this host")
		return
	}
	a.Name(v.name)
	if v.reached(q.Action) {
		a.Unchanged("already " + wanted[q.Action])
		return
	}
	verb, err := v.verb(q.Action)
	if err != nil {
		a.Refuse(err.Error())
		return
	}
	if err := a.Note(actions.Memo{Asked: time.Now().UTC()}); err != nil {
		a.Fail(err.Error()+", nothing was done", false)
		return
	}
	asked, err := p.Conn().Control(own, q.Target.ID, verb)
	switch {
	case err == nil:
		p.await(ctx, own, a)
	case libvirt.Answered(err) || libvirt.Refused(err):
		p.refused(ctx, a, err)
	case !asked:
		undone(a, err)
	default:
		p.lost(ctx, a, fmt.Sprintf("libvirt's answer was lost (%s)", netcause.Words(err)))
	}
}

// undone ends an action that libvirt was not asked for.
func undone(a *actions.Action, err error) {
	a.Fail(fmt.Sprintf("libvirt cannot be asked (%s), nothing was done; try again when it answers, which pf9-hostagent status shows on the host", netcause.Words(err)), false)
}

// resume looks after an action that an earlier run began.
func (p *power) resume(ctx context.Context, a *actions.Action) {
	if a.Asked().Action == wire.ActionShutdown {
		until := time.Now().Add(lookLimit) // the deadline may have passed while we were away
		if a.Until().After(until) {
			until = a.Until()
		}
		own, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		p.await(ctx, own, a)
		return
	}
	p.lost(ctx, a, "the agent was restarted before libvirt had answered")
}

// await ends an action that libvirt has taken: at once, but for a guest that was
// asked to shut down.
func (p *power) await(ctx, own context.Context, a *actions.Action) {
	q := a.Asked()
	if q.Action != wire.ActionShutdown {
		a.Succeed("")
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if v, err := p.look(own, q.Target); err == nil && v.reached(q.Action) {
			a.Succeed("")
			return
		}
		select {
		case <-tick.C:
			continue
		case <-own.Done():
		}
		if ctx.Err() == nil { // or the next run goes on
			a.Fail("the guest was asked, and is not off in time; it may still do so; if not, power it off", false)
		}
		return
	}
}

// refused ends an action that libvirt did not do. If the VM became what was
// wanted since it was looked at, all is well.
func (p *power) refused(ctx context.Context, a *actions.Action, why error) {
	if v, err := p.look(ctx, a.Asked().Target); err == nil && v.reached(a.Asked().Action) {
		a.Unchanged("somebody else was faster: it is so already")
		return
	}
	if libvirt.Refused(why) {
		a.Refuse("libvirt refuses: " + why.Error())
		return
	}
	a.Fail("libvirt says: "+why.Error(), false)
}

// lost ends an action of which nobody knows whether libvirt has done it.
func (p *power) lost(ctx context.Context, a *actions.Action, why string) {
	var v vm
	var err error
	for range lostLooks { // libvirt may be restarting
		if v, err = p.look(ctx, a.Asked().Target); err == nil && v.reached(a.Asked().Action) {
			break
		}
		pause := time.NewTimer(lookEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
	switch {
	case ctx.Err() != nil: // the next run goes on
	case err == nil && v.reached(a.Asked().Action):
		a.Succeed("found done after " + why)
	default:
		a.Fail(why+", it may have been done", true)
	}
}
