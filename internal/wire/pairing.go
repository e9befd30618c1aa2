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
	Address string `json:"address"` // "host[:port]", for the deployment unit's audit
	// Sealed is a PairingAddress of the same address, sealed with the pairing code: a
	// deployment unit looks at nothing by itself. An older sender has none, and a
	// gateway that is not older does not look for it.
	Sealed []byte `json:"sealed,omitempty"`
}

// PairingAddress is what a PairingLook has sealed. It shares no member with a
// PairingRequest, so that neither is taken for the other.
type PairingAddress struct {
	Look string `json:"look"`
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

// PairingRequest asks for a pairing. Where a vCenter is paired again, what is left
// out stays as it was: the address, at the same address the certificate and the
// account, and each setting. Without control no account for it is kept.
type PairingRequest struct {
	Name       string `json:"name,omitempty"` // ours for the vCenter; empty: the one it has, or a free one
	Address    string `json:"address"`        // "host[:port]"; empty: as before
	Thumbprint string `json:"thumbprint"`     // that the person accepted; empty: as before
	User       string `json:"user"`           // empty: as before
	Password   string `json:"password"`       // empty, without a user: as before
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
	Now      Pairing            `json:"now,omitzero"`
	Again    bool               `json:"again,omitempty"`   // it was known before
	Changed  []PairingChange    `json:"changed,omitempty"` // of one that was known before
	Missing  []MissingPrivilege `json:"missing"`
}

// Pairing is what holds of a vCenter from now on. Zero: an older gateway does not
// say.
type Pairing struct {
	Address    string   `json:"address"`              // "https://vc.example"
	Thumbprint string   `json:"thumbprint,omitempty"` // SHA-256 of the only certificate that is trusted; empty: see CAFile
	CAFile     string   `json:"ca_file,omitempty"`    // authorities that are; without it and a thumbprint: the system's
	Clusters   []string `json:"clusters,omitempty"`   // in scope; empty: all
	Control    bool     `json:"control"`              // the deployment unit may act
	Broker     string   `json:"broker,omitempty"`     // where it listens, while there is control; empty: nowhere
	// Switch is how much of control the customer lets through: "open", "read-only" or
	// "off"; empty: there is none.
	Switch string `json:"switch,omitempty"`
	// BrokerProblem is why the broker does not listen though it should.
	BrokerProblem string `json:"broker_problem,omitempty"`
	// User and ControlUser are the accounts. A deployment unit is told neither.
	User        string `json:"user,omitempty"`
	ControlUser string `json:"control_user,omitempty"`
	// OwnControl says that an account of its own acts; else the first does.
	OwnControl bool `json:"own_control_account,omitempty"`
}

// PairingChange is a setting that a pairing changed.
type PairingChange struct {
	What string `json:"what"` // "control"
	From string `json:"from"` // "on"
	To   string `json:"to"`   // "off"
}

// MissingPrivilege is one that the user lacks, and what does not work without it.
type MissingPrivilege struct {
	Name     string `json:"name"`              // "VirtualMachine.Interact.PowerOn"
	Function string `json:"function"`          // "power", "discovery"
	Object   string `json:"object,omitempty"`  // where it lacks, "/DC0/vm" or "/DC0/vm and 2 more"
	Without  string `json:"without,omitempty"` // "VMs are not started or stopped"
}
