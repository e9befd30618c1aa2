package libvirt

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// parse picks the parser by a file's first word.
func parse(name string, text []byte) (any, error) {
	switch kind, _, _ := strings.Cut(filepath.Base(name), "-"); kind {
	case "network":
		return parseNetwork(text)
	case "pool":
		return parsePool(text)
	case "volume":
		return parseVolume(text)
	default:
		return parseDomain(text)
	}
}

func TestParse(t *testing.T) {
	files, err := filepath.Glob("testdata/*.xml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := parse(file, text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(spec, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".xml") + ".json"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("not as in %s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func TestParseRefusesOtherXML(t *testing.T) {
	for _, text := range []string{"", "<", "<domain>", "<other/>", "<domain/><domain", "\x00"} {
		for _, kind := range []string{"domain", "network", "pool", "volume"} {
			if spec, err := parse(kind+"-", []byte(text)); err == nil && !strings.HasPrefix(text, "<"+kind+"/>") {
				t.Errorf("%s of %q is %+v, want an error", kind, text, spec)
			}
		}
	}
}

func TestSizes(t *testing.T) {
	for _, test := range []struct {
		value, unit string
		want        uint64
	}{
		{"4", "", 4096},
		{" 4 ", "KiB", 4096},
		{"4", "k", 4096},
		{"4", "KB", 4000},
		{"4", "bytes", 4},
		{"2", "GiB", 2 << 30},
		{"1", "E", 1 << 60},
		{"100", "EiB", 0}, // more than can be counted
		{"-1", "KiB", 0},
		{"4", "furlongs", 0},
		{"many", "KiB", 0},
	} {
		if got := (sizeXML{Unit: test.unit, Value: test.value}).bytes(); got != test.want {
			t.Errorf("%q %q is %d bytes, want %d", test.value, test.unit, got, test.want)
		}
	}
}

func TestUUIDsReadBack(t *testing.T) {
	const text = "00112233-4455-6677-8899-aabbccddeeff"
	id, ok := parseUUID(text)
	if !ok || uuidText(id) != text {
		t.Errorf("%s reads as %v, %v", text, id, ok)
	}
	for _, bad := range []string{"", "x", strings.Repeat("-", 36), "00112233-4455-6677-8899-aabbccddee-f", strings.Repeat("0", 36), strings.ToUpper(text)} {
		if _, ok := parseUUID(bad); ok {
			t.Errorf("%q counts as a UUID", bad)
		}
	}
}

func TestClipCutsBetweenCharacters(t *testing.T) {
	for _, test := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"aüb", 2, "a"}, {"aüb", 3, "aü"}, {"\x80\x80\x80", 2, ""}} {
		if got := clip(test.in, test.n); got != test.want {
			t.Errorf("clip(%q, %d) = %q, want %q", test.in, test.n, got, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.xml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, kind := range []string{"domain", "network", "pool", "volume"} {
			spec, err := parse(kind+"-", text)
			if err != nil {
				continue
			}
			if _, err := json.Marshal(spec); err != nil {
				t.Errorf("%s does not encode: %v", kind, err)
			}
		}
	})
}
