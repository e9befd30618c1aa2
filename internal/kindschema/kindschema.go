// Package kindschema checks the specs of resources against the JSON Schemas
// that plugins declare for their kinds.
//
// Both sides come from hosts that may be broken or hostile, so everything has
// a bound: a schema refers to nothing outside of itself and of the well-known
// drafts, patterns are Go's (linear time) and small, and how much work a spec
// may cost is counted before it is done. The agent does not use the package.
package kindschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// The bounds of a schema and of a spec.
const (
	maxSchemaBytes = 64 << 10
	maxSchemaNodes = 8192 // values in the schema's JSON
	maxSchemaDepth = 64
	maxSpecDepth   = 64
	maxReason      = 240 // bytes of what Check says
	maxLeaves      = 64  // faults that are looked at
	shownLeaves    = 3   // faults that Check names
)

// ErrCostly says that a spec was not checked, because that would take too long.
var ErrCostly = errors.New("the schema takes too long to check a resource with")

// Schema is a compiled schema. It may be used by several goroutines.
type Schema struct {
	compiled *jsonschema.Schema
	nodes    int
}

// Size is about how much memory the schema takes, in values of its JSON.
func (s *Schema) Size() int { return s.nodes }

// location is the schema's own; nothing is ever loaded from there.
const location = "kind:///spec"

// Compile makes a schema ready.
func Compile(text []byte) (s *Schema, err error) {
	defer caught(&err)
	if len(text) > maxSchemaBytes {
		return nil, fmt.Errorf("more than %d KiB", maxSchemaBytes>>10)
	}
	doc, err := decode(text, maxSchemaDepth)
	if err != nil {
		return nil, err
	}
	switch doc.(type) {
	case bool, map[string]any:
	default:
		return nil, errors.New("neither an object nor true or false")
	}
	nodes := count(doc)
	if nodes > maxSchemaNodes {
		return nil, fmt.Errorf("more than %d values", maxSchemaNodes)
	}
	patterns := &patterns{}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	c.UseRegexpEngine(patterns.compile)
	if err := c.AddResource(location, doc); err != nil {
		return nil, explain(err)
	}
	compiled, err := c.Compile(location)
	if err != nil {
		return nil, explain(err)
	}
	if err := supported(compiled); err != nil {
		return nil, err
	}
	return &Schema{compiled: compiled, nodes: nodes}, nil
}

// noLoader keeps the compiler from files and networks.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s: a schema may refer to itself only", url)
}

// explain takes the errors of the compiler apart: its own locations tell
// nobody anything.
func explain(err error) error {
	var text string
	if bad, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		text = "not a JSON Schema: " + faults(bad.Err)
	} else if load, ok := errors.AsType[*jsonschema.LoadURLError](err); ok {
		text = load.Err.Error()
	} else {
		text = strings.ReplaceAll(err.Error(), location, "")
	}
	return errors.New(clip(text))
}

// Check says why a spec does not fit the schema; empty: it does. After
// ErrCostly nothing is known.
func (s *Schema) Check(spec []byte) (fault string, err error) {
	defer caught(&err)
	v, err := decode(spec, maxSpecDepth)
	if err != nil {
		return clip(err.Error()), nil
	}
	m := meter{left: maxWork}
	if m.visit(s.compiled, v, 0); m.left < 0 {
		return "", ErrCostly
	}
	if err := s.compiled.Validate(v); err != nil {
		return clip(faults(err)), nil
	}
	return "", nil
}

// caught makes an error of a panic in the schema library.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the schema cannot be worked with: %.100s", fmt.Sprint(p))
	}
}

// faults names the first few leaves of an error, in the spec's order of names:
// the same spec always has the same reason.
func faults(err error) string {
	top, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return err.Error()
	}
	var all []string
	printer := message.NewPrinter(language.English)
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, c := range e.Causes {
			walk(c)
		}
		if len(e.Causes) > 0 || len(all) >= maxLeaves {
			return
		}
		text := e.ErrorKind.LocalizedString(printer)
		if f, ok := e.ErrorKind.(*kind.Format); ok {
			text = f.Err.Error() // the other begins with the value, however long
		}
		if len(e.InstanceLocation) > 0 {
			text = strings.Join(e.InstanceLocation, ".") + ": " + text
		}
		all = append(all, text)
	}
	walk(top)
	slices.Sort(all)
	all = slices.Compact(all)
	text := strings.Join(all[:min(len(all), shownLeaves)], "; ")
	if more := len(all) - shownLeaves; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

func clip(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= maxReason {
		return s
	}
	return strings.ToValidUTF8(s[:maxReason-len("...")], "") + "..."
}

// decode reads JSON of a bounded depth. Numbers stay as they are written
// unless their size would make exact arithmetic expensive.
func decode(text []byte, depth int) (any, error) {
	if deeper(text, depth) {
		return nil, fmt.Errorf("nested deeper than %d", depth)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if d.More() {
		return nil, errors.New("not JSON: more than one value")
	}
	return tame(v), nil
}

// deeper says whether JSON is nested deeper than that, without decoding it.
func deeper(text []byte, most int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > most {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// tame rounds numbers that are long or have large exponents.
func tame(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = tame(v[k])
		}
	case []any:
		for i := range v {
			v[i] = tame(v[i])
		}
	case json.Number:
		if len(v) <= 40 && !strings.ContainsAny(string(v), "eE") {
			return v
		}
		f, _ := strconv.ParseFloat(string(v), 64) // out of range: the nearest
		return max(min(f, 1e300), -1e300)
	}
	return v
}

// count counts the values in decoded JSON.
func count(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			n += count(e)
		}
	case []any:
		for _, e := range v {
			n += count(e)
		}
	}
	return n
}
