// Package wire holds every message that crosses the tunnel between a host or
// gateway and its deployment unit, and the version of that vocabulary.
//
// Messages are JSON over HTTP over a tunnel stream. A receiver ignores fields
// it does not know; a field is never renamed or given another meaning. The
// host a message speaks of is the peer certificate's, never a field of it.
package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Version is the newest version of the vocabulary that this program speaks.
//
//	1: hello, report, events, renewal. Since then, without a new number, because
//	who does not know them keeps them like any other: resources of the kinds
//	agent.kind, which declare the kinds of plugins, and host.extension. Also
//	since then, of a service of its own that a host may lack: actions.
const Version = 1

// The services that the DU offers to a host through its tunnel. Each is HTTP.
const (
	ServiceResmgr   = "resmgr"   // POST /v1/hello, /v1/report, /v1/events
	ServiceCertrepo = "certrepo" // POST /v1/renew
)

// What a Hello calls hypervisors; clients of /resmgr know the words.
const (
	HypervisorKVM    = "kvm"           // of a host agent
	HypervisorVMware = "VMWareCluster" // of a gateway
)

// The services of a host that the DU may dial back. Each is HTTP.
const (
	ServiceAgent = "agent" // the agent's own API
	// ServiceActions carries out actions, where the host can. GET /v1/actions is
	// an ActionsOffer. POST /v1/actions takes an ActionRequest; POST
	// /v1/actions/{id}/settle asks for one that was sent before, and has an id
	// that the host does not know refused for good. Both answer with one
	// ActionOutcome a line, whenever it changes and every 15 s, up to the last,
	// which has ended.
	ServiceActions = "actions"
	// ServiceVCenter is the broker before a gateway's vCenters: vSphere's own API.
	// The host of a request is the vCenter's name on the gateway and ".vcenter".
	ServiceVCenter = "vcenter"
)

// EncodingGzip is the content encoding of RFC 1952.
const EncodingGzip = "gzip"

// TunnelPath is where a DU accepts tunnels.
const TunnelPath = "/tunnel/v1"

// MaxReport bounds the body of a report in bytes, before it was compressed and
// after. A sender splits what is
// larger; a receiver refuses it.
const MaxReport = 4 << 20

// HostID is the lower-case UUID of a host or gateway.
type HostID string

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// Validate says whether the id has the form of a UUID.
func (id HostID) Validate() error {
	if !uuid.MatchString(string(id)) {
		return fmt.Errorf("host id %.64q is not a lower-case UUID", string(id))
	}
	return nil
}

// Resource is a discovered resource on its way up and at rest in the catalogue.
type Resource struct {
	plugin.Key
	Name   string          `json:"name,omitempty"`
	Parent plugin.Key      `json:"parent,omitzero"`
	Spec   json.RawMessage `json:"spec"`
	Ext    json.RawMessage `json:"ext,omitempty"`
	// Generation starts at 1 and grows with each change of the resource within
	// one epoch of the agent.
	Generation uint64 `json:"generation"`
	// Source is the module that lists it.
	Source string `json:"source,omitempty"`
}

// Validate checks the limits that every resource must keep.
func (r *Resource) Validate() error {
	switch {
	case r.Kind == "" || len(r.Kind) > 64:
		return fmt.Errorf("resource kind %.80q: want 1 to 64 bytes", r.Kind)
	case r.ID == "" || len(r.ID) > 255:
		return fmt.Errorf("%s id %.80q: want 1 to 255 bytes", r.Kind, r.ID)
	case len(r.Name) > 255:
		return fmt.Errorf("%s %s: name has more than 255 bytes", r.Kind, r.ID)
	case len(r.Spec) > 256<<10:
		return fmt.Errorf("%s %s: spec has more than 256 KiB", r.Kind, r.ID)
	case len(r.Ext) > 16<<10:
		return fmt.Errorf("%s %s: ext has more than 16 KiB", r.Kind, r.ID)
	}
	return nil
}

// SourceStatus is the health of one discovery module or plugin.
type SourceStatus struct {
	Name string `json:"name"`
	// State is "starting", "ok", "degraded" or "failed".
	State string `json:"state"`
	// Reason says why the state is not ok, for people.
	Reason string `json:"reason,omitempty"`
	// Since is when the state began.
	Since time.Time `json:"since"`
	// Kinds are the kinds that the module lists; they are stale while it is
	// not ok.
	Kinds []string `json:"kinds"`
	// Listed is when the last complete list ended; zero: never.
	Listed time.Time `json:"listed,omitzero"`
	// Count is how many resources the last complete list held.
	Count int `json:"count"`
}

