// Package agent is the host agent: agent/core with the discovery modules of a
// KVM host and their configuration.
package agent

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/agent/libvirt"
	"github.com/openpf9/openpf9/agent/power"
	"github.com/openpf9/openpf9/agent/storage"
	"github.com/openpf9/openpf9/internal/actions"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Program is the daemon's name.
const Program = "pf9-hostagent"

// Agent is the daemon. Make it with New.
type Agent struct {
	core  *core.Core
	power *actions.Executor

	mu      sync.Mutex // guards the fields below
	config  Config     // that sources are made from
	sources sources
}

// New reads the configuration and opens the agent's state.
func New(file string) (*Agent, error) {
	a := &Agent{}
	var err error
	a.core, err = core.New(core.Options{
		Program: Program, Kind: pki.KindHost, Hypervisor: wire.HypervisorKVM, Stats: a.stats,
		Services: map[string]func(context.Context, net.Listener) error{
			wire.ServiceActions: func(ctx context.Context, l net.Listener) error {
				return core.ServeHTTP(ctx, l, a.power.Handler(), a.core.Log())
			},
		},
		Load: func() (core.Config, core.Configure, error) {
			c, err := LoadConfig(file)
			return c.Config, func(host wire.HostID) []discovery.Module { return a.configure(c, host) }, err
		},
	})
	if err != nil {
		return nil, err
	}
	c, err := LoadConfig(file)
	if err != nil {
		return nil, err
	}
	log := a.core.Log()
	a.power, err = power.New(power.Options{
		Conn: a.libvirt, Control: a.control, Journal: filepath.Join(c.StateDir, "actions.journal"), Log: log,
		Audit: func(l actions.AuditLine) {
			log.Info("action", "by", l.By, "action", l.Action, "id", l.ID, "vm", l.Target.ID, "name", l.Name, "state", l.State, "reason", l.Reason)
		},
	})
	return a, err
}

// Run is the daemon. It returns when ctx ends and everything has stopped.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		err = a.core.Run(ctx)
	})
	perr := a.power.Run(ctx)
	cancel()
	wg.Wait()
	err = errors.Join(err, perr)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sources.libvirt != nil {
		_ = a.sources.libvirt.Close()
	}
	return err
}

// configure makes anew what a change of the configuration asks for.
func (a *Agent) configure(c Config, host wire.HostID) []discovery.Module {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, first := &a.sources, a.sources.lvm == nil
	if first {
		s.lvm = &storage.LVM{}
	}
	if first || c.Libvirt.Socket != a.config.Libvirt.Socket || c.Libvirt.URI != a.config.Libvirt.URI {
		old := s.libvirt
		s.libvirt = libvirt.New(libvirt.Options{Socket: c.Libvirt.Socket, URI: c.Libvirt.URI, Log: a.core.Log()})
		if old != nil {
			_ = old.Close()
		}
	}
	if first || c.Storage != a.config.Storage {
		s.filesystems = &storage.Filesystems{Network: c.Storage.NetworkFilesystems}
	}
	a.config = c
	return s.modules(c, string(host))
}

// stats asks what the VMs use now.
func (a *Agent) stats(ctx context.Context) ([]inventory.VMStats, error) {
	return a.libvirt().Stats(ctx)
}

// libvirt returns the connection, which a reload replaces.
func (a *Agent) libvirt() *libvirt.Conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sources.libvirt
}

// control says why the deployment unit may not control VMs; nil: it may.
func (a *Agent) control() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.config.Libvirt.Control {
		return nil
	}
	return errors.New("this host lets the deployment unit look and not act: its administrator may set control in [libvirt] of hostagent.conf, and let the agent's user control libvirt")
}
