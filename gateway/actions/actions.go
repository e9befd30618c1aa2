// Package actions carries out what the deployment unit asks to be done to VMs
// of a vCenter: power, snapshots, tickets for consoles.
//
// vCenter is asked once. After a lost answer or a restart its task is looked
// for, and what it left, but nothing is asked for a second time. An action that
// wants what is already so does nothing.
//
// What may be controlled is the customer's to say: only VMs within the scope,
// and none while control is switched off. Logging in to vCenter is not this
// package's business.
package actions

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/internal/actions"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Options is what an Executor needs. Resolve, Permit, Control and Journal must be given.
type Options struct {
	// Resolve finds a VM by its key: a client of its vCenter that is logged in,
	// and the VM's reference. Denied: it may not be controlled, or not here. Other
	// errors are best an AtError.
	Resolve func(ctx context.Context, target plugin.Key) (*vim25.Client, types.ManagedObjectReference, error)
	// Lost is told of a client that vCenter does not know any more, so that the
	// next Resolve logs in again; may be nil.
	Lost func(*vim25.Client)
	// Permit says why an object may not be controlled now: it was not delegated, or
	// control of its vCenter is switched off. ServerGUID is the instance UUID of the
	// object's vCenter. It answers from memory, and is asked once more when all is
	// ready for vCenter to be asked.
	Permit func(types.ManagedObjectReference) error
	// Answering returns a context for what only looks, which ends when the target's
	// vCenter is known not to answer, with a session.SilentError for a cause, and what
	// to call afterwards. Nil: nobody knows.
	Answering func(ctx context.Context, target plugin.Key) (answering context.Context, release func())
	// Control says why nothing may be controlled now; nil: it may.
	Control func() error
	// Journal is the path of a file of our own, which is made if it is missing.
	Journal string
	// Audit is told of each action that is begun, refused or ends; may be nil.
	Audit  func(actions.AuditLine)
	Limits actions.Limits
	Log    *slog.Logger // nil: discard
}

// Executor carries actions out. Make one with New and run it.
type Executor struct {
	o    Options
	log  *slog.Logger
	once *actions.Executor
	// settleAfter is for a request to arrive whose answer was lost; immutable.
	settleAfter time.Duration
}

// New reads the journal. What it has left open is looked after by Run.
func New(o Options) (*Executor, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Answering == nil {
		o.Answering = func(ctx context.Context, _ plugin.Key) (context.Context, func()) { return ctx, func() {} }
	}
	if o.Lost == nil {
		o.Lost = func(*vim25.Client) {}
	}
	x := &Executor{o: o, log: o.Log, settleAfter: 5 * time.Second}
	var err error
	x.once, err = actions.New(actions.Options{
		Actions: wire.Actions(), Do: x.carryOut, Resume: x.resume, Control: o.Control, Journal: o.Journal, Audit: o.Audit, Limits: o.Limits, Log: o.Log,
		Target: func(k plugin.Key) error {
			_, _, err := ParseTarget(k)
			return err
		},
	})
	return x, err
}

// Run carries out what is asked until ctx ends. What is under way in vCenter
// then goes on there, and the next run finds it.
func (x *Executor) Run(ctx context.Context) error { return x.once.Run(ctx) }

// Handler serves wire.ServiceActions. It is for the tunnel alone, whose far side
// is the deployment unit.
func (x *Executor) Handler() http.Handler { return x.once.Handler() }

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
