package protocol

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/openpf9/openpf9/plugin/schema"
)

var update = flag.Bool("update", false, "rewrite the published schema")

func TestPublishedSchemaIsOfTheseTypes(t *testing.T) {
	const file = "../../docs/plugin-protocol.schema.json"
	s := schema.Of(Frame{})
	s.Dialect = schema.Dialect
	s.Title = "One line between an openpf9 plugin and its host, protocol 1"
	s.Description = "Each line is an object with exactly one of these properties; a line with none of them is ignored. See plugin-protocol.md."
	want, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs from the types: run go test ./plugin/protocol -update", file)
	}
	for _, line := range []string{hello, snapshot1} {
		if err := s.Validate("line", []byte(line)); err != nil {
			t.Error(err)
		}
	}
}
