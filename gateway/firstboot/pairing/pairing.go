// Package pairing has the words in which a vCenter is asked to be paired with the
// gateway, by the console, the command and the daemon's API. Who does it is
// another package's matter, which implements [Pairer] without knowing them.
package pairing

import (
	"context"
	"time"
)

// Pairer pairs the gateway with a vCenter, in two steps: a person compares the
// certificate in between, and no secret goes out before.
type Pairer interface {
	// Look fetches the certificate of who answers at the address, "host[:port]".
	Look(ctx context.Context, address string) (Certificate, error)
	// Pair logs in to who has that certificate and to nobody else, looks what the
	// user may do, and keeps the credentials if the user may see the inventory.
	Pair(ctx context.Context, r Request) (Result, error)
}

// Certificate is what a person compares.
type Certificate struct {
	Thumbprint string    `json:"thumbprint"` // SHA-256 in the form of vCenter's pages: "AB:CD:..."
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	NotAfter   time.Time `json:"not_after"`
}

// Request asks for a pairing. Where a vCenter is paired again, to change its
// password or certificate, what is left out stays as it was.
type Request struct {
	Name       string `json:"name,omitempty"` // ours for the vCenter; empty: the one it has, or a free one
	Address    string `json:"address"`        // "host[:port]"
	Thumbprint string `json:"thumbprint"`     // that the person accepted
	User       string `json:"user"`
	Password   string `json:"password"`
	// Clusters are the names of those to look at; nil: as before, or all; empty: all.
	Clusters []string `json:"clusters,omitzero"`
	// Control says whether the deployment unit may act; nil: as before or, without
	// an account for it, not.
	Control *bool `json:"control,omitempty"`
	// ControlUser and its password are an account of its own for acting; empty: as
	// before, or the first.
	ControlUser     string `json:"control_user,omitempty"`
	ControlPassword string `json:"control_password,omitempty"`
}

// String leaves the passwords out.
func (r Request) String() string { return r.Name + " at " + r.Address + " as " + r.User }

// GoString is String.
func (r Request) GoString() string { return r.String() }

// Result is a pairing that has been made.
type Result struct {
	As       string      `json:"as"`       // our name for the vCenter
	Name     string      `json:"name"`     // its own: "VMware vCenter Server 8.0.3"
	Instance string      `json:"instance"` // the UUID by which it is known again
	Missing  []Privilege `json:"missing"`
}

// Privilege is one that the user lacks, and what does not work without it.
type Privilege struct {
	Name     string `json:"name"`              // "VirtualMachine.Interact.PowerOn"
	Function string `json:"function"`          // "power", "discovery"
	Object   string `json:"object,omitempty"`  // where it lacks, "/DC0/vm" or "/DC0/vm and 2 more"
	Without  string `json:"without,omitempty"` // "VMs are not started or stopped"
}
