package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/internal/pluginhost"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const pluginUsage = `usage: %s plugin COMMAND [flags]

  list                    the plugins that are installed or enabled
  show NAME               one plugin: what it may do, and how it fares
  check BINARY [ARG...]   hold a plugin to the protocol, rule by rule
  run BINARY [ARG...]     start a plugin and show what it lists, then changes
  attach SOCKET           the same with a plugin that listens on a Unix socket
                          or, if nobody does, connects to it
  enable NAME             let the agent run an installed plugin
  disable NAME            undo that
  logs NAME [ARG...]      what a plugin has logged, by journalctl
  units MANIFEST          the systemd units of a plugin
  new NAME                write a plugin to begin with, in Go or Python
`

// pluginCommands are the subcommands of plugin. A further one is a line here
// and in pluginUsage.
var pluginCommands = map[string]func(context.Context, *command) error{
	"list":    pluginList,
	"show":    pluginShow,
	"check":   pluginCheck,
	"run":     pluginRun,
	"attach":  pluginAttach,
	"enable":  pluginEnable,
	"disable": pluginDisable,
	"logs":    pluginLogs,
	"units":   pluginUnits,
	"new":     pluginNew,
}

func pluginCommand(ctx context.Context, c *command) error {
	if len(c.args) == 0 || slices.Contains([]string{"help", "-h", "-help", "--help"}, c.args[0]) {
		fmt.Fprintf(c.out, pluginUsage, c.program.Name)
		return nil
	}
	name := c.args[0]
	f, ok := pluginCommands[name]
	if !ok {
		fmt.Fprintf(c.errs, "%s plugin: there is no command %q\n\n", c.program.Name, name)
		fmt.Fprintf(c.errs, pluginUsage, c.program.Name)
		return ErrUsage
	}
	c.name, c.args = "plugin "+name, c.args[1:]
	return f(ctx, c)
}

// one wants exactly one argument.
func (c *command) one(what string) (string, error) {
	if len(c.args) != 1 {
		fmt.Fprintf(c.errs, "%s %s: want one %s\n", c.program.Name, c.name, what)
		return "", ErrUsage
	}
	return c.args[0], nil
}

// pluginInfo is what list and show tell of a plugin.
type pluginInfo struct {
	Name     string               `json:"name"`
	Enabled  bool                 `json:"enabled"`
	Manifest *pluginhost.Manifest `json:"manifest,omitempty"`
	Problem  string               `json:"problem,omitempty"` // of the manifest
	Running  *inventory.Plugin    `json:"running,omitempty"` // in the agent's eyes
}

// plugins gathers what is known of all plugins.
func (c *command) plugins(ctx context.Context) ([]pluginInfo, error) {
	conf, err := c.load()
	if err != nil {
		return nil, err
	}
	all := make(map[string]*pluginInfo)
	of := func(name string) *pluginInfo {
		if all[name] == nil {
			all[name] = &pluginInfo{Name: name}
		}
		return all[name]
	}
	installed, err := pluginhost.Installed(conf.PluginDir)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Concat(installed, slices.Collect(maps.Keys(conf.Plugins))) {
		p := of(name)
		p.Enabled = conf.Plugins[name].Enabled
		m, err := pluginhost.LoadManifest(conf.PluginDir, name)
		p.Manifest, p.Problem = &m, ""
		if err != nil {
			p.Manifest, p.Problem = nil, err.Error()
		}
	}
	var running localapi.Resources
	if err := c.fetch(ctx, "/v1/resources?kind="+url.QueryEscape(inventory.KindPlugin), &running); err == nil {
		for _, r := range running.Items { // else no agent runs
			var p inventory.Plugin
			if json.Unmarshal(r.Spec, &p) == nil {
				of(r.ID).Running = &p
			}
		}
	}
	out := make([]pluginInfo, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, *all[name])
	}
	return out, nil
}

func pluginList(ctx context.Context, c *command) error {
	var format *string
	if err := c.flags(0, "", func(fs *flag.FlagSet) { format = output(fs) }); err != nil {
		return err
	}
	all, err := c.plugins(ctx)
	if err != nil {
		return err
	}
	if *format == "json" {
		return c.json(all)
	}
	rows := [][]string{{"NAME", "VERSION", "ENABLED", "STATE", "RESOURCES", "REASON"}}
	for _, p := range all {
		rows = append(rows, p.row())
	}
	return c.table(rows)
}

func (p *pluginInfo) row() []string {
	version, state, count, reason := "", "-", "", p.Problem
	if p.Manifest != nil {
		version = p.Manifest.Version
	}
	if r := p.Running; r != nil {
		state, count = r.State, fmt.Sprint(r.Resources)
		if r.Version != "" {
			version = r.Version
		}
		if r.Reason != "" {
			reason = r.Reason
		}
	}
	return []string{p.Name, version, map[bool]string{true: "yes", false: "no"}[p.Enabled], state, count, reason}
}

func pluginShow(ctx context.Context, c *command) error {
	var format *string
	if err := c.flags(1, "NAME", func(fs *flag.FlagSet) { format = Output(fs, "text", "json") }); err != nil {
		return err
	}
	name, err := c.one("plugin")
	if err != nil {
		return err
	}
	all, err := c.plugins(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(p pluginInfo) bool { return p.Name == name })
	if i < 0 {
		return fmt.Errorf("there is no plugin %s; %s plugin list shows what there is", name, c.program.Name)
	}
	if *format == "json" {
		return c.json(all[i])
	}
	return c.table(all[i].rows())
}

// rows show one plugin in words.
func (p *pluginInfo) rows() [][]string {
	row := p.row()
	rows := [][]string{{"name", p.Name}, {"version", row[1]}, {"enabled", row[2]}, {"state", row[3]}}
	add := func(what, text string) {
		if text != "" {
			rows = append(rows, []string{what, text})
		}
	}
	add("reason", row[5])
	if r := p.Running; r != nil {
		add("since", r.Since.Format("2006-01-02T15:04:05Z07:00"))
		add("resources", row[4])
		add("kinds", strings.Join(r.Kinds, ", "))
		add("restarts", fmt.Sprint(r.Restarts))
		add("runner", r.Runner)
		add("sdk", r.SDK)
		add("program's sha256", r.BinarySHA256)
		add("manifest's sha256", r.ManifestSHA256)
	}
	if m := p.Manifest; m != nil {
		add("description", m.Description)
		add("program", strings.Join(m.Exec, " "))
		add("may list", strings.Join(m.Kinds, ", "))
		add("network", map[bool]string{true: "none", false: m.Needs.Network}[m.Needs.Network == ""])
		add("reads", strings.Join(m.Needs.Paths, ", "))
		add("connects to", strings.Join(m.Needs.Sockets, ", "))
		add("opens", strings.Join(m.Needs.Devices, ", "))
	}
	return rows
}

func pluginLogs(_ context.Context, c *command) error {
	if len(c.args) == 0 {
		_, err := c.one("plugin")
		return err
	}
	return pluginhost.ShowLogs(c.args[0], c.args[1:]...)
}

func pluginUnits(_ context.Context, c *command) error {
	dir := ""
	if err := c.flags(1, "MANIFEST", func(fs *flag.FlagSet) {
		fs.StringVar(&dir, "dir", "", "write the units into this `directory` instead of printing them")
	}); err != nil {
		return err
	}
	file, err := c.one("manifest")
	if err != nil {
		return err
	}
	m, err := pluginhost.ReadManifest(file)
	if err != nil {
		return err
	}
	for _, u := range pluginhost.Units(m) {
		if dir == "" {
			fmt.Fprintf(c.out, "# %s\n%s\n", u.Name, u.Text)
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, u.Name), []byte(u.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
