package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/agent"
	"github.com/openpf9/openpf9/internal/daemon"
)

func load(t *testing.T, text string) (agent.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hostagent.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return agent.LoadConfig(file)
}

func TestConfigDefaultsAreGoodOnAHost(t *testing.T) {
	c, err := agent.LoadConfig(filepath.Join(t.TempDir(), "none.conf"))
	if err != nil || c.StateDir != "/var/lib/pf9/hostagent" || c.Socket == "" || c.LogLevel != "info" || c.EtcDir == "" {
		t.Errorf("LoadConfig = %+v, %v", c, err)
	}
}

func TestConfigIsRead(t *testing.T) {
	c, err := load(t, "du = ['https://du.example']\n[modules.libvirt]\ninterval = '90s'\n[modules.lvm]\ndisabled = true\n")
	if err != nil || time.Duration(c.Modules["libvirt"].Interval) != 90*time.Second || !c.Modules["lvm"].Disabled {
		t.Errorf("LoadConfig = %+v, %v", c, err)
	}
}

func TestConfigRefusesMistakes(t *testing.T) {
	for name, test := range map[string]struct{ text, says string }{
		"unknown setting": {"log_levell = 'info'", ":1: there is no setting"},
		"unknown module":  {"[modules.libvrt]\ndisabled = true", `no module "libvrt"`},
		"odd level":       {"log_level = 'loud'", "log_level"},
		"odd address":     {"du = ['du.example']", "want https://"},
		"odd interval":    {"[modules.lvm]\ninterval = '5 min'", ":2: "},
		"plugin's typo":   {"[plugins.acme]\nenabeld = true", ":2: there is no setting"},
		"plugin's name":   {"[plugins.Acme]\nenabled = true", "cannot be a plugin's name"},
		"module's name":   {"[plugins.lvm]\nenabled = true", "the name of a module"},
		"odd runner":      {"[plugins.acme]\nrunner = 'fork'", "want systemd or exec"},
		"odd grant":       {"[plugins.acme]\ngrants = ['com.acme.lun']", "only core kinds need a grant"},
		"forbidden grant": {"[plugins.acme]\ngrants = ['agent.kind']", "cannot be granted"},
		"odd limits":      {"[plugins.acme]\nlimits = { bytes = -1 }", "limits"},
		"tiny interval":   {"[modules.lvm]\ninterval = '1ms'", "at least 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.text)
			if _, ok := errors.AsType[*daemon.ConfigError](err); !ok || !strings.Contains(err.Error(), test.says) {
				t.Errorf("LoadConfig = %v, want a configuration error with %q", err, test.says)
			}
		})
	}
}
