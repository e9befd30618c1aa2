package gateway_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/gateway"
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
	c, err := load(t, "du = ['https://du.example']\n[modules.host]\ninterval = '90s'\n"+
		"[vcenters.main]\nurl = 'https://vc.example/'\nthumbprint = '"+pin+"'\nclusters = ['gold', 'silver']\ncontrol = true\n"+
		"[vcenters.lab]\nurl = 'https://[2001:db8::1]:8443'\nca_file = '/etc/pf9/vcenter.pem'\n")
	main, lab := c.VCenters["main"], c.VCenters["lab"]
	if err != nil || time.Duration(c.Modules["host"].Interval) != 90*time.Second || len(c.VCenters) != 2 ||
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
		"unknown setting":  {"log_levell = 'info'", ":1: there is no setting"},
		"a host's setting": {"[libvirt]\nuri = 'qemu:///system'", ":1: there is no setting"},
		"unknown module":   {"[modules.libvirt]\ndisabled = true", `no module "libvirt"`},
		"odd address":      {"du = ['du.example']", "want https://"},
		"vCenter's typo":   {"[vcenters.a]\nurl = 'https://vc'\nthumbprnt = ''", ":3: there is no setting"},
		"no scheme":        {"[vcenters.a]\nurl = 'vc.example'", ":2: "},
		"no TLS":           {"[vcenters.a]\nurl = 'http://vc.example'", "want https://"},
		"a path":           {"[vcenters.a]\nurl = 'https://vc.example/sdk'", "want https://"},
		"a query":          {"[vcenters.a]\nurl = 'https://vc.example?a=b'", "want https://"},
		"a password":       {"[vcenters.a]\nurl = 'https://root:x@vc.example'", "want https://"},
		"no URL":           {"[vcenters.a]\ncontrol = true", "vcenters.a: url is missing"},
		"a SHA-1":          {"[vcenters.a]\nurl = 'https://vc'\nthumbprint = '" + strings.Repeat("ab:", 19) + "ab'", ":3: "},
		"no colons":        {"[vcenters.a]\nurl = 'https://vc'\nthumbprint = '" + strings.Repeat("ab", 32) + "'", "32 pairs"},
		"two ways":         {"[vcenters.a]\nurl = 'https://vc'\nca_file = '/x'\nthumbprint = '" + strings.Repeat("ab:", 31) + "ab'", "give one of them"},
		"half a path":      {"[vcenters.a]\nurl = 'https://vc'\nca_file = 'x.pem'", "whole path"},
		"odd name":         {"[vcenters.\"A B\"]\nurl = 'https://vc'", "lower-case letters"},
		"no cluster":       {"[vcenters.a]\nurl = 'https://vc'\nclusters = ['']", "has no name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.text)
			if _, ok := errors.AsType[*daemon.ConfigError](err); !ok || !strings.Contains(err.Error(), test.says) {
				t.Errorf("LoadConfig = %v, want a configuration error with %q", err, test.says)
			}
		})
	}
}
