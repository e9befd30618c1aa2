package protocol

import (
	"encoding/json"
	"testing"
)

func TestColumnsLeadIntoSpecs(t *testing.T) {
	var spec any
	if err := json.Unmarshal([]byte(`{"wwn":"5","none":null,"paths":[{"state":"up"},7]}`), &spec); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{
		"wwn": "5", "none": nil, "paths.0.state": "up", "paths.1": 7.0,
		"size": false, "wwn.0": false, "paths.2": false, "paths.-1": false, "paths.x": false, "paths.0.state.x": false, "none.x": false,
	} {
		got, ok := Column{Path: path}.In(spec)
		if want == false {
			if ok || got != nil {
				t.Errorf("%s leads to %v, %v, want nothing", path, got, ok)
			}
		} else if !ok || got != want {
			t.Errorf("%s leads to %v, %v, want %v", path, got, ok, want)
		}
	}
}

func TestAKindsFormIsExplained(t *testing.T) {
	err := (&Kind{Name: "lun"}).Validate()
	if want := `kind "lun": want lower-case letters, digits, "-" and "_" with at least one dot between them, such as com.acme.lun, at most 64 bytes`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
