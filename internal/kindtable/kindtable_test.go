package kindtable

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

func TestWords(t *testing.T) {
	for word, want := range map[string]string{"vm": inventory.KindVM, "vms": inventory.KindVM, "fs": inventory.KindFilesystem, "hosts": inventory.KindHost, "switches": inventory.KindSwitch, "lun": "", "s": "", "es": ""} {
		if got := strings.Join(Core(word), ","); got != want {
			t.Errorf("Core(%q) = %q, want %q", word, got, want)
		}
	}
	for _, w := range Words() {
		for _, k := range Core(w) {
			if !inventory.IsCore(k) {
				t.Errorf("%s means %s, which is not of the core", w, k)
			}
		}
	}
	kinds := []string{"com.acme.lun", "org.other.lun", "com.acme.tape"}
	for word, want := range map[string]int{"com.acme.lun": 1, "lun": 2, "tapes": 1, "acme": 0} {
		if got := Find(word, kinds); len(got) != want {
			t.Errorf("Find(%q) = %q", word, got)
		}
	}
}

func TestColumns(t *testing.T) {
	specs := []json.RawMessage{
		[]byte(`{"state":"on","size_bytes":1,"wwn":"x","online":true,"paths":[1],"nested":{"a":1}}`),
		[]byte(`{"extra":"y","vendor":"z"}`), []byte(`[1]`), []byte(`bad`),
	}
	names := func(cs []plugin.Column) string {
		var out []string
		for _, c := range cs {
			n := c.Name
			if c.Wide {
				n += "+"
			}
			out = append(out, n)
		}
		return strings.Join(out, " ")
	}
	declared := []plugin.Column{{Name: "W", Path: "w", Wide: true}, {Name: "S", Path: "state"}, {Name: "A", Path: "a"}}
	for name, tc := range map[string]struct{ got, want string }{
		"declared": {names(Columns("com.acme.lun", declared, specs)), "A W+"},
		"core":     {names(Columns(inventory.KindVolumeGroup, nil, specs)), "SIZE FREE DEVICES+"},
		"guessed":  {names(Columns("com.acme.lun", nil, specs)), "EXTRA ONLINE SIZE VENDOR WWN+"},
		"nothing":  {names(Columns("com.acme.lun", nil, nil)), ""},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: columns %q, want %q", name, tc.got, tc.want)
		}
	}
}

func TestCells(t *testing.T) {
	spec := json.RawMessage(`{"size_bytes":107374182400,"n":18446744073709551615,"on":true,"none":null,"paths":[{"state":"up"}],"tags":["a","b"],
		"evil":"\u001b[31m\n","long":"` + strings.Repeat("é", 100) + `","object":{"a":1},"neg_bytes":-1}`)
	for path, want := range map[string]string{
		"size_bytes": "100.0 GiB", "n": "18446744073709551615", "on": "true", "none": "", "absent": "", "paths.0.state": "up", "paths.1.state": "",
		"paths.x": "", "on.x": "", "tags": "a,b", "evil": "?[31m?", "long": strings.Repeat("é", 57) + "...", "object": `{"a":1}`, "neg_bytes": "-1",
	} {
		if got := Cells(spec, []plugin.Column{{Path: path}, {Path: "on"}, {Path: "n", Wide: true}}, false); got[0] != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := Cells([]byte("bad"), []plugin.Column{{Path: "a"}}, false); got[0] != "" {
		t.Errorf("of bad JSON: %q", got)
	}
	for _, whole := range []bool{true, false} { // the last is shown whole, too
		if got := Cells(spec, []plugin.Column{{Path: "long"}, {Path: "long", Wide: true}}, whole); got[0] != strings.Repeat("é", 100) || whole != (got[1] == got[0]) {
			t.Errorf("whole %v: %q", whole, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	long := strings.Repeat("w", 90)
	for _, tc := range []struct {
		spec, path string
		whole      bool
		want       string
	}{
		{`{"warnings":[]}`, "warnings", false, ""},
		{`{"warnings":["` + long + `"]}`, "warnings", false, long},
		{`{"warnings":["` + long + `","b","c"]}`, "warnings", false, long + " (and 2 more)"},
		{`{"warnings":["` + long + `","b\u001b","c"]}`, "warnings", true, long + "; b?; c"},
		{`{"health":{"warnings":["a",1]}}`, "health.warnings", false, "a (and 1 more)"},
		{`{"warnings":"a"}`, "warnings", false, "a"},
		{`{"warnings":["` + strings.Repeat("w", 300) + `"]}`, "warnings", false, strings.Repeat("w", 197) + "..."},
	} {
		if got := Cells([]byte(tc.spec), []plugin.Column{{Path: tc.path}}, tc.whole); got[0] != tc.want {
			t.Errorf("%s of %s: %q, want %q", tc.path, tc.spec, got[0], tc.want)
		}
	}
}

func TestSeveralLinesAreCleanedOneByOne(t *testing.T) {
	if got, want := CleanLines("a\x1b[2J\r\nb\u009bc\n"), "a?[2J?\nb?c\n"; got != want {
		t.Errorf("CleanLines = %q, want %q", got, want)
	}
}

func TestSize(t *testing.T) {
	for b, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 30: "1.0 GiB", 1<<30 - 1: "1.0 GiB", 1 << 63: "8.0 EiB"} {
		if got := Size(b); got != want {
			t.Errorf("Size(%d) = %q, want %q", b, got, want)
		}
	}
}

func FuzzCells(f *testing.F) {
	f.Add(`{"a":[{"b_bytes":1}]}`, "a.0.b_bytes", false)
	f.Add(`{"warnings":["a","b"]}`, "warnings", true)
	f.Fuzz(func(t *testing.T, spec, path string, whole bool) {
		cs := append(Columns("x", nil, []json.RawMessage{[]byte(spec)}), plugin.Column{Path: path})
		for i, cell := range Cells([]byte(spec), cs, whole) {
			longest := longestCell
			switch {
			case whole:
				longest = longestWhole
			case i == len(cs)-1 || strings.HasSuffix(cs[i].Path, "warnings"):
				longest = longestLast + len(" (and 4294967295 more)")
			}
			if cell != Clean(cell) || len([]rune(cell)) > longest {
				t.Errorf("cell %q", cell)
			}
		}
	})
}
