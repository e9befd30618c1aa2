package inventory

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/openpf9/openpf9/plugin/schema"
)

var update = flag.Bool("update", false, "rewrite the published schema")

func TestPublishedSchemaIsOfTheseTypes(t *testing.T) {
	const file = "../../docs/inventory.schema.json"
	s := &schema.Schema{
		Dialect: schema.Dialect, Title: "The specs of openpf9's core kinds",
		Description: "Each property is the JSON Schema of the kind's spec.",
		Type:        schema.Types{"object"}, Properties: make(map[string]*schema.Schema),
	}
	for _, kind := range []string{
		KindHost, KindVM, KindLink, KindRoute, KindOVSBridge, KindNetwork,
		KindFilesystem, KindDevice, KindVolumeGroup, KindPool, KindVolume,
	} {
		if Spec(kind) == nil {
			t.Fatalf("%s has no struct", kind)
		}
		s.Properties[kind] = schema.Of(Spec(kind))
	}
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
		t.Errorf("%s differs from the types: run go test ./plugin/inventory -update", file)
	}
	if Spec("com.acme.lun") != nil {
		t.Error("a foreign kind has a core struct")
	}
}
