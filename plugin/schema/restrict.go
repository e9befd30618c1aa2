package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// restrict applies the tags of a field that bound its values.
func (s *Schema) restrict(f reflect.StructField) {
	if word := f.Tag.Get("type"); word != "" {
		s.Type = Types{word}
	}
	if words := f.Tag.Get("enum"); words != "" {
		of := s
		if s.Items != nil {
			of = s.Items
		}
		for word := range strings.SplitSeq(words, ",") {
			of.Enum = append(of.Enum, of.value(f, "enum", word))
		}
	}
	s.bound(f, "min", &s.MinItems, &s.MinLength, &s.Minimum)
	s.bound(f, "max", &s.MaxItems, &s.MaxLength, &s.Maximum)
}

// bound puts the number of a tag where it belongs to.
func (s *Schema) bound(f reflect.StructField, tag string, items, length **int, value **float64) {
	text := f.Tag.Get(tag)
	if text == "" {
		return
	}
	n := number(f, tag, text)
	switch {
	case slices.Contains(s.Type, "array"):
		*items = new(int(n))
	case slices.Contains(s.Type, "string"):
		*length = new(int(n))
	default:
		*value = &n
	}
}

// value is what a word of a tag means in JSON.
func (s *Schema) value(f reflect.StructField, tag, word string) any {
	if slices.Contains(s.Type, "integer") || slices.Contains(s.Type, "number") {
		return number(f, tag, word)
	}
	return word
}

func number(f reflect.StructField, tag, text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(fmt.Sprintf("the tag %s of the field %s: %q is no number", tag, f.Name, text))
	}
	return n
}

// withoutNulls puts what is empty where package json wrote null and s does not
// take it: what is nil in Go has no elements.
func (s *Schema) withoutNulls(document json.RawMessage) json.RawMessage {
	if !bytes.Contains(document, []byte("null")) {
		return document
	}
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return document
	}
	b, err := json.Marshal(s.filled(v))
	if err != nil {
		return document
	}
	return b
}

func (s *Schema) filled(v any) any {
	if s == nil {
		return v
	}
	switch v := v.(type) {
	case nil:
		if len(s.Type) == 1 {
			return map[string]any{"array": []any{}, "object": map[string]any{}, "string": ""}[s.Type[0]]
		}
	case []any:
		for i := range v {
			v[i] = s.Items.filled(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = s.Property(name).filled(v[name])
		}
	}
	return v
}
