package settings

import (
	"os"
	"strings"
	"testing"
)

func TestEveryKeyIsInTheDocuments(t *testing.T) {
	text, err := os.ReadFile("../../../docs/gateway-appliance.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Keys() {
		if !strings.Contains(string(text), "| `"+k.Name+"` |") {
			t.Errorf("docs/gateway-appliance.md has no row for %s", k.Name)
		}
		if k.Label == "" || k.Help == "" {
			t.Errorf("%s is not described", k.Name)
		}
	}
}
