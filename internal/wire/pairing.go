package wire

import "time"

// ServicePairing is where a gateway takes pairings with vCenters from its
// deployment unit, while somebody on the gateway allows it: GET /v1/key,
// POST /v1/look, POST /v1/pair.
const ServicePairing = "pairing"

// PairingKey is what the account for a vCenter is sealed to. Who has the gateway's
// pairing code can tell whether it is the gateway's.
type PairingKey struct {
	PublicKey []byte    `json:"public_key"`
	Until     time.Time `json:"until"` // when the gateway does not take it any more
}

// PairingCode is made on the gateway, and tells who has it the gateway's key.
type PairingCode struct {
	Code  string    `json:"code"`
	Until time.Time `json:"until"`
}

// PairingLook asks who answers at an address.
type PairingLook struct {
	Address string `json:"address"` // "host[:port]"
}

// PairingCertificate is what a person compares.
type PairingCertificate struct {
	Thumbprint string    `json:"thumbprint"` // SHA-256 in the form of vCenter's pages: "AB:CD:..."
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	NotAfter   time.Time `json:"not_after"`
}

// SealedPairing is a PairingRequest that only the gateway can read.
type SealedPairing struct {
	Sealed []byte `json:"sealed"`
}

// PairingRequest asks for a pairing. Where a vCenter is paired again, to change
// its password or certificate, what is left out stays as it was.
type PairingRequest struct {
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
	// Broker is where programs on the gateway's machine reach the vCenter's broker,
	// "127.0.0.1:8443"; nil: as before, or nowhere; empty: nowhere.
	Broker *string `json:"broker,omitempty"`
	// ControlUser and its password are an account of its own for acting; empty: as
	// before, or the first.
	ControlUser     string `json:"control_user,omitempty"`
	ControlPassword string `json:"control_password,omitempty"`
}

// String leaves the passwords out.
func (r PairingRequest) String() string { return r.Name + " at " + r.Address + " as " + r.User }

// GoString is String.
func (r PairingRequest) GoString() string { return r.String() }

// PairingResult is a pairing that has been made.
type PairingResult struct {
	As       string             `json:"as"`       // our name for the vCenter
	Name     string             `json:"name"`     // its own: "VMware vCenter Server 8.0.3"
	Instance string             `json:"instance"` // the UUID by which it is known again
	Missing  []MissingPrivilege `json:"missing"`
}

// MissingPrivilege is one that the user lacks, and what does not work without it.
type MissingPrivilege struct {
	Name     string `json:"name"`              // "VirtualMachine.Interact.PowerOn"
	Function string `json:"function"`          // "power", "discovery"
	Object   string `json:"object,omitempty"`  // where it lacks, "/DC0/vm" or "/DC0/vm and 2 more"
	Without  string `json:"without,omitempty"` // "VMs are not started or stopped"
}
