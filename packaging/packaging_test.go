package packaging_test

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/packaging"
)

// The most that systemd-analyze may find, times ten.
const (
	maxExposure       = "--threshold=20"
	maxPluginExposure = "--threshold=35" // they have what their manifests ask for
	maxBootExposure   = "--threshold=32" // root, who makes the appliance's network and name
)

func TestUnitsAreConfined(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	units, err := fs.Glob(packaging.Linux, "linux/*.service")
	if err != nil || len(units) == 0 {
		t.Fatalf("no units: %v", err)
	}
	for _, name := range units {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := fs.ReadFile(packaging.Linux, name)
			if err != nil {
				t.Fatal(err)
			}
			limit := maxExposure
			switch {
			case strings.Contains(name, "-plugin-"):
				limit = maxPluginExposure
			case strings.Contains(name, "-firstboot.") || strings.Contains(name, "-console."):
				limit = maxBootExposure
			}
			file := filepath.Join(t.TempDir(), strings.Replace(filepath.Base(name), "@.", "@1.", 1)) // an instance
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, analyze, "security", "--offline=true", "--no-pager", limit, file).CombinedOutput()
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			t.Log(lines[len(lines)-1])
		})
	}
}
