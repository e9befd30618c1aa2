package kindtable

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

func TestJSONDoesNotSteerTheTerminal(t *testing.T) {
	want := map[string]string{"name": "vm\x1b[2J\u009b2J\x7f\u202eé\U000e0001\n漢字 ok"}
	var out bytes.Buffer
	if err := json.NewEncoder(JSON(&out)).Encode(want); err != nil {
		t.Fatal(err)
	}
	if i := strings.IndexFunc(strings.TrimSpace(out.String()), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%q is not printable at %d", out.String(), i)
	}
	if !strings.Contains(out.String(), "é") || !strings.Contains(out.String(), "漢字") {
		t.Errorf("%s: letters are escaped", out.String())
	}
	var got map[string]string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["name"] != want["name"] {
		t.Errorf("%s is read as %q, %v", out.String(), got["name"], err)
	}
}
