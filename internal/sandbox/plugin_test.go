package sandbox_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/hostileplugin"
	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// TestMain is also the plugin that the agent runs.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "be" {
		hostileplugin.Main(os.Args[2])
	}
	os.Exit(m.Run())
}

// manifest installs a plugin in a directory.
func manifest(t *testing.T, dir, name, kind string, command ...string) {
	t.Helper()
	words, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("name = %q\nversion = '1'\nkinds = [%q]\nexec = %s\n", name, kind, words)
	if err := os.WriteFile(filepath.Join(dir, name+".toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPlugins runs a plugin with a kind of its own, and the stock one with an
// executable of the field's, under an agent and a control plane.
func TestPlugins(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all programs")
	}
	ctx := t.Context()
	b := newBox(t)
	cp, err := b.ControlPlane(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dirs := make(map[string]string)
	for _, name := range []string{"manifests", "things", "extensions"} {
		dirs[name] = filepath.Join(b.Dir, name)
		if err := os.Mkdir(dirs[name], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"things/a": "", "things/b": "", "extensions/fetch_node_metadata": "#!/bin/sh\necho '{\"rack\": 7}'\n"} {
		if err := os.WriteFile(filepath.Join(b.Dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	manifest(t, dirs["manifests"], "good", hostileplugin.GoodKind, self, "be", "good")
	manifest(t, dirs["manifests"], "extensions", inventory.KindExtension, b.Programs.PluginExec, "--name", "extensions")
	a, err := b.Agent(ctx, cp, "agent", sandbox.AgentOptions{
		LibvirtSocket: "/nonexistent", PluginDir: dirs["manifests"],
		Settings: fmt.Sprintf("[plugins.good]\nenabled = true\nrunner = 'exec'\nconfig = { dir = %q }\n"+
			"[plugins.extensions]\nenabled = true\nrunner = 'exec'\ngrants = [%q]\nconfig = { extensions = %q }\n",
			dirs["things"], inventory.KindExtension, dirs["extensions"]),
	})
	if err != nil {
		t.Fatal(err)
	}
	things := func(want ...string) {
		t.Helper()
		eventually.Nil(t, func() error {
			found, err := cp.Client.Resources(ctx, hostileplugin.GoodKind, client.Filter{})
			if err != nil {
				return err
			}
			var ids []string
			for _, r := range found {
				ids = append(ids, r.ID)
			}
			if !slices.Equal(ids, want) {
				return fmt.Errorf("things %v, want %v\n%s", ids, want, a.Tail())
			}
			return nil
		})
	}
	things("a", "b")
	eventually.Nil(t, func() error {
		k, err := cp.Client.Kind(ctx, hostileplugin.GoodKind)
		if err != nil || len(k.Columns) != 1 || k.Columns[0].Name != "BYTES" || k.SchemaBytes == 0 || k.Invalid > 0 {
			return fmt.Errorf("the kind is %+v, %w", k, err)
		}
		return nil
	})
	if err := os.Remove(filepath.Join(dirs["things"], "a")); err != nil {
		t.Fatal(err)
	}
	things("b")
	eventually.Nil(t, func() error {
		found, err := cp.Client.Resources(ctx, inventory.KindExtension, client.Filter{})
		if err != nil || len(found) != 1 || found[0].ID != "node_metadata" {
			return fmt.Errorf("extensions %+v, %w", found, err)
		}
		plugins, err := cp.Client.Resources(ctx, inventory.KindPlugin, client.Filter{})
		if err != nil || len(plugins) != 2 || plugins[0].State != "ok" || plugins[1].State != "ok" {
			return fmt.Errorf("plugins %+v, %w", plugins, err)
		}
		hosts, err := cp.Client.Hosts(ctx)
		if err != nil || len(hosts) != 1 || hosts[0].Counts[hostileplugin.GoodKind] != 1 {
			return fmt.Errorf("hosts %+v, %w", hosts, err)
		}
		return nil
	})
	t.Run("a plugin that is not wanted any more leaves nothing", func(t *testing.T) {
		if err := os.MkdirAll(a.Config+".d", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(a.Config+".d/off.conf", []byte("[plugins.good]\nenabled = false\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		a.Signal(syscall.SIGHUP)
		things()
	})
}
