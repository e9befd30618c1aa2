package kindschema

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxWork is how much a check may cost, in visits of a schema at a value,
// about 100 ns each.
const maxWork = 1 << 20

// maxNested bounds schemas that apply each other at the same value.
const maxNested = 512

// A meter walks a spec along a schema as a validation does, but never stops
// early, and counts: what it allows is an upper bound of the real work, and of
// the errors that can come of it. Without it a few lines of allOf in each
// other would take for ever.
type meter struct{ left int }

// visit counts the work of a schema at a value and of all below.
func (m *meter) visit(s *jsonschema.Schema, v any, nested int) {
	if s == nil || m.left < 0 {
		return
	}
	if m.left--; nested > maxNested {
		m.left = -1
		return
	}
	m.left -= alone(s, v)
	for _, in := range [...]*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else} {
		m.visit(in, v, nested+1)
	}
	for _, list := range [...][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		for _, in := range list {
			m.visit(in, v, nested+1)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		m.object(s, v, nested)
	case []any:
		m.array(s, v)
	}
}

// alone is the work of a schema's own words at a value.
func alone(s *jsonschema.Schema, v any) int {
	n := 0
	if s.Enum != nil {
		n += count(s.Enum.Values)
	}
	if s.Const != nil {
		n += count(*s.Const)
	}
	switch v := v.(type) {
	case string:
		n += len(v) / 16
		if p, ok := s.Pattern.(*pattern); ok {
			n += p.work(v)
		}
		if s.Format != nil && s.Format.Name == "regex" {
			n += maxProgram
		}
	case map[string]any:
		n += len(v) + len(s.Required) + len(s.DependentRequired) + len(s.DependentSchemas) + len(s.Dependencies)
		for p := range s.PatternProperties {
			for name := range v {
				n += p.(*pattern).work(name)
			}
		}
	case []any:
		n += len(v)
		if s.UniqueItems { // what is not plain may be compared pair by pair
			n += count(v) + len(v)*len(v)/16
		}
	}
	return n
}

func (m *meter) object(s *jsonschema.Schema, v map[string]any, nested int) {
	for name, value := range v {
		m.visit(s.PropertyNames, name, 0)
		m.visit(s.Properties[name], value, 0)
		for _, in := range s.PatternProperties {
			m.visit(in, value, 0)
		}
		if in, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
			m.visit(in, value, 0)
		}
		m.visit(s.UnevaluatedProperties, value, 0)
		if m.left < 0 {
			return
		}
	}
	for _, in := range s.DependentSchemas {
		m.visit(in, v, nested+1)
	}
	for _, in := range s.Dependencies {
		if in, ok := in.(*jsonschema.Schema); ok {
			m.visit(in, v, nested+1)
		}
	}
}

func (m *meter) array(s *jsonschema.Schema, v []any) {
	for i, value := range v {
		for _, in := range [...]*jsonschema.Schema{s.Contains, s.Items2020, s.UnevaluatedItems} {
			m.visit(in, value, 0)
		}
		if i < len(s.PrefixItems) {
			m.visit(s.PrefixItems[i], value, 0)
		}
		for _, in := range [...]any{s.Items, s.AdditionalItems} {
			switch in := in.(type) {
			case *jsonschema.Schema:
				m.visit(in, value, 0)
			case []*jsonschema.Schema:
				if i < len(in) {
					m.visit(in[i], value, 0)
				}
			}
		}
		if m.left < 0 {
			return
		}
	}
}

// supported refuses what the meter cannot follow.
func supported(top *jsonschema.Schema) error {
	seen := map[*jsonschema.Schema]bool{}
	todo := []*jsonschema.Schema{top}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if s == nil || seen[s] {
			continue
		}
		seen[s] = true
		if s.DynamicRef != nil || s.RecursiveRef != nil {
			return errors.New("it uses $dynamicRef or $recursiveRef, or refers to a draft that does, which is not supported")
		}
		todo = append(todo, parts(s)...)
	}
	return nil
}

// parts are the schemas that a schema is made of.
func parts(s *jsonschema.Schema) []*jsonschema.Schema {
	out := []*jsonschema.Schema{
		s.Ref, s.Not, s.If, s.Then, s.Else, s.PropertyNames, s.UnevaluatedProperties,
		s.Contains, s.Items2020, s.UnevaluatedItems,
	}
	for _, list := range [...][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf, s.PrefixItems} {
		out = append(out, list...)
	}
	for _, in := range s.Properties {
		out = append(out, in)
	}
	for _, in := range s.PatternProperties {
		out = append(out, in)
	}
	for _, in := range s.DependentSchemas {
		out = append(out, in)
	}
	loose := []any{s.AdditionalProperties, s.Items, s.AdditionalItems}
	for _, in := range s.Dependencies {
		loose = append(loose, in)
	}
	for _, in := range loose {
		switch in := in.(type) {
		case *jsonschema.Schema:
			out = append(out, in)
		case []*jsonschema.Schema:
			out = append(out, in...)
		}
	}
	return out
}

// The bounds of a pattern, and of all patterns of a schema together.
const (
	maxPattern  = 1024    // bytes
	maxProgram  = 4096    // steps of one
	maxPrograms = 1 << 17 // steps of all
)

// A pattern is a regular expression and about how many steps it has.
type pattern struct {
	*regexp.Regexp
	steps int
}

// work is what matching costs.
func (p *pattern) work(s string) int { return 1 + len(s)*(p.steps+8)/16 }

// patterns makes the patterns of one schema.
type patterns struct{ steps int }

func (ps *patterns) compile(text string) (jsonschema.Regexp, error) {
	if len(text) > maxPattern || !utf8.ValidString(text) {
		return nil, fmt.Errorf("a pattern of more than %d bytes", maxPattern)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%w (patterns are those of Go's package regexp)", err)
	}
	steps := steps(tree)
	if steps > maxProgram {
		return nil, fmt.Errorf("pattern %.40q repeats too much", text)
	}
	if ps.steps += steps; ps.steps > maxPrograms {
		return nil, errors.New("the patterns repeat too much together")
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return &pattern{Regexp: re, steps: steps}, nil
}

// steps estimates how long the program of a pattern gets, before repetitions
// are written out.
func steps(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n = min(n+steps(sub), 1<<20)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Max, re.Min+1, 1)
	}
	return min(n, 1<<20)
}
