package plugin_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/plugin"
)

func TestKindValidate(t *testing.T) {
	columns := func(cs ...plugin.Column) plugin.Kind {
		return plugin.Kind{Name: "com.acme.lun", Version: 1, Columns: cs}
	}
	tests := []struct {
		name string
		kind plugin.Kind
		want string // "" for none
	}{
		{"full", plugin.Kind{
			Name: "com.acme.lun", Version: 2, Schema: json.RawMessage(`{"type":"object"}`),
			Columns: []plugin.Column{{Name: "SIZE", Path: "size_bytes"}, {Name: "1st path (state)", Path: "paths.0.state", Wide: true}},
		}, ""},
		{"bare", plugin.Kind{Name: "com.acme-2.lun_x", Version: 1}, ""},
		{"no name", plugin.Kind{Version: 1}, "want lower-case letters"},
		{"one word", plugin.Kind{Name: "lun", Version: 1}, "want lower-case letters"},
		{"upper case", plugin.Kind{Name: "com.acme.LUN", Version: 1}, "want lower-case letters"},
		{"path", plugin.Kind{Name: "com.acme/../lun", Version: 1}, "want lower-case letters"},
		{"long name", plugin.Kind{Name: "com." + strings.Repeat("x", 61), Version: 1}, "64 bytes"},
		{"no version", plugin.Kind{Name: "com.acme.lun", Version: -1}, "want 1 or more"},
		{"no JSON", plugin.Kind{Name: "com.acme.lun", Version: 1, Schema: json.RawMessage(`{`)}, "not JSON"},
		{"large", plugin.Kind{Name: "com.acme.lun", Version: 1, Schema: json.RawMessage(`{"x":"` + strings.Repeat("x", plugin.MaxKindBytes) + `"}`)}, "64 KiB"},
		{"many columns", columns(make([]plugin.Column, plugin.MaxColumns+1)...), "columns"},
		{"nameless column", columns(plugin.Column{Path: "x"}), "column name"},
		{"control character", columns(plugin.Column{Name: "\x1b[31m", Path: "x"}), "column name"},
		{"no path", columns(plugin.Column{Name: "X"}), "path"},
		{"empty step", columns(plugin.Column{Name: "X", Path: "a..b"}), "path"},
		{"long path", columns(plugin.Column{Name: "X", Path: strings.Repeat("x", 129)}), "path"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.kind.Validate()
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want something with %q", err, test.want)
			}
		})
	}
}
