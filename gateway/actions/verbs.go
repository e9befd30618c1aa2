package actions

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/internal/wire"
)

// A verb is how one action is done.
type verb struct {
	// ready says that there is nothing to do, and why, or that it cannot be done.
	ready func(*job) (done string, err error)
	// start asks vCenter once. A nil task says that there is none to follow.
	start func(context.Context, *job) (*types.ManagedObjectReference, error)
	// tasks are vCenter's names of the task, by which it is found again.
	tasks []string
	// reached says whether the VM, as it was looked at, is as was wanted. It is nil
	// where that cannot be seen.
	reached func(*job) bool
	// waits has an action without a task end when reached is true; late is what to
	// say of it when it is not in time.
	waits bool
	late  string
	// harmless says that it may simply be asked for again.
	harmless bool
}

var verbs = map[string]verb{
	wire.ActionPowerOn: {
		ready: func(j *job) (string, error) {
			if j.power() == types.VirtualMachinePowerStatePoweredOn {
				return "already on", nil
			}
			return "", j.connected()
		},
		start: func(ctx context.Context, j *job) (*types.ManagedObjectReference, error) {
			res, err := methods.PowerOnVM_Task(ctx, j.client, &types.PowerOnVM_Task{This: j.ref})
			if err != nil {
				return nil, err
			}
			return &res.Returnval, nil
		},
		tasks:   []string{"VirtualMachine.powerOn"},
		reached: func(j *job) bool { return j.power() == types.VirtualMachinePowerStatePoweredOn },
	},
	wire.ActionPowerOff: {
		ready: func(j *job) (string, error) {
			if j.power() == types.VirtualMachinePowerStatePoweredOff {
				return "already off", nil
			}
			return "", j.connected()
		},
		start: func(ctx context.Context, j *job) (*types.ManagedObjectReference, error) {
			res, err := methods.PowerOffVM_Task(ctx, j.client, &types.PowerOffVM_Task{This: j.ref})
			if err != nil {
				return nil, err
			}
			return &res.Returnval, nil
		},
		tasks:   []string{"VirtualMachine.powerOff"},
		reached: func(j *job) bool { return j.power() == types.VirtualMachinePowerStatePoweredOff },
	},
	wire.ActionSuspend: {
		ready: func(j *job) (string, error) {
			if j.power() == types.VirtualMachinePowerStateSuspended {
				return "already suspended", nil
			}
			return "", j.mustBeOn()
		},
		start: func(ctx context.Context, j *job) (*types.ManagedObjectReference, error) {
			res, err := methods.SuspendVM_Task(ctx, j.client, &types.SuspendVM_Task{This: j.ref})
			if err != nil {
				return nil, err
			}
			return &res.Returnval, nil
		},
		tasks:   []string{"VirtualMachine.suspend"},
		reached: func(j *job) bool { return j.power() == types.VirtualMachinePowerStateSuspended },
	},
	wire.ActionReset: {
		ready: func(j *job) (string, error) { return "", j.mustBeOn() },
		start: func(ctx context.Context, j *job) (*types.ManagedObjectReference, error) {
			res, err := methods.ResetVM_Task(ctx, j.client, &types.ResetVM_Task{This: j.ref})
			if err != nil {
				return nil, err
			}
			return &res.Returnval, nil
		},
		tasks: []string{"VirtualMachine.reset"},
	},
	wire.ActionShutdown: {
		ready: func(j *job) (string, error) {
			if j.power() == types.VirtualMachinePowerStatePoweredOff {
				return "already off", nil
			}
			return "", j.mustHaveTools("power it off instead, as pf9ctl vm stop --force does")
		},
		start: func(ctx context.Context, j *job) (*types.ManagedObjectReference, error) {
			_, err := methods.ShutdownGuest(ctx, j.client, &types.ShutdownGuest{This: j.ref})
			return nil, err
		},
		reached: func(j *job) bool { return j.power() == types.VirtualMachinePowerStatePoweredOff },
		waits:   true, late: "the guest was asked, and is not off in time; it may still do so; if not, power it off",
	},
	wire.ActionReboot: {
		ready: func(j *job) (string, error) {
			return "", j.mustHaveTools("reset it instead, as pf9ctl vm restart --force does")
		},
		start: func(ctx context.Context, j *job) (*types.ManagedObjectReference, error) {
			_, err := methods.RebootGuest(ctx, j.client, &types.RebootGuest{This: j.ref})
			return nil, err
		},
	},
	wire.ActionSnapshotCreate: {ready: readySnapshot, start: createSnapshot, tasks: []string{"VirtualMachine.createSnapshot", "VirtualMachine.createSnapshotEx"}, reached: snapshotMade},
	wire.ActionSnapshotRemove: {ready: findSnapshot, start: removeSnapshot, tasks: []string{"vm.Snapshot.remove", "VirtualMachine.removeSnapshot"}, reached: snapshotGone},
	wire.ActionSnapshotRevert: {ready: findSnapshot, start: revertSnapshot, tasks: []string{"vm.Snapshot.revert", "VirtualMachine.revertSnapshot"}},
	wire.ActionConsole:        {ready: func(j *job) (string, error) { return "", j.mustBeOn() }, start: openConsole, harmless: true},
}

func (j *job) power() types.VirtualMachinePowerState { return j.vm.Runtime.PowerState }

// connected says why vCenter cannot do anything with the VM; nil: it can.
func (j *job) connected() error {
	switch s := j.vm.Runtime.ConnectionState; s {
	case "", types.VirtualMachineConnectionStateConnected:
		return nil
	default:
		return fmt.Errorf("vCenter has it as %s: look after its host and its files first", s)
	}
}

func (j *job) mustBeOn() error {
	switch j.power() {
	case types.VirtualMachinePowerStatePoweredOff:
		return errors.New("it is off: start it first")
	case types.VirtualMachinePowerStateSuspended:
		return errors.New("it is suspended: start it first")
	}
	return j.connected()
}

// mustHaveTools is for what the guest is asked to do.
func (j *job) mustHaveTools(instead string) error {
	if err := j.mustBeOn(); err != nil {
		return err
	}
	if g := j.vm.Guest; g == nil || g.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
		return fmt.Errorf("VMware Tools do not run in the guest, so it cannot be asked: %s", instead)
	}
	return nil
}

// ticketLife is how long a ticket is relied on. vCenter does not say how long
// it is good for.
const ticketLife = 30 * time.Second

func openConsole(ctx context.Context, j *job) (*types.ManagedObjectReference, error) {
	res, err := methods.AcquireTicket(ctx, j.client, &types.AcquireTicket{This: j.ref, TicketType: string(types.VirtualMachineTicketTypeWebmks)})
	if err != nil {
		return nil, err
	}
	t := res.Returnval
	address := t.Url
	if address == "" {
		host, port := t.Host, t.Port
		if host == "" {
			host = j.client.URL().Hostname()
		}
		if port == 0 {
			port = 443
		}
		address = "wss://" + net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(port))) + "/ticket/" + t.Ticket
	}
	j.a.Ticket(&wire.ConsoleTicket{Type: "webmks", URL: address, Fingerprint: t.SslThumbprint, Expires: time.Now().UTC().Add(ticketLife)})
	return nil, nil
}
