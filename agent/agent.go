// Package agent is the host agent: agent/core with the discovery modules of a
// KVM host and their configuration.
package agent

import (
	"context"
	"sync"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/agent/libvirt"
	"github.com/openpf9/openpf9/agent/storage"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Program is the daemon's name.
const Program = "pf9-hostagent"

// Agent is the daemon. Make it with New.
type Agent struct {
	core *core.Core

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
		Load: func() (core.Config, core.Configure, error) {
			c, err := LoadConfig(file)
			return c.Config, func(host wire.HostID) []discovery.Module { return a.configure(c, host) }, err
		},
	})
	return a, err
}

// Run is the daemon. It returns when ctx ends and everything has stopped.
func (a *Agent) Run(ctx context.Context) error {
	err := a.core.Run(ctx)
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
	if first || c.Libvirt != a.config.Libvirt {
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
	a.mu.Lock()
	conn := a.sources.libvirt
	a.mu.Unlock()
	return conn.Stats(ctx)
}
