// Package schema makes JSON Schemas of Go types and holds JSON to schemas. The
// SDK tells an agent with them what a plugin's configuration and specs look
// like; the agent and the conformance kit check with them.
//
// It knows the part of JSON Schema (draft 2020-12) that the types of Go need.
// Keywords that it does not know, in a schema of somebody else, allow
// everything.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Dialect is the value of "$schema" in published documents.
const Dialect = "https://json-schema.org/draft/2020-12/schema"

// Schema is a JSON Schema. The zero Schema allows everything.
type Schema struct {
	// Never allows nothing; it is written as false.
	Never bool `json:"-"`

	Dialect     string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        Types              `json:"type,omitempty"`
	Format      string             `json:"format,omitempty"` // for people; not checked
	Enum        []any              `json:"enum,omitempty"`
	Minimum     *float64           `json:"minimum,omitempty"`
	Maximum     *float64           `json:"maximum,omitempty"`
	MinLength   *int               `json:"minLength,omitempty"` // in characters
	MaxLength   *int               `json:"maxLength,omitempty"`
	MinItems    *int               `json:"minItems,omitempty"`
	MaxItems    *int               `json:"maxItems,omitempty"`
	Default     json.RawMessage    `json:"default,omitempty"`
	Properties  map[string]*Schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	// Additional is of the properties that are not named; nil allows them.
	Additional *Schema `json:"additionalProperties,omitempty"`
	Items      *Schema `json:"items,omitempty"`
}

// Types are the JSON types that a value may have; none means any.
type Types []string

// plain is a Schema without its methods.
type plain Schema

// MarshalJSON writes a schema.
func (s Schema) MarshalJSON() ([]byte, error) {
	if s.Never {
		return []byte("false"), nil
	}
	return json.Marshal(plain(s))
}

// UnmarshalJSON reads a schema.
func (s *Schema) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "true", "null":
		*s = Schema{}
		return nil
	case "false":
		*s = Schema{Never: true}
		return nil
	}
	return json.Unmarshal(b, (*plain)(s))
}

// MarshalJSON writes a single type as a string.
func (t Types) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

// UnmarshalJSON reads one type or several.
func (t *Types) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '"' {
		*t = make(Types, 1)
		return json.Unmarshal(b, &(*t)[0])
	}
	return json.Unmarshal(b, (*[]string)(t))
}

// Parse reads a schema.
func Parse(b []byte) (*Schema, error) {
	var s Schema
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read a JSON Schema: %w", err)
	}
	return &s, nil
}

// Defaults returns the object of the defaults of s's properties, which is what
// a configuration is before anybody changes it.
func (s *Schema) Defaults() json.RawMessage {
	all := make(map[string]json.RawMessage)
	for name, p := range s.Properties {
		switch {
		case p.Default != nil:
			all[name] = p.Default
		case len(p.Properties) > 0:
			if inner := p.Defaults(); string(inner) != "{}" {
				all[name] = inner
			}
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return json.RawMessage("{}") // a default of somebody's schema is no JSON: it was not parsed here
	}
	return b
}
