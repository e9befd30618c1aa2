package gateway_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/gateway"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/internal/daemon"
)

func load(t *testing.T, text string) (gateway.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gateway.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return gateway.LoadConfig(file)
}

func TestConfigDefaultsAreGoodOnAnAppliance(t *testing.T) {
	dir := t.TempDir()
	c, err := gateway.LoadConfig(filepath.Join(dir, "none.conf"))
	if err != nil || c.StateDir != "/var/lib/pf9/gateway" || c.Socket != "/run/pf9-gateway/agent.sock" || c.LogLevel != "info" || c.EtcDir != dir || len(c.VCenters) != 0 {
		t.Errorf("LoadConfig = %+v, %v", c, err)
	}
}

func TestConfigIsRead(t *testing.T) {
	pin := strings.Repeat("ab:", 31) + "CD"
	c, err := load(t, "du = ['https://du.example']\n[appliance]\nlink = 'ens192'\n[modules.host]\ninterval = '90s'\n"+
		"[vcenters.main]\nurl = 'https://vc.example/'\nthumbprint = '"+pin+"'\nclusters = ['gold', 'silver']\ncontrol = true\n"+
		"[vcenters.lab]\nurl = 'https://[2001:db8::1]:8443'\nca_file = '/etc/pf9/vcenter.pem'\n"+
		"[vcenters.old]\nurl = 'https://old.example'\nthumbprint = '"+strings.ReplaceAll(pin, ":", "")+"'\n")
	main, lab := c.VCenters["main"], c.VCenters["lab"]
	if err != nil || time.Duration(c.Modules["host"].Interval) != 90*time.Second || len(c.VCenters) != 3 || c.Appliance.Link != "ens192" || c.VCenters["old"].Thumbprint != main.Thumbprint ||
		main.URL.String() != "https://vc.example" || main.Thumbprint.String() != strings.ToUpper(pin) || !slices.Equal(main.Clusters, []string{"gold", "silver"}) || !main.Control ||
		lab.URL.String() != "https://[2001:db8::1]:8443" || lab.CAFile != "/etc/pf9/vcenter.pem" || lab.Control || len(lab.Clusters) != 0 {
		t.Errorf("LoadConfig = %+v, %v", c, err)
	}
}

func TestConfigIsShownAsItIsRead(t *testing.T) {
	c, err := load(t, "[vcenters.main]\nurl = 'https://vc.example'\nclusters = ['gold']\nthumbprint = '"+strings.Repeat("ab:", 31)+"cd'\n[vcenters.lab]\nurl = 'https://lab.example'\n")
	if err != nil {
		t.Fatal(err)
	}
	text, err := daemon.Show(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := load(t, string(text))
	if err != nil || again.StateDir != c.StateDir || again.VCenters["main"].URL.String() != "https://vc.example" || again.VCenters["main"].Thumbprint != c.VCenters["main"].Thumbprint {
		t.Errorf("LoadConfig of\n%s= %+v, %v", text, again, err)
	}
}

func TestConfigRefusesMistakes(t *testing.T) {
	for name, test := range map[string]struct{ text, says string }{
		"unknown setting":   {"log_levell = 'info'", ":1: there is no setting"},
		"a host's setting":  {"[libvirt]\nuri = 'qemu:///system'", ":1: there is no setting"},
		"unknown module":    {"[modules.libvirt]\ndisabled = true", `no module "libvirt"`},
		"odd address":       {"du = ['du.example']", "want https://"},
		"vCenter's typo":    {"[vcenters.a]\nurl = 'https://vc'\nthumbprnt = ''", ":3: there is no setting"},
		"no scheme":         {"[vcenters.a]\nurl = 'vc.example'", ":2: "},
		"no TLS":            {"[vcenters.a]\nurl = 'http://vc.example'", "want https://"},
		"a path":            {"[vcenters.a]\nurl = 'https://vc.example/sdk'", "want https://"},
		"a query":           {"[vcenters.a]\nurl = 'https://vc.example?a=b'", "want https://"},
		"a password":        {"[vcenters.a]\nurl = 'https://root:x@vc.example'", "want https://"},
		"no URL":            {"[vcenters.a]\ncontrol = true", "vcenters.a: url is missing"},
		"a SHA-1":           {"[vcenters.a]\nurl = 'https://vc'\nthumbprint = '" + strings.Repeat("ab:", 19) + "ab'", ":3: "},
		"half of a SHA-256": {"[vcenters.a]\nurl = 'https://vc'\nthumbprint = '" + strings.Repeat("ab", 16) + "'", "copied whole"},
		"two ways":          {"[vcenters.a]\nurl = 'https://vc'\nca_file = '/x'\nthumbprint = '" + strings.Repeat("ab:", 31) + "ab'", "give one of them"},
		"half a path":       {"[vcenters.a]\nurl = 'https://vc'\nca_file = 'x.pem'", "whole path"},
		"odd name":          {"[vcenters.\"A B\"]\nurl = 'https://vc'", "lower-case letters"},
		"too often":         {"[vcenters.a]\nurl = 'https://vc'\ndatastores_every = '10ms'", "want at least 1s"},
		"no cluster":        {"[vcenters.a]\nurl = 'https://vc'\nclusters = ['']", "has no name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.text)
			if _, ok := errors.AsType[*daemon.ConfigError](err); !ok || !strings.Contains(err.Error(), test.says) {
				t.Errorf("LoadConfig = %v, want a configuration error with %q", err, test.says)
			}
		})
	}
}

