// Package api holds the documents of the deployment unit's HTTP API, as its
// servers write them and its clients read them.
//
// Readers ignore fields that they do not know; a field is never renamed or
// given another meaning. The compatible documents under /resmgr are not here:
// they are the field's, not ours.
package api

import (
	"encoding/json"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Host is a host or gateway as the deployment unit knows it.
type Host struct {
	ID wire.HostID `json:"id"`
	// Kind is "host" or "gateway".
	Kind       string `json:"kind"`
	Hostname   string `json:"hostname"`
	Agent      string `json:"agent,omitempty"`
	Hypervisor string `json:"hypervisor,omitempty"`
	// Connected says whether the host holds a tunnel, Since from when on it
	// does or does not, and Reason why it does not. All times are the
	// deployment unit's clock.
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
	// Address is where the tunnel came from last.
	Address string `json:"address,omitempty"`
	// ClockDriftSeconds is the host's clock minus ours at its last hello.
	ClockDriftSeconds float64          `json:"clock_drift_seconds"`
	Roles             []string         `json:"roles"` // empty: not authorised
	Certificate       *Certificate     `json:"certificate,omitempty"`
	Sources           []Source         `json:"sources"`
	Usage             *inventory.Usage `json:"usage,omitempty"`
	Counts            map[string]int   `json:"counts"` // resources by kind
	Warnings          []Warning        `json:"warnings,omitempty"`
}

// Certificate is the one that the host presented last.
type Certificate struct {
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// Source is the health of one of a host's discovery modules.
type Source struct {
	Name   string    `json:"name"`
	State  string    `json:"state"` // "starting", "ok", "degraded", "failed"
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"` // our clock
	Kinds  []string  `json:"kinds"`
	Listed time.Time `json:"listed,omitzero"` // the host's clock
	Count  int       `json:"count"`
}

// Warning is something that an administrator should look at.
type Warning struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// WarnTimeDrift is the code of the warning that a host's clock is off.
const WarnTimeDrift = "HOST_TIMEDRIFT_DETECTED"

// Resource is a discovered resource in the catalogue.
type Resource struct {
	Host     wire.HostID `json:"host"`
	Hostname string      `json:"hostname,omitempty"`
	plugin.Key
	Name   string     `json:"name,omitempty"`
	State  string     `json:"state,omitempty"` // the spec's state, if it has one
	Parent plugin.Key `json:"parent,omitzero"`
	Source string     `json:"source,omitempty"`
	// Revision grows with each change in the catalogue. It is comparable
	// within one run of the deployment unit.
	Revision   uint64 `json:"revision"`
	Generation uint64 `json:"generation"`
	// Stale says that the resource is what we knew last, since when and why.
	Stale       bool      `json:"stale"`
	StaleSince  time.Time `json:"stale_since,omitzero"`
	StaleReason string    `json:"stale_reason,omitempty"`
	// Invalid says why the spec does not fit the schema that the host declares
	// for the kind, or what is wrong with a declaration. It follows a change
	// within moments. The resource is kept and served all the same.
	Invalid string          `json:"invalid,omitempty"`
	Spec    json.RawMessage `json:"spec"`
	Ext     json.RawMessage `json:"ext,omitempty"`
}

// Hosts, Resources, Kinds and Events are pages of lists. Continue, if set,
// asks for the next page when given as the parameter "continue".
type (
	Hosts struct {
		Items    []Host `json:"items"`
		Continue string `json:"continue,omitempty"`
	}
	Resources struct {
		Items    []Resource `json:"items"`
		Continue string     `json:"continue,omitempty"`
		// Revision is where a watch may start that follows this page.
		Revision string `json:"revision"`
	}
	Kinds struct {
		Items []Kind `json:"items"`
	}
	Events struct {
		Items    []Event `json:"items"`
		Continue string  `json:"continue,omitempty"`
	}
)

// Kind sums up a kind of resource over all hosts. Version, Columns and Schema
// are those of the newest declaration: the highest version, of equals the one
// that more hosts make.
type Kind struct {
	Kind      string `json:"kind"`
	Resources int    `json:"resources"`
	Hosts     int    `json:"hosts"`
	// Invalid counts the resources that do not fit what their host declares.
	Invalid int `json:"invalid"`
	// Core says that the kind is ours, and needs no declaration.
	Core    bool            `json:"core"`
	Version int             `json:"version,omitempty"` // 0: nobody declares the kind
	Columns []plugin.Column `json:"columns,omitempty"`
	// SchemaBytes is the size of the schema; 0: there is none.
	SchemaBytes  int             `json:"schema_bytes,omitempty"`
	Schema       json.RawMessage `json:"schema,omitempty"`       // only when asked for
	Declarations []Declaration   `json:"declarations,omitempty"` // newest first, 64 at most
}

// Declaration is one of the ways in which hosts declare a kind. Who they are
// says the list of the kind agent.kind.
type Declaration struct {
	Version int      `json:"version"`
	Hosts   int      `json:"hosts"`
	Modules []string `json:"modules"` // of these hosts, that declare it
	// Checked says whether resources of these hosts are checked against the
	// declaration's schema.
	Checked bool `json:"checked"`
	// Problem says what of the declaration is not used, and why.
	Problem string `json:"problem,omitempty"`
}

// Event is an entry of a host's history.
type Event struct {
	Host     wire.HostID `json:"host"`
	Received time.Time   `json:"received"` // our clock; Time is the host's
	wire.Event
}

// The events of a watch. Each carries an id from which the watch may be
// resumed, except those of the first snapshot before Synced.
const (
	Added    = "added"    // data: Resource
	Modified = "modified" // data: Resource
	Deleted  = "deleted"  // data: Gone
	HostSeen = "host"     // data: Host, or Gone without a key; its resources may have become stale or fresh
	Reset    = "reset"    // data: ResetReason; drop everything, a snapshot follows
	Synced   = "synced"   // data: Resources without items; the snapshot is complete
)

// Gone names what was deleted.
type Gone struct {
	Host wire.HostID `json:"host"`
	plugin.Key
	Name    string `json:"name,omitempty"`
	Deleted bool   `json:"deleted"` // always true
}

// ResetReason says why a watch starts again.
type ResetReason struct {
	Reason string `json:"reason"`
}
