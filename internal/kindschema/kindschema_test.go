package kindschema

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const lun = `{
	"type": "object",
	"required": ["wwn", "size_bytes"],
	"properties": {
		"wwn": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
		"size_bytes": {"type": "integer", "minimum": 1},
		"state": {"enum": ["online", "offline"]},
		"paths": {"type": "array", "items": {"$ref": "#/$defs/path"}, "uniqueItems": true}
	},
	"$defs": {"path": {"type": "object", "required": ["target"], "properties": {"target": {"type": "string"}}}}
}`

func TestCheck(t *testing.T) {
	tests := []struct {
		name, schema, spec string
		want               string // "" for a spec that fits
	}{
		{"fits", lun, `{"wwn":"0123456789abcdef","size_bytes":107374182400,"state":"online","paths":[{"target":"a"},{"target":"b"}],"new":1}`, ""},
		{"wrong type", lun, `{"wwn":"0123456789abcdef","size_bytes":"100G"}`, "size_bytes: got string, want integer"},
		{"missing", lun, `{"wwn":"0123456789abcdef"}`, "missing property 'size_bytes'"},
		{"pattern", lun, `{"wwn":"x","size_bytes":1}`, "wwn: 'x' does not match pattern"},
		{"enum", lun, `{"wwn":"0123456789abcdef","size_bytes":1,"state":"lost"}`, "state: value must be one of"},
		{"below a reference", lun, `{"wwn":"0123456789abcdef","size_bytes":1,"paths":[{}]}`, "paths.0: missing property 'target'"},
		{"twice the same", lun, `{"wwn":"0123456789abcdef","size_bytes":1,"paths":[{"target":"a"},{"target":"a"}]}`, "items at 0 and 1 are equal"},
		{"no object", lun, `[]`, "got array, want object"},
		{"anything", `true`, `{}`, ""},
		{"nothing", `false`, `{}`, "false schema"},
		{"draft 7", `{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"n":{"type":"number"}},"properties":{"a":{"$ref":"#/definitions/n"}}}`, `{"a":"x"}`, "a: got string, want number"},
		{"own id", `{"$id":"https://acme.com/lun","$defs":{"n":{"type":"number"}},"properties":{"a":{"$ref":"https://acme.com/lun#/$defs/n"}}}`, `{"a":"x"}`, "a: got string"},
		{"recursive", `{"properties":{"child":{"$ref":"#"},"n":{"type":"integer"}}}`, `{"child":{"child":{"n":"x"}}}`, "child.child.n: got string"},
		{"large numbers", `{"properties":{"n":{"multipleOf":2}}}`, `{"n":18446744073709551614}`, ""},
		{"huge exponent", `{"properties":{"n":{"maximum":5}}}`, `{"n":1e999999999}`, "n: maximum"},
		{"deep spec", `{}`, strings.Repeat("[", 65) + strings.Repeat("]", 65), "nested deeper than 64"},
		{"many faults", `{"additionalProperties":{"type":"string"}}`, `{"a":1,"b":2,"c":3,"d":4,"e":5}`, "; and 2 more"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := Compile([]byte(test.schema))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 { // the same each time
				got, err := s.Check([]byte(test.spec))
				if err != nil || !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
					t.Errorf("Check: %q, %v; want %q", got, err, test.want)
				}
				test.want = got
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct{ name, schema, want string }{
		{"no JSON", `{`, "not JSON"},
		{"two values", `{} {}`, "more than one value"},
		{"a number", `1`, "neither an object"},
		{"nonsense", `{"type":"lun"}`, "not a JSON Schema: type"},
		{"file", `{"$ref":"file:///etc/passwd"}`, "refer to itself only"},
		{"network", `{"$ref":"http://169.254.169.254/x"}`, "refer to itself only"},
		{"foreign draft", `{"$schema":"https://acme.com/draft"}`, "refer to itself only"},
		{"nowhere", `{"$ref":"#/$defs/none"}`, "none"},
		{"lookahead", `{"pattern":"(?=x)"}`, "invalid or unsupported Perl syntax"},
		{"long pattern", `{"pattern":"` + strings.Repeat("x", 1025) + `"}`, "1024 bytes"},
		{"repeating pattern", `{"pattern":"(x{100}y){100}"}`, "repeat"},
		{"dynamic", `{"$ref":"https://json-schema.org/draft/2020-12/schema"}`, "not supported"},
		{"deep", strings.Repeat(`{"not":`, 65) + "{}" + strings.Repeat("}", 65), "nested deeper than 64"},
		{"many values", `{"enum":[` + strings.Repeat("1,", 9000) + `1]}`, "8192 values"},
		{"large", `{"title":"` + strings.Repeat("x", 64<<10) + `"}`, "64 KiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Compile([]byte(test.schema)); err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > maxReason {
				t.Errorf("Compile: %v; want something with %q", err, test.want)
			}
		})
	}
}

