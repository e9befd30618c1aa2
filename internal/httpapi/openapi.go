package httpapi

import (
	"encoding"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Document describes a table of routes as OpenAPI 3.1, from the routes' own
// samples. It is a plain value for encoding/json.
func Document(title, version string, routes []Route) map[string]any {
	s := &schemas{components: make(map[string]any)}
	s.components["Problem"] = s.object(reflect.TypeFor[Problem]())
	paths := make(map[string]map[string]any)
	for _, r := range routes {
		method, path, _ := strings.Cut(r.Pattern, " ")
		path = wildcard.ReplaceAllString(path, "{$1}")
		if paths[path] == nil {
			paths[path] = make(map[string]any)
		}
		paths[path][strings.ToLower(method)] = s.operation(r, path)
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": title, "version": version},
		"paths":   paths,
		"components": map[string]any{
			"schemas": s.components,
			"securitySchemes": map[string]any{
				"token": map[string]any{"type": "http", "scheme": "bearer", "description": "An API token."},
			},
		},
	}
}

// wildcard is a segment of a ServeMux pattern, whose dots OpenAPI does not know.
var wildcard = regexp.MustCompile(`\{([a-zA-Z0-9_]+)(\.\.\.)?\}`)

func (s *schemas) operation(r Route, path string) map[string]any {
	op := map[string]any{"summary": r.Summary, "x-access": r.Access.String()}
	if r.Access > Open {
		op["security"] = []any{map[string]any{"token": []any{}}}
	}
	params := []any{}
	for _, m := range wildcard.FindAllStringSubmatch(path, -1) {
		params = append(params, map[string]any{"name": m[1], "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
	}
	for _, q := range r.Query {
		params = append(params, map[string]any{"name": q.Name, "in": "query", "description": q.Summary, "schema": map[string]any{"type": "string"}})
	}
	for _, h := range r.Headers {
		params = append(params, map[string]any{"name": h.Name, "in": "header", "description": h.Summary, "schema": map[string]any{"type": "string"}})
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	if r.Request != nil {
		op["requestBody"] = map[string]any{"required": true, "content": s.content("application/json", r.Request)}
	}
	done := map[string]any{"description": "Done."}
	switch {
	case r.Stream != "":
		done["content"] = map[string]any{r.Stream: map[string]any{}}
	case r.Response != nil:
		done["content"] = s.content("application/json", r.Response)
	}
	problem := map[string]any{"description": "Refused or failed.", "content": s.content("application/problem+json", Problem{})}
	op["responses"] = map[string]any{"2XX": done, "default": problem}
	return op
}

// schemas collects the named types that the document refers to.
type schemas struct{ components map[string]any }

func (s *schemas) content(media string, sample any) map[string]any {
	return map[string]any{media: map[string]any{"schema": s.of(reflect.TypeOf(sample))}}
}

func (s *schemas) of(t reflect.Type) any {
	switch {
	case t == nil || t == reflect.TypeFor[json.RawMessage]() || t.Kind() == reflect.Interface:
		return map[string]any{}
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.ref(t)
	}
	return map[string]any{"type": "integer"}
}

// ref puts a named struct among the components.
func (s *schemas) ref(t reflect.Type) any {
	if t.Name() == "" {
		return s.object(t)
	}
	name := t.Name()
	if old, taken := s.components[name]; taken && old.(map[string]any)["x-go"] != nil && old.(map[string]any)["x-go"] != t.String() {
		name = strings.ReplaceAll(t.String(), ".", "_")
	}
	if _, done := s.components[name]; !done {
		s.components[name] = map[string]any{"x-go": t.String()} // ends recursion
		o := s.object(t)
		o["x-go"] = t.String()
		s.components[name] = o
	}
	return map[string]any{"$ref": "#/components/schemas/" + name}
}

func (s *schemas) object(t reflect.Type) map[string]any {
	properties, required := make(map[string]any), []string{}
	s.fields(t, properties, &required)
	o := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		slices.Sort(required)
		o["required"] = required
	}
	return o
}

func (s *schemas) fields(t reflect.Type, properties map[string]any, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			s.fields(f.Type, properties, required)
			continue
		}
		if name == "" {
			name = f.Name
		}
		properties[name] = s.of(f.Type)
		if !strings.Contains(rest, "omit") {
			*required = append(*required, name)
		}
	}
}
