package api

import (
	"time"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// ActionRequest asks to do something to a resource of a host. The header
// Idempotency-Key makes it safe to ask again when an answer was lost.
type ActionRequest struct {
	Action    string               `json:"action"` // "power-on", "shutdown", ...; see package wire
	Target    plugin.Key           `json:"target"`
	Arguments wire.ActionArguments `json:"arguments,omitzero"`
	// TimeoutSeconds is how long the action may take, 3,600 at most; 0: as long
	// as such an action usually does at the very most.
	TimeoutSeconds int64 `json:"timeout_seconds,omitempty"`
}

// Action is an action that was asked for, and how far it is.
type Action struct {
	ID          string               `json:"id"`
	Host        wire.HostID          `json:"host"`
	Hostname    string               `json:"hostname,omitempty"` // when it was asked for, as Name
	Action      string               `json:"action"`
	Target      plugin.Key           `json:"target"`
	Name        string               `json:"name,omitempty"` // of the target
	Arguments   wire.ActionArguments `json:"arguments,omitzero"`
	RequestedBy string               `json:"requested_by"`
	Requested   time.Time            `json:"requested"` // our clock, as Deadline and Ended
	Deadline    time.Time            `json:"deadline"`
	// State is "accepted", "running", "succeeded", "failed" or "refused".
	State     string    `json:"state"`
	Reason    string    `json:"reason,omitempty"`    // for people
	Uncertain bool      `json:"uncertain,omitempty"` // it failed, and nobody knows whether it did something
	Progress  int       `json:"progress,omitempty"`  // percent
	Ended     time.Time `json:"ended,omitzero"`
	// Result has the ticket of a console once, for who asked for it.
	Result *wire.ActionResult `json:"result,omitempty"`
	// Revision grows with each change; the parameter "since" waits for the next.
	Revision int `json:"revision"`
}

// Done says whether the action has ended, one way or another.
func (a *Action) Done() bool { return wire.ActionEnded(a.State) }

// Actions is a page of actions, newest first. Continue, if set, asks for the
// next page when given as the parameter "continue".
type Actions struct {
	Items    []Action `json:"items"`
	Continue string   `json:"continue,omitempty"`
}
