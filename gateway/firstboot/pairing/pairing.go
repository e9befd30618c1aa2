// Package pairing has the words in which the console asks for a vCenter to be
// paired. Who does it is another package's matter, which implements [Pairer]
// without knowing the console.
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
	Thumbprint string // SHA-256 in the form of vCenter's pages: "AB:CD:..."
	Subject    string
	Issuer     string
	NotAfter   time.Time
}

// Request asks for a pairing.
type Request struct {
	Address, User, Password string
	Thumbprint              string // that the person accepted
}

// Result is a pairing that has been made.
type Result struct {
	Name    string // of the vCenter: "VMware vCenter Server 8.0.3"
	Missing []Privilege
}

// Privilege is one that the user lacks, and what does not work without it.
type Privilege struct {
	Name     string // "VirtualMachine.Interact.PowerOn"
	Function string // "control", "discovery"
	Object   string // where it lacks, "/DC0/vm"
}
