// Package pairing has the words in which a vCenter is asked to be paired with the
// gateway, by the console, the command and the daemon's API. Who does it is
// another package's matter, which implements [Pairer] without knowing them.
package pairing

import (
	"context"

	"github.com/openpf9/openpf9/internal/wire"
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

// The words are those in which a deployment unit asks for a pairing too.
type (
	Certificate = wire.PairingCertificate // what a person compares
	Request     = wire.PairingRequest     // asks for a pairing
	Result      = wire.PairingResult      // a pairing that has been made
	Privilege   = wire.MissingPrivilege   // one that the user lacks
)
