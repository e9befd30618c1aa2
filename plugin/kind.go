package plugin

import (
	"encoding/json"
	"fmt"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// The bounds of declarations.
const (
	MaxKinds     = 256 // declared on one host, by all its plugins; one may have protocol.MaxHelloKinds
	MaxKindBytes = protocol.MaxKindBytes
	MaxColumns   = protocol.MaxColumns
)

// Kind declares a kind of resource to those who show and check it. A kind that
// nobody declares is shown too, but with no more than what it carries itself.
type Kind struct {
	// Name is the kind of [Key].
	Name string `json:"name"`
	// Version is the schema's number, from 1; 0 means 1. A newer one only adds
	// members to the spec: whoever reads an old one reads a new one. Anything
	// else is a new kind.
	Version int `json:"version"`
	// Spec is any value of the kind's struct, from which the schema is made
	// where there is no Schema; nil: there is none.
	Spec any `json:"-"`
	// Schema is a JSON Schema of the spec, draft 2020-12 unless it says
	// otherwise; it may refer to itself only. None: any spec will do.
	Schema json.RawMessage `json:"schema,omitempty"`
	// Columns are what a table shows beside host, id and name. None: the agent
	// shows the first few plain members of the spec, and the plugin itself, by
	// hand, whole specs in a column SPEC.
	Columns []Column `json:"columns,omitempty"`
}

// Column is one column of a kind's table: Name is the heading, Path leads from
// the spec to the value, as in "size_bytes" or "paths.0.state", and Wide leaves
// the column to wide tables. The member "state" is shown without one.
type Column = protocol.Column

// Validate checks the declaration's form and bounds, not what the schema means.
func (k *Kind) Validate() error {
	if len(k.Schema) > 0 && !json.Valid(k.Schema) {
		return fmt.Errorf("kind %s: the schema is not JSON", k.Name)
	}
	return (&protocol.Kind{Name: k.Name, Version: k.Version, Schema: k.Schema, Columns: k.Columns}).Validate()
}
