package wire

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// What can be done to a VM. A host refuses what it does not know or cannot do.
// An older host ignores arguments that it does not know, so whatever changes
// what an action does has a name of its own.
const (
	ActionPowerOn        = "power-on"
	ActionPowerOff       = "power-off" // as if the cable were pulled
	ActionShutdown       = "shutdown"  // asks the guest; done when it is off
	ActionReset          = "reset"     // as if the button were pressed
	ActionReboot         = "reboot"    // asks the guest; done when it was asked
	ActionSuspend        = "suspend"
	ActionSnapshotCreate = "snapshot-create"
	ActionSnapshotRemove = "snapshot-remove"
	ActionSnapshotRevert = "snapshot-revert"
	ActionConsole        = "console" // a ticket to the VM's screen
)

// Actions returns all actions of this version, in a good order for people.
func Actions() []string {
	return []string{
		ActionPowerOn, ActionPowerOff, ActionShutdown, ActionReset, ActionReboot, ActionSuspend,
		ActionSnapshotCreate, ActionSnapshotRemove, ActionSnapshotRevert, ActionConsole,
	}
}

// The states of an action. The last three are for good.
const (
	ActionAccepted  = "accepted"  // it will be begun
	ActionRunning   = "running"   // it was begun
	ActionSucceeded = "succeeded" // it is as was wanted
	ActionFailed    = "failed"    // it is not as was wanted, and the reason says whether anything was done, or nobody knows
	ActionRefused   = "refused"   // it is not allowed, by us, the target's state or the hypervisor; it was not begun, and never will be
)

// ActionsOffer is what a host says that it can do: GET /v1/actions.
type ActionsOffer struct {
	Actions []string `json:"actions"`
	// Reason says why the host does nothing of it at the moment, such as that
	// its administrator has switched control off. Empty: it does.
	Reason string `json:"reason,omitempty"`
}

// ActionRequest asks a host to do something to one of its resources, once.
type ActionRequest struct {
	// ID is made by the deployment unit and never used for anything else. A host
	// that has accepted an id does not do it again, also after a restart.
	ID     string     `json:"id"`
	Action string     `json:"action"`
	Target plugin.Key `json:"target"`

	Arguments   ActionArguments `json:"arguments,omitzero"`
	RequestedBy string          `json:"requested_by,omitempty"` // for the host's own audit
	// Requested and Deadline are the deployment unit's clock. The host takes the
	// time between them, for its own clock may be another. What has not ended by
	// then has failed.
	Requested time.Time `json:"requested"`
	Deadline  time.Time `json:"deadline"`
}

// ActionArguments are what an action needs beside its target.
type ActionArguments struct {
	// Name and Description are those of a new snapshot.
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	// Memory has the new snapshot hold the running VM's memory, Quiesce has the
	// guest write out what it holds before.
	Memory  bool `json:"memory,omitempty"`
	Quiesce bool `json:"quiesce,omitempty"`
	// Snapshot is the id or the name of the snapshot to remove or revert to;
	// the current one if it is empty, to revert only.
	Snapshot string `json:"snapshot,omitempty"`
	// Children removes the snapshots below, too.
	Children bool `json:"children,omitempty"`
}

// Bounds of an ActionRequest.
const (
	MaxActionRequest  = 64 << 10  // bytes of JSON
	MaxActionTime     = time.Hour // between Requested and Deadline
	maxActionText     = 255       // of names
	maxActionLongText = 4 << 10   // of a description
)

var actionID = regexp.MustCompile(`^[0-9a-zA-Z_-]{8,64}$`)

// Validate checks what both ends rely on, but not whether the action is known.
func (q *ActionRequest) Validate() error {
	if !actionID.MatchString(q.ID) {
		return fmt.Errorf("action id %.80q: want 8 to 64 letters, digits, - or _", q.ID)
	}
	if len(q.RequestedBy) > maxActionText {
		return errors.New("requested_by has more than 255 bytes")
	}
	if d := q.Deadline.Sub(q.Requested); d <= 0 || d > MaxActionTime {
		return fmt.Errorf("deadline %v after the request: want more than 0 and at most %v", d, MaxActionTime)
	}
	return q.Arguments.ValidateFor(q.Action, q.Target)
}

