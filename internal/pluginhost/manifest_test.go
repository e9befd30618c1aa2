package pluginhost

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

const acme = `name = "acme"
version = "1.2.0"
description = "LUNs of an array"
kinds = ["com.acme.lun", "storage.device"]
exec = ["/usr/libexec/pf9-hostagent/acme", "--array", "a b"]

[needs]
network = "yes"
addresses = ["192.0.2.0/24"]
paths = ["/home/acme/key"]
sockets = ["/run/acme.sock"]
devices = ["/dev/acme0 rw", "char-acme"]
groups = ["acme"]

[budget]
memory = "128M"
`

// installed writes a manifest into a directory that only its owner can change.
func installed(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "acme.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestManifestIsRead(t *testing.T) {
	m, err := LoadManifest(installed(t, acme), "acme")
	if err != nil || m.Version != "1.2.0" || m.Protocol != 1 || len(m.Kinds) != 2 || len(m.SHA256) != 64 {
		t.Errorf("LoadManifest = %+v, %v", m, err)
	}
}

func TestManifestRefusesMistakes(t *testing.T) {
	for name, test := range map[string]struct{ old, fresh, says string }{
		"unknown setting":  {"version =", "verison =", ":2: there is no setting"},
		"another's name":   {`"acme"`, `"emca"`, "want the file's"},
		"no kinds":         {`kinds = ["com.acme.lun", "storage.device"]`, "", "want 1 to 64"},
		"the agent's kind": {"storage.device", "agent.kind", "cannot be a plugin's"},
		"odd kind":         {"com.acme.lun", "LUN", "cannot be a plugin's"},
		"relative program": {"/usr/libexec", "usr/libexec", "whole path"},
		"odd program":      {"/usr/libexec", "/usr/lib exec", "without spaces"},
		"unit injection":   {`a b`, `a\nExecStartPost=/bin/evil`, "control characters"},
		"odd network":      {`"yes"`, `"full"`, "none, local or yes"},
		"odd address":      {"192.0.2.0/24", "array.example", "want an address"},
		"odd path":         {"/home/acme/key", "home:x", "whole path"},
		"odd device":       {"/dev/acme0 rw", "/etc/shadow rw", "want a device node"},
		"device above":     {"/dev/acme0 rw", "/dev/../etc/shadow", "want a device node"},
		"odd device mode":  {"acme0 rw", "acme0 rwm", "want a device node"},
		"odd memory":       {"128M", "lots", "such as 64M"},
		"old protocol":     {`version = "1.2.0"`, "protocol = -1", "upgrade the plugin"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(acme, test.old, test.fresh, 1)
			if _, err := LoadManifest(installed(t, text), "acme"); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("LoadManifest = %v, want an error with %q", err, test.says)
			}
		})
	}
}

func TestManifestMustBeTheAdministrators(t *testing.T) {
	check := func(t *testing.T, dir, says string) {
		t.Helper()
		if _, err := LoadManifest(dir, "acme"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("LoadManifest = %v, want an error with %q", err, says)
		}
	}
	t.Run("file", func(t *testing.T) {
		dir := installed(t, acme)
		if err := os.Chmod(filepath.Join(dir, "acme.toml"), 0o664); err != nil {
			t.Fatal(err)
		}
		check(t, dir, "chmod go-w")
	})
	t.Run("directory", func(t *testing.T) {
		dir := installed(t, acme)
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		check(t, dir, "chmod go-w")
	})
	t.Run("link", func(t *testing.T) {
		dir := installed(t, acme)
		file := filepath.Join(dir, "acme.toml")
		if err := os.Rename(file, file+".x"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(file+".x", file); err != nil {
			t.Fatal(err)
		}
		check(t, dir, "symbolic links")
	})
	t.Run("owner", func(t *testing.T) {
		dir := installed(t, acme)
		if err := os.Chown(filepath.Join(dir, "acme.toml"), 65534, -1); err != nil {
			t.Skip("only root can give files away")
		}
		check(t, dir, "must belong to root")
	})
}

func TestUnits(t *testing.T) {
	m, err := LoadManifest(installed(t, acme), "acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range Units(m) {
		golden(t, filepath.Join("testdata", u.Name), u.Text)
	}
}

// golden holds a text to a file, or writes the file anew.
func golden(t *testing.T, file, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), text); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

// The stock plugin's units are shipped as files. They are what its manifest says.
func TestStockUnits(t *testing.T) {
	linux := filepath.Join("..", "..", "packaging", "linux")
	m, err := ReadManifest(filepath.Join(linux, "plugins", "extensions.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range Units(m) {
		golden(t, filepath.Join(linux, u.Name), u.Text)
	}
}

func TestUnitsAreConfined(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	const needs = `network = "yes"
addresses = ["192.0.2.0/24"]
paths = ["/home/acme/key"]
sockets = ["/run/acme.sock"]
devices = ["/dev/acme0 rw", "char-acme"]
`
	for name, other := range map[string]string{
		"no network": "", "this host's network": `network = "local"`, "the network": `network = "yes"`, "devices": `devices = ["/dev/acme0 rw"]`,
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(acme, needs, other+"\n", 1)
			m, err := LoadManifest(installed(t, text), "acme")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "acme@1.service")
			if err := os.WriteFile(file, []byte(Units(m)[1].Text), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, analyze, "security", "--offline=true", "--no-pager", "--threshold=35", file).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			t.Log(lines[len(lines)-1])
		})
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(acme)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseManifest("x", strings.NewReader(text))
		if err != nil {
			return
		}
		for _, u := range Units(m) {
			if strings.Count(u.Text, "\nExecStart") > 1 || strings.Count(u.Text, "[Service]") > 1 {
				t.Errorf("a manifest makes a unit do more:\n%s", u.Text)
			}
		}
	})
}
