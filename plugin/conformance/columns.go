package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/protocol"
	"github.com/openpf9/openpf9/plugin/schema"
)

// known says whether a schema has a place for what a path leads to.
type known int

const (
	perhaps known = iota // there is no schema, or it leaves that open
	yes
	no
)

// schemas returns the schema of each kind that has one, the published one for
// the core's.
func schemas(kinds []protocol.Kind) (map[string]*schema.Schema, error) {
	all := make(map[string]*schema.Schema)
	for _, kind := range kinds {
		switch zero := inventory.Spec(kind.Name); {
		case zero != nil:
			all[kind.Name] = schema.Of(zero)
		case len(kind.Schema) > 0:
			s, err := schema.Parse(kind.Schema)
			if err != nil {
				return nil, fmt.Errorf("the schema of %s: %w", kind.Name, err)
			}
			all[kind.Name] = s
		}
	}
	return all, nil
}

// columns holds the columns that kinds declare to the schemas and to what is
// listed: a path that neither knows is a mistake, one that only one of them
// knows may be.
func (k *kit) columns(c *child, schemas map[string]*schema.Schema) {
	declared, doubts := 0, []string{}
	for i := range c.hello.Kinds {
		kind := &c.hello.Kinds[i]
		specs := c.specs(kind)
		for _, col := range kind.Columns {
			declared++
			wrong, doubt := judge(col, place(kind, schemas[kind.Name], col.Path), specs)
			if wrong != "" {
				k.fail(RuleColumns, fmt.Sprintf("%s, column %s: %s", kind.Name, col.Name, wrong))
			} else if doubt != "" {
				doubts = append(doubts, fmt.Sprintf("%s, column %s: %s", kind.Name, col.Name, doubt))
			}
		}
	}
	switch {
	case declared == 0:
		k.skip(RuleColumns, "no kind declares columns")
	case len(doubts) > 0:
		k.warn(RuleColumns, strings.Join(doubts, "; "))
	default:
		k.ok(RuleColumns, fmt.Sprintf("%d columns", declared))
	}
}

// specs are those of a kind that are in force, of a kind with columns.
func (c *child) specs(kind *protocol.Kind) []any {
	if len(kind.Columns) == 0 {
		return nil
	}
	var specs []any
	for key, r := range c.state {
		var spec any
		if key.Kind == kind.Name && json.Unmarshal(r.Spec, &spec) == nil {
			specs = append(specs, spec)
		}
	}
	return specs
}

// judge says what is wrong with a column, or doubtful.
func judge(col protocol.Column, place known, specs []any) (wrong, doubt string) {
	has := slices.ContainsFunc(specs, func(spec any) bool { _, ok := col.In(spec); return ok })
	switch {
	case has && place == no:
		return "", fmt.Sprintf("specs have %q, the schema does not describe it", col.Path)
	case has:
		return "", ""
	case place == no && len(specs) == 0:
		return fmt.Sprintf("the schema has no %q", col.Path), ""
	case place == no:
		return fmt.Sprintf("neither the schema nor any of %d specs has %q; there are %s", len(specs), col.Path, members(specs)), ""
	case len(specs) > 0:
		return "", fmt.Sprintf("none of %d specs has %q; there are %s", len(specs), col.Path, members(specs))
	}
	return "", ""
}

// members names what specs have at the top.
func members(specs []any) string {
	seen := make(map[string]bool)
	for _, spec := range specs {
		object, _ := spec.(map[string]any)
		for name := range object {
			seen[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(seen))
	if len(names) == 0 {
		return "no members"
	}
	if most := 12; len(names) > most {
		names = append(names[:most], "...")
	}
	return strings.Join(names, ", ")
}

// place looks for a column's path in a schema.
func place(kind *protocol.Kind, s *schema.Schema, path string) known {
	for step := range strings.SplitSeq(path, ".") {
		switch {
		case s == nil, len(s.Properties) == 0 && s.Additional == nil && s.Items == nil && !scalar(s):
			return perhaps
		case s.Properties[step] != nil:
			s = s.Properties[step]
		case s.Additional != nil && !s.Additional.Never:
			s = s.Additional
		case s.Items != nil && isIndex(step):
			s = s.Items
		case foreign(kind.Schema):
			return perhaps
		default:
			return no
		}
	}
	return yes
}

func isIndex(step string) bool {
	n, err := strconv.Atoi(step)
	return err == nil && n >= 0
}

// scalar says whether a schema allows neither objects nor lists.
func scalar(s *schema.Schema) bool {
	return len(s.Type) > 0 && !slices.Contains(s.Type, "object") && !slices.Contains(s.Type, "array")
}

// foreign says whether a schema may describe members in ways that package
// schema does not read.
func foreign(text []byte) bool {
	for _, keyword := range []string{"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas", "prefixItems"} {
		if bytes.Contains(text, []byte(`"`+keyword+`"`)) {
			return true
		}
	}
	return false
}
