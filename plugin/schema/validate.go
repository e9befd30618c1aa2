package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Validate holds one JSON document to s. Its error names the place in the
// document, what is wrong there and what would be right. The document is named
// what.
func (s *Schema) Validate(what string, document []byte) error {
	var v any
	if err := json.Unmarshal(document, &v); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.check(what, v)
}

func (s *Schema) check(at string, v any) error {
	if s == nil {
		return nil
	}
	if s.Never {
		return fmt.Errorf("%s: not allowed", at)
	}
	if len(s.Type) > 0 && !slices.ContainsFunc(s.Type, func(t string) bool { return is(t, v) }) {
		return fmt.Errorf("%s: want %s, not %s", at, strings.Join(s.Type, " or "), typeOf(v))
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(e any) bool { return equal(e, v) }) {
		return fmt.Errorf("%s: %s is not one of %s", at, shown(v), shownAll(s.Enum))
	}
	switch v := v.(type) {
	case float64:
		return within(at, "", v, s.Minimum, s.Maximum)
	case string:
		return within(at, " characters", utf8.RuneCountInString(v), s.MinLength, s.MaxLength)
	case []any:
		if err := within(at, " elements", len(v), s.MinItems, s.MaxItems); err != nil {
			return err
		}
		for i, e := range v {
			if err := s.Items.check(fmt.Sprintf("%s[%d]", at, i), e); err != nil {
				return err
			}
		}
	case map[string]any:
		return s.object(at, v)
	}
	return nil
}

func (s *Schema) object(at string, v map[string]any) error {
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			return fmt.Errorf("%s: %q is missing", at, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		p := s.Property(name)
		if p != nil && p.Never {
			return fmt.Errorf("%s: unknown key %q; known are: %s", at, name,
				strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", "))
		}
		if err := p.check(at+"."+name, v[name]); err != nil {
			return err
		}
	}
	return nil
}

// Property returns the schema of the property of a name, known or not; nil
// allows everything.
func (s *Schema) Property(name string) *Schema {
	if p, known := s.Properties[name]; known {
		return p
	}
	return s.Additional
}

// within holds a number, or how many of what there are, to bounds.
func within[N int | float64](at, of string, n N, least, most *N) error {
	switch {
	case least != nil && n < *least:
		return fmt.Errorf("%s: %s%s is too little: want at least %s", at, shown(n), of, shown(*least))
	case most != nil && n > *most:
		return fmt.Errorf("%s: %s%s is too much: want at most %s", at, shown(n), of, shown(*most))
	}
	return nil
}

// shown is a value as it stands in JSON, if that is short.
func shown(v any) string {
	b, err := json.Marshal(v)
	if err != nil || len(b) > 80 {
		return "it"
	}
	return string(b)
}

func shownAll(vs []any) string {
	all := make([]string, 0, len(vs))
	for _, v := range vs {
		all = append(all, shown(v))
	}
	return strings.Join(all, ", ")
}

func is(t string, v any) bool {
	if t == "integer" {
		f, ok := v.(float64)
		return ok && f == math.Trunc(f)
	}
	return t == typeOf(v)
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

// equal compares scalars, of which enums are made.
func equal(a, b any) bool {
	switch a.(type) {
	case nil, bool, float64, string:
		return a == b
	}
	return false
}
