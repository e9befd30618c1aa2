package schema

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Of describes what package encoding/json makes of a value of v's type. Unknown
// properties are allowed: readers ignore what they do not know. A field without
// omitempty or omitzero is required. A type within itself is described once:
// inside of that, anything goes.
//
// The tags of a field may say more: help:"what it is", enum:"a,b,c" of the value
// or of each element of a list, min:"1" and max:"9" of a number, a text's length
// in characters or a list's, and type:"object" of a json.RawMessage. It panics if
// a tag makes no sense.
func Of(v any) *Schema {
	g := generator{}
	return g.of(reflect.TypeOf(v), reflect.Value{})
}

// OfConfig describes the configurations that may be decoded into v, with v's
// fields as defaults. Nothing is required, and unknown properties are errors. A
// list or map without a default is empty, and cannot be null: only a pointer can.
func OfConfig(v any) *Schema {
	g := generator{config: true}
	return g.of(reflect.TypeOf(v), reflect.ValueOf(v))
}

type generator struct {
	config bool
	above  []reflect.Type // structs under way
}

var (
	timeType      = reflect.TypeFor[time.Time]()
	rawType       = reflect.TypeFor[json.RawMessage]()
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// of describes t. In a configuration, v is the default, if it is valid.
func (g *generator) of(t reflect.Type, v reflect.Value) *Schema {
	switch {
	case t == nil || t == rawType:
		return &Schema{}
	case t == timeType:
		return &Schema{Type: Types{"string"}, Format: "date-time"}
	case t.Implements(marshaler):
		return &Schema{}
	case t.Implements(textMarshaler):
		return &Schema{Type: Types{"string"}}
	}
	switch t.Kind() {
	case reflect.Bool:
		return &Schema{Type: Types{"boolean"}}
	case reflect.Int, reflect.Int64:
		return &Schema{Type: Types{"integer"}}
	case reflect.Int8, reflect.Int16, reflect.Int32:
		half := float64(int64(1) << (t.Bits() - 1))
		return &Schema{Type: Types{"integer"}, Minimum: new(-half), Maximum: new(half - 1)}
	case reflect.Uint, reflect.Uint64:
		return &Schema{Type: Types{"integer"}, Minimum: new(float64)}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return &Schema{Type: Types{"integer"}, Minimum: new(float64), Maximum: new(float64(int64(1)<<t.Bits() - 1))}
	case reflect.Float32, reflect.Float64:
		return &Schema{Type: Types{"number"}}
	case reflect.String:
		return &Schema{Type: Types{"string"}}
	case reflect.Pointer:
		if v.IsValid() {
			v = v.Elem() // of nil: not valid
		}
		return g.of(t.Elem(), v)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return &Schema{Type: Types{"string"}, Format: "base64"}
		}
		return &Schema{Type: Types{"array"}, Items: g.of(t.Elem(), reflect.Value{})}
	case reflect.Map:
		return &Schema{Type: Types{"object"}, Additional: g.of(t.Elem(), reflect.Value{})}
	case reflect.Struct:
		return g.ofStruct(t, v)
	}
	return &Schema{} // an interface: anything
}

func (g *generator) ofStruct(t reflect.Type, v reflect.Value) *Schema {
	if slices.Contains(g.above, t) {
		return &Schema{}
	}
	g.above = append(g.above, t)
	defer func() { g.above = g.above[:len(g.above)-1] }()
	s := &Schema{Type: Types{"object"}, Properties: make(map[string]*Schema)}
	if g.config {
		s.Additional = &Schema{Never: true}
	}
	g.fields(s, t, v)
	return s
}

// fields adds t's fields to s, and those of embedded structs as json does.
func (g *generator) fields(s *Schema, t reflect.Type, v reflect.Value) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		var value reflect.Value
		if v.IsValid() {
			value = v.Field(i)
		}
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			g.fields(s, f.Type, value)
			continue
		}
		if !f.IsExported() || name == "-" && options == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		s.Properties[name] = g.field(f, options, value)
		if !g.config && !strings.Contains(options, "omit") {
			s.Required = append(s.Required, name)
		}
	}
}

func (g *generator) field(f reflect.StructField, options string, v reflect.Value) *Schema {
	s := g.of(f.Type, v)
	if strings.Contains(options, "string") {
		s = &Schema{Type: Types{"string"}}
	}
	s.Description = f.Tag.Get("help")
	s.restrict(f)
	if g.nullable(s, f.Type, options) {
		s.Type = append(s.Type, "null")
		if len(s.Enum) > 0 {
			s.Enum = append(s.Enum, nil)
		}
	}
	if g.config && v.IsValid() && !(f.Type.Kind() == reflect.Struct && len(s.Properties) > 0) {
		if b, err := json.Marshal(v.Interface()); err == nil {
			s.Default = s.withoutNulls(b)
		}
	}
	return s
}

// nullable says whether null stands for a nil value of t in this field. Of a
// list that must not be empty, or of a message with a type, it does not.
func (g *generator) nullable(s *Schema, t reflect.Type, options string) bool {
	switch {
	case len(s.Type) == 0 || t == rawType || s.MinItems != nil && *s.MinItems > 0 || !g.config && strings.Contains(options, "omit"):
		return false
	case g.config:
		return t.Kind() == reflect.Pointer
	}
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map
}