// withPaired is a configuration with paired vCenters beside it.
func withPaired(t *testing.T, text, paired string) (file, pairedFile string) {
	t.Helper()
	dir := t.TempDir()
	file, pairedFile = filepath.Join(dir, "gateway.conf"), pair.File(dir)
	for f, b := range map[string]string{file: "state_dir = '" + dir + "'\n" + text, pairedFile: paired} {
		if err := os.WriteFile(f, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file, pairedFile
}

func TestPairedVCentersAreRead(t *testing.T) {
	pin := strings.Repeat("AB:", 31) + "CD"
	file, _ := withPaired(t, "[vcenters.main]\nurl = 'https://vc.example'\nthumbprint = '"+pin+"'\n",
		"[vcenters.lab]\nurl = 'https://lab.example'\nthumbprint = '"+pin+"'\ncontrol = true\ninstance_uuid = 'uuid-1'\n")
	c, err := gateway.LoadConfig(file)
	if lab := c.VCenters["lab"]; err != nil || len(c.VCenters) != 2 || lab.URL.Host != "lab.example" || !lab.Control || lab.InstanceUUID != "uuid-1" {
		t.Errorf("LoadConfig = %+v, %v", c.VCenters, err)
	}
	configured, err := gateway.Configured(file)
	if want := (map[string]pair.VCenter{"main": {URL: "https://vc.example", Thumbprint: pin}}); err != nil || !cmp.Equal(configured, want) {
		t.Errorf("Configured = %+v, %v", configured, err)
	}
}

func TestPairedVCentersThatAreWrong(t *testing.T) {
	for name, test := range map[string]struct{ text, paired, says string }{
		"a name in both": {"[vcenters.a]\nurl = 'https://vc'\n", "[vcenters.a]\nurl = 'https://vc'\n", "pf9-gateway unpair a"},
		"no URL":         {"", "[vcenters.a]\ncontrol = true\n", "vcenters.a: url is missing"},
		"a typo":         {"", "[vcenters.a]\nurll = 'https://vc'\n", ":2: there is no setting"},
		"other settings": {"", "log_level = 'debug'\n", ":1: there is no setting"},
	} {
		t.Run(name, func(t *testing.T) {
			file, paired := withPaired(t, test.text, test.paired)
			_, err := gateway.LoadConfig(file)
			if _, ok := errors.AsType[*daemon.ConfigError](err); !ok || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), paired) {
				t.Fatalf("LoadConfig = %v, want a configuration error with %q that names %s", err, test.says, paired)
			}
			if name == "a name in both" && !strings.Contains(err.Error(), file) {
				t.Errorf("%v does not name %s", err, file)
			}
		})
	}
}

func TestWhoMayNotSeeThePairedVCentersGetsTheRest(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may see everything")
	}
	file, paired := withPaired(t, "log_level = 'debug'\n", "")
	if err := os.Chmod(paired, 0); err != nil {
		t.Fatal(err)
	}
	if c, err := gateway.LoadConfig(file); !errors.Is(err, gateway.ErrPairedHidden) || c.LogLevel != "debug" || c.Socket == "" {
		t.Errorf("LoadConfig = %+v, %v", c, err)
	}
}
