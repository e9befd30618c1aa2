// Package controlplane assembles tiers of the control plane in one process. The
// core services are not there yet; the tier of one deployment unit is.
package controlplane

import (
	"context"
	"log/slog"
	"net"

	"github.com/openpf9/openpf9/controlplane/du"
)

// Config is the configuration file of pf9-controlplane.
type Config struct {
	DU du.Config `toml:"du"`
}

// Validate checks the configuration and fills in the defaults.
func (c *Config) Validate() error { return c.DU.Validate() }

// Run serves all tiers until ctx ends. It calls ready, if not nil, with the
// deployment unit's address once that accepts hosts and clients.
func Run(ctx context.Context, c Config, version string, log *slog.Logger, ready func(net.Addr)) error {
	d, err := du.New(ctx, c.DU, version, log)
	if err != nil {
		return err
	}
	return d.Run(ctx, ready)
}
