package plugin

import (
	"encoding/json"
	"fmt"
	"regexp"
)

// The bounds of a declaration.
const (
	MaxKindBytes = 64 << 10 // a kind as JSON
	MaxKinds     = 256      // kinds on one host
	MaxColumns   = 32
)

// Kind declares a kind of resource to those who show and check it. A kind that
// nobody declares is shown too, but with no more than what it carries itself.
type Kind struct {
	// Name is the kind of [Key].
	Name string `json:"name"`
	// Version is the schema's number, from 1. A newer one only adds members to
	// the spec: whoever reads an old one reads a new one. Anything else is a
	// new kind.
	Version int `json:"version"`
	// Schema is a JSON Schema of the spec, draft 2020-12 unless it says
	// otherwise; it may refer to itself only. None: any spec will do.
	Schema json.RawMessage `json:"schema,omitempty"`
	// Columns are what a table shows beside host, id and name. None: the first
	// few plain members of the spec.
	Columns []Column `json:"columns,omitempty"`
}

// Column is one column of a kind's table.
type Column struct {
	// Name is the heading.
	Name string `json:"name"`
	// Path leads from the spec to the value: names of members, and indexes of
	// lists, with dots between, such as "wwn" or "paths.0.state". A number under
	// a name that ends in "_bytes" is shown as a size.
	Path string `json:"path"`
	// Wide leaves the column to wide tables.
	Wide bool `json:"wide,omitempty"`
}

var (
	kindName   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)+$`)
	columnName = regexp.MustCompile(`^[\pL\pN][\pL\pN %/()_.-]{0,31}$`)
	columnPath = regexp.MustCompile(`^[^.\pC]+(\.[^.\pC]+)*$`)
)

// Validate checks the declaration's form and bounds, not what the schema means.
func (k *Kind) Validate() error {
	switch {
	case len(k.Name) > 64 || !kindName.MatchString(k.Name):
		return fmt.Errorf("kind %.80q: want words of a-z, 0-9, - and _ with dots between, at most 64 bytes", k.Name)
	case k.Version < 1:
		return fmt.Errorf("kind %s: version %d: want 1 or more", k.Name, k.Version)
	case len(k.Columns) > MaxColumns:
		return fmt.Errorf("kind %s: more than %d columns", k.Name, MaxColumns)
	}
	size := len(k.Schema)
	for _, c := range k.Columns {
		if err := c.validate(); err != nil {
			return fmt.Errorf("kind %s: %w", k.Name, err)
		}
		size += len(c.Name) + len(c.Path)
	}
	if size > MaxKindBytes {
		return fmt.Errorf("kind %s: more than %d KiB", k.Name, MaxKindBytes>>10)
	}
	if len(k.Schema) > 0 && !json.Valid(k.Schema) {
		return fmt.Errorf("kind %s: the schema is not JSON", k.Name)
	}
	return nil
}

func (c *Column) validate() error {
	if !columnName.MatchString(c.Name) {
		return fmt.Errorf("column name %.40q: want 1 to 32 letters, digits, spaces and %%/()_.-", c.Name)
	}
	if len(c.Path) > 128 || !columnPath.MatchString(c.Path) {
		return fmt.Errorf("column %s: path %.80q: want names with dots between, at most 128 bytes", c.Name, c.Path)
	}
	return nil
}
