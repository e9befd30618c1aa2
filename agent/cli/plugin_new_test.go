package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPluginNewWritesAPluginAndSaysWhatNext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disks")
	var out, errs bytes.Buffer
	if code := main1([]string{"plugin", "new", "disks", "--lang", "python", "--dir", dir, "--kind", "com.acme.disk"}, &out, &errs); code != 0 {
		t.Fatalf("it ends with %d: %s", code, errs.String())
	}
	b, err := os.ReadFile(filepath.Join(dir, "disks.py"))
	if err != nil || !strings.Contains(string(b), `"com.acme.disk"`) {
		t.Errorf("disks.py (%v) does not list com.acme.disk", err)
	}
	for _, want := range []string{"    disks.toml\n", "    packaging/pf9-hostagent-plugin-disks.socket\n", "cd " + dir, "make check"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if code := main1([]string{"plugin", "new", "disks", "--dir", dir}, &out, &errs); code != 1 || !strings.Contains(errs.String(), "is not empty") {
		t.Errorf("over an old plugin it ends with %d: %s", code, errs.String())
	}
}

func TestPluginNewUsage(t *testing.T) {
	for name, args := range map[string][]string{"no name": {}, "two names": {"a", "b"}, "unknown flag": {"a", "--language", "go"}} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := main1(append([]string{"plugin", "new"}, args...), &out, &errs); code != 2 || !strings.Contains(errs.String(), "usage: pf9-hostagent plugin new NAME") {
				t.Errorf("it ends with %d: %s", code, errs.String())
			}
		})
	}
}
