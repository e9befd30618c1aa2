package packaging_test

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// The package's recipe has all of the gateway's files, and names none that is not
// there. nfpm reads it from the repository's root.
func TestGatewayPackageIsWhole(t *testing.T) {
	recipe, err := os.ReadFile("gateway/nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^.*: packaging/(\S+)$`).FindAllStringSubmatch(string(recipe), -1) {
		named[m[1]] = true
		if _, err := os.Stat(m[1]); err != nil {
			t.Error(err)
		}
	}
	for _, pattern := range []string{"linux/*pf9-gateway*", "linux/gateway.conf*", "linux/pf9.*", "gateway/*.sh"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %q, %v", pattern, files, err)
		}
		for _, file := range files {
			if !named[file] {
				t.Errorf("gateway/nfpm.yaml does not have %s", file)
			}
		}
	}
}

// Where there is no network the daemon runs all the same: it can be paired, and
// says what is wrong.
func TestGatewayDoesNotWaitForTheNetwork(t *testing.T) {
	for _, unit := range []string{"pf9-gateway", "pf9-gateway-firstboot", "pf9-gateway-console"} {
		text, err := fs.ReadFile(packaging.Linux, "linux/"+unit+".service")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#") && strings.Contains(line, "network-online.target") {
				t.Errorf("%s.service: %s", unit, line)
			}
		}
	}
}

// Who has a name space of his own for the machine's name never hears of another,
// and the appliance gets its name while the daemon starts.
func TestDaemonsHearOfTheMachinesName(t *testing.T) {
	for _, unit := range []string{"pf9-gateway", "pf9-hostagent"} {
		text, err := fs.ReadFile(packaging.Linux, "linux/"+unit+".service")
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(`(?mi)^ProtectHostname=(yes|true|on|1)`).Match(text) {
			t.Errorf("%s.service has ProtectHostname=", unit)
		}
	}
}

// Root's own directory below it would not be root's if the daemon could move it.
func TestStateIsBelowADirectoryOfRoot(t *testing.T) {
	text, err := fs.ReadFile(packaging.Linux, "linux/pf9.tmpfiles")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^d /var/lib/pf9 +0755 root root +-$`).Match(text) {
		t.Errorf("/var/lib/pf9 is not root's:\n%s", text)
	}
}
