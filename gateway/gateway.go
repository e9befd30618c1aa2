// Package gateway is the appliance beside a customer's vCenters: agent/core with
// the gateway's discovery modules and configuration. Without a vCenter it
// connects and lists only itself.
package gateway

import (
	"context"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

// Program is the daemon's name.
const Program = "pf9-gateway"

// Gateway is the daemon. Make it with New.
type Gateway struct{ core *core.Core }

// New reads the configuration and opens the gateway's state.
func New(file string) (*Gateway, error) {
	c, err := core.New(core.Options{
		Program: Program, Kind: pki.KindGateway, Hypervisor: wire.HypervisorVMware,
		Load: func() (core.Config, core.Configure, error) {
			c, err := LoadConfig(file)
			return c.Config, func(id wire.HostID) []discovery.Module { return modules(c, id) }, err
		},
	})
	return &Gateway{c}, err
}

// Run is the daemon. It returns when ctx ends and everything has stopped.
func (g *Gateway) Run(ctx context.Context) error { return g.core.Run(ctx) }
