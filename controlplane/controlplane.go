// Package controlplane assembles tiers of the control plane in one process. The
// core services are not there yet; the tier of one deployment unit is.
package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/openpf9/openpf9/controlplane/du"
)

// Config is the configuration file of pf9-controlplane.
type Config struct {
	LogLevel string    `toml:"log_level"` // "debug", "info", "warn" or "error"; "info"
	DU       du.Config `toml:"du"`
}

// Validate checks the configuration and fills in the defaults.
func (c *Config) Validate() error {
	var l slog.Level
	if c.LogLevel != "" && l.UnmarshalText([]byte(c.LogLevel)) != nil {
		return fmt.Errorf("log_level: %q is not debug, info, warn or error", c.LogLevel)
	}
	if err := c.DU.Validate(); err != nil {
		return fmt.Errorf("du.%w", err)
	}
	return nil
}

// Level is the level of logging.
func (c *Config) Level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.LogLevel)) // Validate has; empty means info
	return l
}

// Run serves all tiers until ctx ends. It calls ready, if not nil, with the
// deployment unit's address once that accepts hosts and clients.
func Run(ctx context.Context, c Config, version string, log *slog.Logger, ready func(net.Addr)) error {
	d, err := du.New(ctx, c.DU, version, log)
	if err != nil {
		return err
	}
	return d.Run(ctx, ready)
}