// ValidateFor checks the arguments of an action on a target. Those that the
// action has no use for must not be set, for they would be without effect.
func (a *ActionArguments) ValidateFor(action string, target plugin.Key) error {
	switch {
	case action == "" || len(action) > 64:
		return fmt.Errorf("action %.80q: want 1 to 64 bytes", action)
	case target.Kind == "" || len(target.Kind) > 64 || target.ID == "" || len(target.ID) > maxActionText:
		return errors.New("target: want a kind and an id, of at most 64 and 255 bytes")
	case len(a.Name) > maxActionText || len(a.Snapshot) > maxActionText:
		return errors.New("arguments: a name has more than 255 bytes")
	case len(a.Description) > maxActionLongText:
		return fmt.Errorf("arguments: the description has more than %d bytes", maxActionLongText)
	}
	rest := *a
	switch action {
	case ActionSnapshotCreate:
		if a.Name == "" {
			return errors.New("snapshot-create: the argument name is missing")
		}
		if a.Memory && a.Quiesce {
			return errors.New("snapshot-create: memory and quiesce exclude one another")
		}
		rest.Name, rest.Description, rest.Memory, rest.Quiesce = "", "", false, false
	case ActionSnapshotRemove:
		if a.Snapshot == "" {
			return errors.New("snapshot-remove: the argument snapshot is missing")
		}
		rest.Snapshot, rest.Children = "", false
	case ActionSnapshotRevert:
		rest.Snapshot = ""
	default:
		if !slices.Contains(Actions(), action) {
			return nil // a newer one: the host knows
		}
	}
	if rest != (ActionArguments{}) {
		return fmt.Errorf("%s has no use for some of the arguments", action)
	}
	return nil
}

// ActionOutcome is how far an action is, and in the end what came of it.
type ActionOutcome struct {
	ID    string `json:"id"`
	State string `json:"state"`
	// Reason is for people: why it failed or was refused, or what is notable
	// about a success, such as that it was so already.
	Reason string `json:"reason,omitempty"`
	// Uncertain marks a failure of which nobody knows whether it did something:
	// look at the target before trying again.
	Uncertain bool `json:"uncertain,omitempty"`
	// Progress is in percent; 0 also where nobody knows.
	Progress int           `json:"progress,omitempty"`
	Started  time.Time     `json:"started,omitzero"` // the host's clock, as Ended
	Ended    time.Time     `json:"ended,omitzero"`
	Result   *ActionResult `json:"result,omitempty"`
}

// ActionEnded says whether a state is for good. A state that is not known is
// not, for a newer host may have more of them on the way.
func ActionEnded(state string) bool {
	return state == ActionSucceeded || state == ActionFailed || state == ActionRefused
}

// Done says whether the outcome is for good.
func (o *ActionOutcome) Done() bool { return ActionEnded(o.State) }

// ActionResult is what an action has yielded.
type ActionResult struct {
	// Unchanged says that there was nothing to do.
	Unchanged bool `json:"unchanged,omitempty"`
	// Snapshot is the id of the one that was made.
	Snapshot string `json:"snapshot,omitempty"`
	// Console is a secret: it is handed on and not kept.
	Console *ConsoleTicket `json:"console,omitempty"`
}

// WithoutSecrets returns the result without what must not be kept.
func (r *ActionResult) WithoutSecrets() *ActionResult {
	if r == nil || r.Console == nil {
		return r
	}
	kept := *r
	kept.Console = nil
	if kept == (ActionResult{}) {
		return nil
	}
	return &kept
}

// ConsoleTicket opens a VM's screen once.
type ConsoleTicket struct {
	Type string `json:"type"` // "webmks"
	// URL holds the secret. It leads to the hypervisor's host, which the viewer
	// must be able to reach.
	URL string `json:"url"`
	// Fingerprint is that of the certificate which answers there, as the
	// hypervisor says it.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Expires is until when the ticket can be relied on, by the host's clock.
	Expires time.Time `json:"expires"`
}
