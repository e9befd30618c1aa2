// Package protocol is the language between a discovery plugin and the program
// that hosts it: the messages, one JSON object a line, and the host's end of a
// conversation, [Session].
//
// A plugin finds a connected Unix socket on file descriptor 0. It says hello,
// gets a welcome, sends a snapshot of everything it lists and then what changes.
// docs/plugin-protocol.md is the normative text for authors in any language;
// docs/plugin-protocol.schema.json is generated from the types here.
//
// The package is for the SDK (package plugin), for the agent's plugin host and
// for the conformance kit, so that all three mean the same. It starts no
// programs and knows no inventory. Who writes a plugin in Go does not need it.
package protocol

import (
	"encoding/json"
	"time"
)

// Version is the newest protocol number that this package speaks; it changes
// only when an older end could not go on.
//
//	1: hello to stop, as below.
const Version = 1

// Oldest is the oldest protocol number that this package speaks.
const Oldest = 1

const (
	// MaxLine bounds one line in bytes, its newline included, in both directions.
	MaxLine = 4 << 20
	// Window is how many deltas a plugin may have sent beyond the last one
	// acknowledged, where the welcome does not say.
	Window = 8
)

// Frame is one line. Exactly one field is set; a line with none of them, a
// message of a later time, is ignored.
type Frame struct {
	// From the plugin.
	Hello  *Hello  `json:"hello,omitempty"`
	Delta  *Delta  `json:"delta,omitempty"`
	Status *Status `json:"status,omitempty"`
	Event  *Event  `json:"event,omitempty"`
	Pong   *Ping   `json:"pong,omitempty"`
	// From the host.
	Welcome *Welcome `json:"welcome,omitempty"`
	Ack     *Ack     `json:"ack,omitempty"`
	Resync  *Resync  `json:"resync,omitempty"`
	Refresh *Refresh `json:"refresh,omitempty"`
	Ping    *Ping    `json:"ping,omitempty"`
	Stop    *Stop    `json:"stop,omitempty"`
}

// Hello is the first line of a plugin: who it is and what it can.
type Hello struct {
	// Protocols are the protocol numbers that the plugin speaks.
	Protocols []int `json:"protocols" min:"1" max:"16"`
	// Name is the plugin's, in lower case, digits, "-" and ".".
	Name    string `json:"name" min:"1" max:"64"`
	Version string `json:"version" min:"1" max:"64"`
	// SDK names the library and its version, for people; it may be empty.
	SDK string `json:"sdk,omitempty" max:"255"`
	// Kinds are all kinds that the plugin may send.
	Kinds []Kind `json:"kinds" min:"1" max:"64"`
	// ConfigSchema is a JSON Schema of the configuration; absent: the plugin
	// takes none.
	ConfigSchema json.RawMessage `json:"config_schema,omitempty" type:"object"`
}

// Kind declares one kind of resource.
type Kind struct {
	// Name is dotted: "compute.vm", or a reversed domain, "com.acme.lun".
	Name string `json:"name" min:"3" max:"64"`
	// Version is the number of the kind's schema, from 1; 0 means 1. A newer one
	// only adds members to the specs.
	Version int `json:"version,omitempty" min:"0"`
	// Schema is a JSON Schema of the specs; it may be absent.
	Schema json.RawMessage `json:"schema,omitempty" type:"object"`
	// Columns are what a table shows beside host, id and name; none: the first
	// few plain members of the spec.
	Columns []Column `json:"columns,omitempty" max:"32"`
}

// Column is one column of a kind's table.
type Column struct {
	// Name is the heading.
	Name string `json:"name" min:"1" max:"32"`
	// Path leads from the spec to the value: names of members, and indexes of
	// lists, with dots between, such as "wwn" or "paths.0.state". A number under
	// a name that ends in "_bytes" is shown as a size.
	Path string `json:"path" min:"1" max:"128"`
	// Wide leaves the column to wide tables.
	Wide bool `json:"wide,omitempty"`
}

// Welcome answers a Hello.
type Welcome struct {
	// Protocol is the number to speak from now on, one of the plugin's.
	Protocol int `json:"protocol"`
	// Window is how many deltas may be unacknowledged; 0 means 8.
	Window int `json:"window,omitempty"`
	// IntervalMS is how often to list while nothing is hinted, in
	// milliseconds; 0 leaves it to the plugin.
	IntervalMS int64 `json:"interval_ms,omitempty"`
	// Config is an object after the plugin's schema; absent: all defaults.
	Config json.RawMessage `json:"config,omitempty" type:"object"`
	// Agent is the host's program and version, for people.
	Agent string `json:"agent,omitempty"`
}

// Key identifies a resource.
type Key struct {
	Kind string `json:"kind" min:"3" max:"64"`
	ID   string `json:"id" min:"1" max:"255"`
}

// Resource is one discovered thing.
type Resource struct {
	Key
	Name   string `json:"name,omitempty" max:"255"`
	Parent Key    `json:"parent,omitzero"`
	// Spec is an object, of the same bytes while the thing does not change.
	Spec json.RawMessage `json:"spec" type:"object"`
	// Ext is an object whose keys have the form "domain/attribute".
	Ext json.RawMessage `json:"ext,omitempty" type:"object"`
}

// Delta carries changes. The deltas from one with Begin to one with End, which
// may be the same, are together a snapshot: a complete list that replaces
// everything before it.
type Delta struct {
	// Seq starts at 1 and grows by one with each delta of a connection.
	Seq     uint64     `json:"seq" min:"1"`
	Upserts []Resource `json:"upserts,omitempty" max:"10000"`
	Deletes []Key      `json:"deletes,omitempty" max:"10000"`
	Begin   bool       `json:"begin,omitempty"`
	End     bool       `json:"end,omitempty"`
	// Count, with End, is how many resources the snapshot has.
	Count int `json:"count,omitempty"`
}

// Ack says that the host has taken in all deltas up to Seq.
type Ack struct {
	Seq uint64 `json:"seq"`
}

// Resync asks for a snapshot.
type Resync struct {
	Reason string `json:"reason,omitempty"`
}

// Refresh asks to look at some resources now, or at everything if it names
// none, and to send what has changed.
type Refresh struct {
	Keys []Key `json:"keys,omitempty" max:"10000"`
}

// The levels of a status.
const (
	OK       = "ok"
	Degraded = "degraded" // the last complete list stays in force
	Failed   = "failed"   // the plugin cannot go on and leaves
)

// Status is the plugin's health, sent when it changes.
type Status struct {
	Level string `json:"level" enum:"ok,degraded,failed"`
	// Code is a word for programs: "list", "watch", "config", "panic".
	Code string `json:"code,omitempty" max:"64"`
	// Text is for people.
	Text string `json:"text,omitempty" max:"4096"`
}

// Event is an entry of history. It is sent once and not acknowledged.
type Event struct {
	About Key    `json:"about"`
	Type  string `json:"type" min:"1" max:"64"` // "crashed"
	// At is when it happened; zero: when it arrives.
	At   time.Time       `json:"at,omitzero"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Ping asks for a pong with the same nonce; Pong is that.
type Ping struct {
	Nonce uint64 `json:"nonce"`
}

// Stop asks the plugin to leave.
type Stop struct {
	// GraceMS is how long it may take, in milliseconds, before the host closes
	// the connection.
	GraceMS int64 `json:"grace_ms,omitempty"`
	// Reason is for the plugin's log.
	Reason string `json:"reason,omitempty"`
}