// costly are schemas that would take hours, or all memory, and a spec for each.
func costly() map[string][2]string {
	doubling := func(word, leaf string) string {
		var defs []string
		for i := range 60 {
			defs = append(defs, fmt.Sprintf(`"d%d":{"%s":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, word, i+1, i+1))
		}
		return `{"$ref":"#/$defs/d0","$defs":{` + strings.Join(defs, ",") + `,"d60":` + leaf + `}}`
	}
	many := func(of string, n int) string { return "[" + strings.Repeat(of+",", n-1) + of + "]" }
	return map[string][2]string{
		"allOf of allOf":  {doubling("allOf", `{}`), `{}`},
		"anyOf of anyOf":  {doubling("anyOf", `false`), `{}`},
		"oneOf, type":     {doubling("oneOf", `{"type":"string"}`), `{}`},
		"in not":          {strings.Replace(doubling("allOf", `true`), `{"$ref"`, `{"not":{"$ref":"#/$defs/d0"},"$ref"`, 1), `{}`},
		"itself":          {`{"allOf":[{"$ref":"#"},{"$ref":"#"}]}`, `{}`},
		"down the spec":   {`{"allOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}`, strings.Repeat("[", 60) + strings.Repeat("]", 60)},
		"large enum":      {`{"items":{"enum":` + many("1", 8000) + `}}`, many("2", 30000)},
		"unique lists":    {`{"uniqueItems":true}`, many(`["a"]`, 20000)},
		"pattern":         {`{"items":{"pattern":"(.*a){30}b"}}`, many(`"`+strings.Repeat("a", 2000)+`"`, 100)},
		"pattern of name": {`{"patternProperties":{"(.*a){30}b":{}}}`, `{"` + strings.Repeat("a", 200000) + `":1}`},
	}
}

func TestCostlyChecksAreNotMade(t *testing.T) {
	for name, c := range costly() {
		t.Run(name, func(t *testing.T) {
			s, err := Compile([]byte(c[0]))
			if err != nil {
				t.Fatal(err)
			}
			if fault, err := s.Check([]byte(c[1])); !errors.Is(err, ErrCostly) {
				t.Errorf("Check: %q, %v; want ErrCostly", fault, err)
			}
		})
	}
}

// The largest spec that is allowed may be checked by a schema of a usual sort.
func TestLargeSpecsAreChecked(t *testing.T) {
	s, err := Compile([]byte(lun))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(`{"wwn":"0123456789abcdef","size_bytes":1,"paths":[`)
	for i := range 2000 {
		fmt.Fprintf(&b, `{"target":"10.0.0.1:%d","state":"%s"},`, i, strings.Repeat("x", 80))
	}
	b.WriteString(`{"target":1}]}`)
	if fault, err := s.Check([]byte(b.String())); err != nil || fault != "paths.2000.target: got number, want string" {
		t.Errorf("Check: %q, %v", fault, err)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(lun, `{"wwn":"x","size_bytes":1.5e3}`)
	for _, name := range []string{"itself", "down the spec"} {
		f.Add(costly()[name][0], costly()[name][1])
	}
	f.Fuzz(func(t *testing.T, schema, spec string) {
		s, err := Compile([]byte(schema))
		if err != nil {
			return
		}
		a, err1 := s.Check([]byte(spec))
		b, err2 := s.Check([]byte(spec))
		if a != b || (err1 == nil) != (err2 == nil) {
			t.Errorf("twice: %q, %v and %q, %v", a, err1, b, err2)
		}
	})
}
