package protocol

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/plugin/internal/published"
	"github.com/openpf9/openpf9/plugin/schema"
)

var update = flag.Bool("update", false, "rewrite the published schema")

func frameSchema() *schema.Schema {
	s := schema.Of(Frame{})
	s.Dialect = schema.Dialect
	s.Title = "One line between an openpf9 plugin and its host, protocol 1"
	s.Description = "Each line is an object with exactly one of these properties; a line with none of them is ignored. " +
		"A host counts the length of a text in bytes of UTF-8. See plugin-protocol.md."
	return s
}

func TestPublishedSchemaIsOfTheseTypes(t *testing.T) {
	if err := published.Hold("../../docs/plugin-protocol.schema.json", frameSchema(), *update); err != nil {
		t.Errorf("%v: run go test ./plugin/protocol -update", err)
	}
}

// What a plugin may say in full.
var lines = map[string]string{
	"hello": `{"hello":{"protocols":[1],"name":"acme","version":"1","sdk":"none","config_schema":{},
		"kinds":[{"name":"test.a","version":1,"schema":{},"columns":[{"name":"A","path":"a"}]}]}}`,
	"delta": `{"delta":{"seq":1,"begin":true,"end":true,"count":1,"upserts":[
		{"kind":"test.a","id":"1","name":"one","parent":{"kind":"test.a","id":"0"},"spec":{},"ext":{}}]}}`,
	"delta.deletes": `{"delta":{"seq":2,"deletes":[{"kind":"test.a","id":"1"}]}}`,
	"status":        `{"status":{"level":"degraded","code":"list","text":"no luck"}}`,
	"event":         `{"event":{"about":{"kind":"test.a","id":"1"},"type":"crashed","at":"2026-01-02T03:04:05Z","data":{}}}`,
	"pong":          `{"pong":{"nonce":1}}`,
}

// TestSchemaAndCodeAgree looks for every bound in the published schema of what a
// plugin says. What is just within it, both the schema and the host must take;
// what is just beyond, both must refuse.
func TestSchemaAndCodeAgree(t *testing.T) {
	t.Parallel()
	s := frameSchema()
	found := make(map[string]int)
	for _, message := range []string{"hello", "delta", "status", "event", "pong"} {
		bounds(message, s.Properties[message], func(path, keyword string, within, beyond any) {
			found[keyword]++
			base := lines[message]
			if strings.HasPrefix(path, "delta.deletes") {
				base = lines["delta.deletes"]
			}
			for value, want := range map[string]bool{"within": true, "beyond": false} {
				v := within
				if !want {
					v = beyond
				}
				line := with(t, base, path, v)
				if bySchema, byCode := s.Validate("line", line), accept(line); (bySchema == nil) != want || (byCode == nil) != want {
					t.Errorf("%s %s of %s:\nthe schema says %v, the host %v, want that both take it: %v", value, keyword, path, bySchema, byCode, want)
				}
			}
		})
	}
	for _, keyword := range []string{"enum", "minimum", "minLength", "maxLength", "minItems", "maxItems", "type"} {
		if found[keyword] == 0 {
			t.Errorf("no %s is in the schema", keyword)
		}
	}
}

// TestASpecIsNeverNull, neither by the schema nor by the host.
func TestASpecIsNeverNull(t *testing.T) {
	line := with(t, lines["delta"], "delta.upserts.[].spec", nil)
	if bySchema, byCode := frameSchema().Validate("line", line), accept(line); bySchema == nil || byCode == nil {
		t.Errorf("of %s the schema says %v, the host %v, want both to refuse it", line, bySchema, byCode)
	}
}

// bounds calls visit for each bound below s, with a value within and one beyond.
// In a path, "[]" is an element of a list.
func bounds(at string, s *schema.Schema, visit func(path, keyword string, within, beyond any)) {
	if s == nil {
		return
	}
	if len(s.Enum) > 0 {
		visit(at, "enum", s.Enum[0], "other")
	}
	if s.Minimum != nil {
		visit(at, "minimum", *s.Minimum, *s.Minimum-1)
	}
	if s.MinLength != nil {
		visit(at, "minLength", text(*s.MinLength), text(*s.MinLength-1))
	}
	if s.MaxLength != nil {
		visit(at, "maxLength", text(*s.MaxLength), text(*s.MaxLength+1))
	}
	if s.MinItems != nil {
		visit(at, "minItems", items(*s.MinItems), items(*s.MinItems-1))
	}
	if s.MaxItems != nil {
		visit(at, "maxItems", items(*s.MaxItems), items(*s.MaxItems+1))
	}
	if slices.Contains(s.Type, "object") && s.Properties == nil {
		visit(at, "type", map[string]any{}, []any{})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		bounds(at+"."+name, s.Properties[name], visit)
	}
	bounds(at+".[]", s.Items, visit)
}

// text is a text of n bytes that can be a name, a path or a kind.
func text(n int) string { return ("a.b" + strings.Repeat("b", max(0, n-3)))[:n] }

// items stands for a list of so many elements.
type items int

// with puts a value into a line.
func with(t *testing.T, line, path string, value any) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(line), &doc); err != nil {
		t.Fatal(err)
	}
	var into any = doc
	names := strings.Split(path, ".")
	last := len(names) - 1
	for _, name := range names[:last] {
		into = member(into, name)
	}
	if n, list := value.(items); list {
		value = repeated(member(into, names[last]).([]any)[0], int(n))
	}
	if names[last] == "[]" {
		into.([]any)[0] = value
	} else {
		into.(map[string]any)[names[last]] = value
	}
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func member(of any, name string) any {
	if name == "[]" {
		return of.([]any)[0]
	}
	return of.(map[string]any)[name]
}

// repeated is a list of elements that differ in what names them.
func repeated(element any, n int) []any {
	list := make([]any, 0, n)
	for i := range n {
		one := element
		if object, ok := element.(map[string]any); ok {
			copied := maps.Clone(object)
			for _, key := range []string{"id", "name"} {
				if _, named := copied[key]; named {
					copied[key] = fmt.Sprintf("a.b%d", i)
					break
				}
			}
			one = copied
		}
		list = append(list, one)
	}
	return list
}

// accept takes a line in as a host does, to which every kind is declared.
func accept(line []byte) error {
	f, err := NewReader(strings.NewReader(string(line)+"\n"), 0).Frame()
	switch {
	case err != nil:
		return err
	case f.Hello != nil:
		return f.Hello.Validate()
	case f.Status != nil:
		return f.Status.Validate()
	case f.Event != nil:
		return f.Event.Validate()
	case f.Delta == nil:
		return nil
	}
	kinds := []Kind{{Name: "test.a"}}
	for _, r := range f.Delta.Upserts {
		kinds = append(kinds, Kind{Name: r.Kind})
	}
	for _, k := range f.Delta.Deletes {
		kinds = append(kinds, Kind{Name: k.Kind})
	}
	kinds = slices.DeleteFunc(kinds, func(k Kind) bool { return k.Validate() != nil })
	r := NewReceiver(kinds, Limits{MaxBytes: 64 << 20})
	if !f.Delta.Begin {
		if _, _, err := r.Delta(&Delta{Seq: 1, Begin: true, End: true}); err != nil {
			return err
		}
	}
	if f.Delta.End {
		f.Delta.Count = len(f.Delta.Upserts)
	}
	_, _, err = r.Delta(f.Delta)
	return err
}
