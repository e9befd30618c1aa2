package agent

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
	"github.com/openpf9/openpf9/internal/pluginhost"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/protocol"
)

// DefaultConfig is the configuration file; drop-ins are in DefaultConfig.d.
const DefaultConfig = "/etc/pf9/hostagent.conf"

// Config is the agent's configuration file. Its zero value is good on a host.
type Config struct {
	// DU is where the deployment unit is, "https://du.acme.example"; several
	// are tried in turn. Enrolment writes it into a drop-in.
	DU []string `toml:"du"`
	// StateDir keeps the epoch and the spool; "/var/lib/pf9/hostagent".
	StateDir string `toml:"state_dir"`
	// Socket is the local API's; "/run/pf9-hostagent/agent.sock".
	Socket string `toml:"socket"`
	// EtcDir is where the host's identity is; the directory of the file.
	EtcDir string `toml:"etc_dir"`
	// LogLevel is debug, info, warn or error; "info".
	LogLevel string            `toml:"log_level"`
	Libvirt  Libvirt           `toml:"libvirt"`
	Storage  Storage           `toml:"storage"`
	Proxy    Proxy             `toml:"proxy"`
	Modules  map[string]Module `toml:"modules"`
	// PluginDir is where packages put plugins' manifests; "/usr/lib/pf9-hostagent/plugins".
	PluginDir string `toml:"plugin_dir"`
	// PluginSockets is where systemd listens for the agent; "/run/pf9-hostagent/plugins".
	PluginSockets string            `toml:"plugin_sockets"`
	Plugins       map[string]Plugin `toml:"plugins"`
}

// Libvirt says where libvirt is; empty fields mean where it usually is.
type Libvirt struct {
	Socket string `toml:"socket"`
	URI    string `toml:"uri"`
}

// Storage is what storage modules look at.
type Storage struct {
	// NetworkFilesystems also lists NFS and its like.
	NetworkFilesystems bool `toml:"network_filesystems"`
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

// LoadConfig reads a configuration file and its drop-ins, fills in the defaults
// and checks it. A missing file is an empty one.
func LoadConfig(file string) (Config, error) {
	var c Config
	if err := daemon.Load(file, &c); err != nil && !isNotExist(err) {
		return c, err
	}
	for _, d := range []struct {
		field *string
		value string
	}{
		{&c.StateDir, "/var/lib/pf9/hostagent"},
		{&c.Socket, "/run/pf9-hostagent/agent.sock"},
		{&c.EtcDir, filepath.Dir(file)},
		{&c.LogLevel, "info"},
		{&c.PluginDir, pluginhost.DefaultManifests},
		{&c.PluginSockets, pluginhost.DefaultSockets},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if err := c.validate(); err != nil {
		return c, &daemon.ConfigError{File: file, Text: err.Error()}
	}
	return c, nil
}

func (c *Config) validate() error {
	if _, err := c.level(); err != nil {
		return err
	}
	for _, du := range c.DU {
		if u, err := url.Parse(du); err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("du: %q: want https://host[:port]", du)
		}
	}
	known := moduleNames()
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
