package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/wire"
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
	return nil
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