// Hello opens a host's conversation after each connect.
type Hello struct {
	Version  int    `json:"version"`
	Agent    string `json:"agent"` // program and version, "pf9-hostagent/0.1.0"
	Hostname string `json:"hostname"`
	// Hypervisor is HypervisorKVM or HypervisorVMware.
	Hypervisor string `json:"hypervisor"`
	// Epoch grows by one with each start of the agent.
	Epoch uint64 `json:"epoch"`
	// Time is the host's clock, from which the DU tells the drift.
	Time    time.Time         `json:"time"`
	Sources []SourceStatus    `json:"sources"`
	Digests map[string]Digest `json:"digests"` // by kind, of every kind with a complete list
	Usage   *inventory.Usage  `json:"usage,omitempty"`
}

// Validate checks what the DU relies on.
func (h *Hello) Validate() error {
	if h.Version < 1 {
		return errors.New("hello without a version")
	}
	if h.Version > Version {
		return fmt.Errorf("the agent speaks version %d, this deployment unit at most %d: upgrade the deployment unit", h.Version, Version)
	}
	if len(h.Hostname) > 255 || len(h.Agent) > 255 || len(h.Sources) > 256 {
		return errors.New("hello with an oversized field")
	}
	return nil
}

// Welcome answers a Hello.
type Welcome struct {
	Version int `json:"version"`
	// Need names the kinds whose digests differ from the catalogue's, to be
	// sent whole. Kinds that the catalogue holds and the hello does not name
	// stay, marked stale.
	Need []string `json:"need"`
	// UsageSeconds is how often to send usage; 0: never.
	UsageSeconds int       `json:"usage_seconds"`
	Time         time.Time `json:"time"` // the DU's clock
	// Encodings are the content encodings that messages may have: "gzip".
	Encodings []string `json:"encodings,omitempty"`
}

// Report carries changes, or a part of a whole kind.
type Report struct {
	Epoch uint64 `json:"epoch"`
	// Seq grows by one with each report of an epoch. The DU ignores a report
	// whose (epoch, seq) it has applied already.
	Seq     uint64       `json:"seq"`
	Upserts []Resource   `json:"upserts,omitempty"`
	Deletes []plugin.Key `json:"deletes,omitempty"`
	// Full, if set, makes Upserts a part of the complete list of this kind.
	// What an earlier part began is replaced when Begin is set and put in
	// force when End is; resources that no part named are then deleted.
	Full  string `json:"full,omitempty"`
	Begin bool   `json:"begin,omitempty"`
	End   bool   `json:"end,omitempty"`
	// Digests are the sender's after this report, for the kinds that it
	// touches, unless more parts follow.
	Digests map[string]Digest `json:"digests,omitempty"`
	Sources []SourceStatus    `json:"sources,omitempty"` // nil: unchanged
	Usage   *inventory.Usage  `json:"usage,omitempty"`   // nil: not sampled
}

// Ack answers a Report.
type Ack struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
	// Need names kinds whose digests differ after the report.
	Need []string `json:"need,omitempty"`
}

// Event is one entry of a host's history.
type Event struct {
	// Epoch and Seq identify the event on its host; Seq grows by one per event.
	Epoch uint64    `json:"epoch"`
	Seq   uint64    `json:"seq"`
	Time  time.Time `json:"time"`
	// Type is "created", "changed", "deleted", "state", "source", "gap", "agent".
	Type   string     `json:"type"`
	About  plugin.Key `json:"about,omitzero"`
	Name   string     `json:"name,omitempty"`
	Detail string     `json:"detail,omitempty"` // for people: "running -> shut_off (crashed)"
	// Lost is, in a gap, how many events were dropped here.
	Lost uint64 `json:"lost,omitempty"`
}

// Events carries history, oldest first, at most 1,000 at a time.
type Events struct {
	Events []Event `json:"events"`
}

// EventsAck says up to which event, by epoch and seq, the DU has stored.
type EventsAck struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// EnrollRequest trades a join token for a host certificate. It is the one
// message that comes outside of the tunnel: POST /api/v1/enroll.
type EnrollRequest struct {
	Token    string `json:"token"`
	CSR      string `json:"csr"`     // PEM, only its public key is used
	HostID   HostID `json:"host_id"` // the host's proposal
	Hostname string `json:"hostname"`
	Kind     string `json:"kind"` // "host" or "gateway"
}

// Certificate is the answer to EnrollRequest and RenewRequest.
type Certificate struct {
	HostID      HostID    `json:"host_id"`
	Certificate string    `json:"certificate"` // PEM, leaf first
	CA          string    `json:"ca"`          // PEM, every authority to trust
	NotAfter    time.Time `json:"not_after"`
	RenewAt     time.Time `json:"renew_at"`
}

// RenewRequest asks for a new certificate for the peer of the tunnel.
type RenewRequest struct {
	CSR string `json:"csr"`
}
