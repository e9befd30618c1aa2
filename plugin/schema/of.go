package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Of describes what package encoding/json makes of a value of v's type. Unknown
// properties are allowed: readers ignore what they do not know. A field without
// omitempty or omitzero is required. It panics if the type refers to itself,
// which no message and no spec does.
//
// The tags of a field may say more: help:"what it is" and enum:"a,b,c".
func Of(v any) *Schema {
	g := generator{}
	return g.of(reflect.TypeOf(v), reflect.Value{})
}

// OfConfig describes the configurations that may be decoded into v, with v's
// fields as defaults. Nothing is required, and unknown properties are errors.
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
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &Schema{Type: Types{"integer"}}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: Types{"integer"}, Minimum: new(float64)}
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
	for _, a := range g.above {
		if a == t {
			panic(fmt.Sprintf("schema: type %v refers to itself", t))
		}
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
	for value := range strings.SplitSeq(f.Tag.Get("enum"), ",") {
		if value != "" {
			s.Enum = append(s.Enum, value)
		}
	}
	if nilable(f.Type) && len(s.Type) > 0 && (g.config || !strings.Contains(options, "omit")) {
		s.Type = append(s.Type, "null")
	}
	if g.config && v.IsValid() && !(f.Type.Kind() == reflect.Struct && len(s.Properties) > 0) {
		if b, err := json.Marshal(v.Interface()); err == nil {
			s.Default = b
		}
	}
	return s
}

func nilable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return t != rawType
	}
	return false
}
