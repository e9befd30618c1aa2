package core

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/pluginhost"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/protocol"
)

// Config is what the configuration files of all daemons have in common; each
// embeds it in its own. Its zero value is good.
type Config struct {
	// DU is where the deployment unit is, "https://du.acme.example"; several
	// are tried in turn. Enrolment writes it into a drop-in.
	DU []string `toml:"du"`
	// StateDir keeps the epoch and the spool; "/var/lib/pf9/hostagent".
	StateDir string `toml:"state_dir"`
	// Socket is the local API's; "/run/pf9-hostagent/agent.sock".
	Socket string `toml:"socket"`
	// EtcDir is where the identity is; the directory of the file.
	EtcDir string `toml:"etc_dir"`
	// LogLevel is debug, info, warn or error; "info".
	LogLevel string            `toml:"log_level"`
	Proxy    Proxy             `toml:"proxy"`
	Modules  map[string]Module `toml:"modules"`
	// PluginDir is where packages put plugins' manifests; "/usr/lib/pf9-hostagent/plugins".
	PluginDir string `toml:"plugin_dir"`
	// PluginSockets is where systemd listens for the daemon; "/run/pf9-hostagent/plugins".
	PluginSockets string            `toml:"plugin_sockets"`
	Plugins       map[string]Plugin `toml:"plugins"`
}

// Proxy is the HTTP proxy to the deployment unit.
type Proxy struct {
	// URL is "http://user:password@proxy:3128"; it takes the place of
	// comms_proxy_cfg.json.
	URL string `toml:"url"`
}

// Module changes how one discovery module runs.
type Module struct {
	Disabled bool     `toml:"disabled"`
	Interval Duration `toml:"interval"` // between lists while nothing is hinted
}

// Plugin enables an installed plugin and says what it may do.
type Plugin struct {
	Enabled bool `toml:"enabled"`
	// Runner is "systemd", or "exec" where there is none: for development.
	Runner string `toml:"runner"`
	// Grants are the core kinds that the plugin may list, besides its own.
	Grants   []string `toml:"grants"`
	Interval Duration `toml:"interval"` // between lists while nothing is hinted; 1m
	Limits   Limits   `toml:"limits"`
	// Config is the plugin's own; it is held to the plugin's schema.
	Config map[string]any `toml:"config"`
}

// Limits bound what a plugin may cost the agent; 0 means the default.
type Limits struct {
	Resources int `toml:"resources"`  // in force; 10,000
	Bytes     int `toml:"bytes"`      // of all resources together; 2 MiB
	LineBytes int `toml:"line_bytes"` // of one line; 4 MiB
}

// Duration is written as "90s" or "5m".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err == nil && v < time.Second {
		err = errors.New("want at least 1s")
	}
	*d = Duration(v)
	return err
}

// MarshalText writes a duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// ConfigFile is where a program's configuration is, "/etc/pf9/hostagent.conf";
// drop-ins are in the directory of that name with ".d".
func ConfigFile(program string) string { return "/etc/pf9/" + short(program) + ".conf" }

func short(program string) string { return strings.TrimPrefix(program, "pf9-") }

// Complete fills in the defaults of a program whose file this is of, and checks
// the settings. modules are all that the program has. The error is a
// *daemon.ConfigError.
func (c *Config) Complete(file, program string, modules []discovery.Module) error {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&c.StateDir, "/var/lib/pf9/" + short(program)},
		{&c.Socket, "/run/" + program + "/agent.sock"},
		{&c.EtcDir, filepath.Dir(file)},
		{&c.LogLevel, "info"},
		{&c.PluginDir, pluginhost.DefaultManifests},
		{&c.PluginSockets, pluginhost.DefaultSockets},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if err := c.validate(modules); err != nil {
		return &daemon.ConfigError{File: file, Text: err.Error()}
	}
	return nil
}

func (c *Config) validate(modules []discovery.Module) error {
	if _, err := c.level(); err != nil {
		return err
	}
	for _, du := range c.DU {
		if u, err := url.Parse(du); err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("du: %q: want https://host[:port]", du)
		}
	}
	known := make(map[string]bool)
	for _, m := range modules {
		known[m.Name] = true
	}
	for name := range c.Modules {
		if !known[name] {
			return fmt.Errorf("modules: there is no module %q", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		if known[name] || name == pluginhost.Module {
			return fmt.Errorf("plugins.%s: this is the name of a module of the agent", name)
		}
		s, err := c.Plugins[name].settings(name)
		if err == nil {
			err = s.Validate()
		}
		if err != nil {
			return fmt.Errorf("plugins.%s: %w", name, err)
		}
	}
	return nil
}

// running returns the modules that are not disabled, as they are to run.
func (c *Config) running(all []discovery.Module) []discovery.Module {
	running := make([]discovery.Module, 0, len(all))
	for _, m := range all {
		own := c.Modules[m.Name]
		if own.Disabled {
			continue
		}
		if own.Interval > 0 {
			m.Interval = time.Duration(own.Interval)
		}
		m.Config = fmt.Sprint(m.Config, own) // what a reload compares
		running = append(running, m)
	}
	return running
}

// plugins returns how to run the plugins that are enabled.
func (c *Config) plugins() []pluginhost.Settings {
	var all []pluginhost.Settings
	for name, p := range c.Plugins {
		if s, err := p.settings(name); err == nil && p.Enabled { // validate has checked
			all = append(all, s)
		}
	}
	return all
}

func (p Plugin) settings(name string) (pluginhost.Settings, error) {
	s := pluginhost.Settings{
		Name: name, Runner: p.Runner, Grants: p.Grants, Interval: time.Duration(p.Interval),
		Limits: protocol.Limits{MaxLine: p.Limits.LineBytes, MaxResources: p.Limits.Resources, MaxBytes: p.Limits.Bytes},
	}
	if len(p.Config) == 0 {
		return s, nil
	}
	var err error
	if s.Config, err = json.Marshal(p.Config); err != nil {
		return s, fmt.Errorf("config: %w", err)
	}
	return s, nil
}

func (c *Config) level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return l, fmt.Errorf("log_level: %q: want debug, info, warn or error", c.LogLevel)
	}
	return l, nil
}

// endpoints are the URLs of the deployment unit's tunnel server.
func (c *Config) endpoints() []string {
	out := make([]string, 0, len(c.DU))
	for _, du := range c.DU {
		out = append(out, "wss"+strings.TrimSuffix(strings.TrimPrefix(du, "https"), "/")+wire.TunnelPath)
	}
	return out
}
