// Package gateway is the appliance beside a customer's vCenters: agent/core with
// what discovers them and what acts in them. Without a vCenter it connects and
// lists only itself.
package gateway

import (
	"context"
	"net"
	"path/filepath"
	"sync"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/gateway/actions"
	"github.com/openpf9/openpf9/gateway/pair"
	actionlog "github.com/openpf9/openpf9/internal/actions"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

// Program is the daemon's name.
const Program = "pf9-gateway"

// Gateway is the daemon. Make it with New.
type Gateway struct {
	core    *core.Core
	sites   *sites
	pairing *pair.Daemon
	actions *actions.Executor
}

// New reads the configuration and opens the gateway's state.
func New(file string) (*Gateway, error) {
	first, err := LoadConfig(file)
	if err != nil {
		return nil, err
	}
	g := &Gateway{}
	g.core, err = core.New(core.Options{
		Program: Program, Kind: pki.KindGateway, Hypervisor: wire.HypervisorVMware,
		Load: func() (core.Config, core.Configure, error) {
			c, err := LoadConfig(file)
			return c.Config, func(id wire.HostID) []discovery.Module {
				return append(modules(c, id), g.sites.configure(c, id)...)
			}, err
		},
		Services: map[string]func(context.Context, net.Listener) error{
			wire.ServiceActions: func(ctx context.Context, l net.Listener) error {
				return core.ServeHTTP(ctx, l, g.actions.Handler(), g.core.Log())
			},
			wire.ServicePairing: func(ctx context.Context, l net.Listener) error {
				return core.ServeHTTP(ctx, l, g.pairing.Handler(), g.core.Log())
			},
			wire.ServiceVCenter: func(ctx context.Context, l net.Listener) error { return g.sites.serveBrokers(ctx, l) },
		},
		Routes: func() []httpapi.Route { return append(g.routes(), g.pairing.Routes()...) },
	})
	if err != nil {
		return nil, err
	}
	log := g.core.Log()
	if g.sites, err = newSites(first.StateDir, log); err != nil {
		return nil, err
	}
	g.pairing = pair.New(pair.Options{
		StateDir: first.StateDir, Vault: g.sites.vault, Log: log, Reload: g.core.Reload,
		Configured: func() (map[string]pair.VCenter, error) { return Configured(file) }, Broker: g.sites.brokerState,
	})
	g.actions, err = actions.New(actions.Options{
		Resolve: g.sites.resolve, Lost: g.sites.lost, Answering: g.sites.answering, Permit: g.sites.permit, Control: g.sites.controllable,
		Journal: filepath.Join(first.StateDir, "actions.journal"), Audit: g.audit, Log: log,
	})
	return g, err
}

// audit keeps a line of each action in the journal of the appliance.
func (g *Gateway) audit(l actionlog.AuditLine) {
	g.core.Log().Info("action", "by", l.By, "action", l.Action, "id", l.ID, "target", l.Target.ID, "name", l.Name, "state", l.State, "reason", l.Reason)
}

// Run is the daemon. It returns when ctx ends and everything has stopped.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.actions.Run(ctx); err != nil && ctx.Err() == nil {
			g.core.Log().Error("actions have ended", "err", err)
		}
	})
	wg.Go(func() { g.sites.watchPrivileges(ctx) })
	err := g.core.Run(ctx)
	cancel()
	wg.Wait()
	g.sites.close()
	return err
}
