package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/internal/atomicfile"
	"github.com/openpf9/openpf9/internal/pluginhost"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// dropIn is the file that enable and disable write.
func (c *command) dropIn(name string) string {
	return filepath.Join(c.config+".d", "60-plugin-"+name+".conf")
}

// setEnabled writes the drop-in, unless the configuration says so already.
// Grants are added to those that there are.
func (c *command) setEnabled(name string, want bool, grants ...string) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	grants = append(grants, conf.Plugins[name].Grants...)
	slices.Sort(grants)
	grants = slices.Compact(grants)
	if conf.Plugins[name].Enabled == want && len(grants) == len(conf.Plugins[name].Grants) {
		return nil
	}
	file := c.dropIn(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("# By %s plugin enable and disable.\n[plugins.%q]\nenabled = %v\n", c.program.Name, name, want)
	if len(grants) > 0 {
		text += fmt.Sprintf("grants = [\"%s\"]\n", strings.Join(grants, `", "`))
	}
	if err := atomicfile.Write(file, []byte(text), 0o644); err != nil {
		return err
	}
	conf, err = c.load()
	if err == nil && conf.Plugins[name].Enabled != want {
		err = fmt.Errorf("another file in %s.d says otherwise", c.config)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// tellAgent makes a running agent read its configuration.
func (c *command) tellAgent(ctx context.Context) error {
	resp, err := c.ask(ctx, http.MethodPost, "/v1/reload")
	if err == nil {
		return resp.Body.Close()
	}
	if strings.HasPrefix(err.Error(), "no agent listens") {
		fmt.Fprintln(c.out, "no agent runs; it will know when it starts")
		return nil
	}
	return fmt.Errorf("reload the agent: %w", err)
}

// switched says whether systemd must be told, for a runner that needs it.
func switched(conf core.Config, name string) bool {
	return pluginhost.Booted() && conf.Plugins[name].Runner != pluginhost.RunnerExec
}

func pluginEnable(ctx context.Context, c *command) error {
	var grants []string
	if err := c.flags(1, "NAME", func(fs *flag.FlagSet) {
		fs.Func("grant", "a core `kind` that the plugin may list, besides its own; may be repeated", func(kind string) error {
			grants = append(grants, kind)
			return nil
		})
	}); err != nil {
		return err
	}
	name, err := c.one("plugin")
	if err != nil {
		return err
	}
	conf, err := c.load()
	if err != nil {
		return err
	}
	m, err := pluginhost.LoadManifest(conf.PluginDir, name)
	if err != nil {
		return err
	}
	for _, k := range m.Kinds {
		if inventory.IsCore(k) && !slices.Contains(grants, k) && !slices.Contains(conf.Plugins[name].Grants, k) {
			fmt.Fprintf(c.errs, "%s also lists the core kind %s, which it may not without --grant %s\n", name, k, k)
		}
	}
	if switched(conf, name) {
		if err := pluginhost.StartUnits(ctx, name); err != nil {
			return err
		}
	}
	if err := c.setEnabled(name, true, grants...); err != nil {
		return err
	}
	if err := c.tellAgent(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s %s is enabled; it may list %s\n", name, m.Version, strings.Join(m.Kinds, ", "))
	return nil
}

func pluginDisable(ctx context.Context, c *command) error {
	if err := c.flags(1, "NAME", nil); err != nil {
		return err
	}
	name, err := c.one("plugin")
	if err != nil {
		return err
	}
	if err := (&pluginhost.Settings{Name: name}).Validate(); err != nil {
		return err
	}
	if err := os.Remove(c.dropIn(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := c.setEnabled(name, false); err != nil { // another file enables it
		return err
	}
	conf, err := c.load()
	if err != nil {
		return err
	}
	err = c.tellAgent(ctx)
	if switched(conf, name) { // also if the agent does not listen to reason
		err = errors.Join(err, pluginhost.StopUnits(ctx, name))
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, name, "is disabled; what it listed is gone from the inventory")
	return nil
}

// checkPlugins looks for plugins that are enabled and cannot run.
func (c *command) checkPlugins(conf core.Config) []Finding {
	var found []Finding
	for _, name := range slices.Sorted(maps.Keys(conf.Plugins)) {
		if !conf.Plugins[name].Enabled {
			continue
		}
		f := Finding{Check: "plugin " + name, State: "ok"}
		if m, err := pluginhost.LoadManifest(conf.PluginDir, name); err != nil {
			f.State, f.Text, f.Remedy = "bad", err.Error(), "install its package, or: "+c.program.Name+" plugin disable "+name
		} else {
			f.Text = m.Version
		}
		found = append(found, f)
	}
	return found
}
