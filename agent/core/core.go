// Package core is what the host agent and the gateway have in common: it puts
// discovery modules, the mirror of what they find, the history's spool, the
// plugins, the uplink to the deployment unit and the local API together, and
// runs them as one daemon. Which modules there are, and what else people and the
// deployment unit may ask, each daemon says in [Options].
//
// It needs no root and starts no program, but for plugins of the runner "exec",
// which is for development. It is ready before it is connected,
// works on when the deployment unit is away, and runs locally on a machine that
// is not enrolled yet.
package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/agent/host"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/agent/spool"
	"github.com/openpf9/openpf9/agent/uplink"
	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pluginhost"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const statusEvery = 10 * time.Second

// Options are what is particular to a daemon. Stats, Services and Routes may be
// left out.
type Options struct {
	Program    string // "pf9-hostagent"
	Kind       string // whose certificate it must hold: pki.KindHost or pki.KindGateway
	Hypervisor string // wire.HypervisorKVM or wire.HypervisorVMware
	// Load reads the configuration file and checks it. It may be called by
	// several goroutines.
	Load func() (Config, Configure, error)
	// Stats asks what the VMs use now.
	Stats func(context.Context) ([]inventory.VMStats, error)
	// Services are what the deployment unit may dial besides the agent's API, by
	// name. Each answers its listener until ctx ends; see [ServeHTTP].
	Services map[string]func(ctx context.Context, l net.Listener) error
	// Routes returns more of the local API, for this machine only. It is asked
	// when the daemon runs.
	Routes func() []httpapi.Route
}

// Configure puts in force what a configuration says besides [Config] and returns
// all modules that it asks for, the disabled ones too. It is called when the
// daemon starts and at each reload, by one goroutine at a time.
type Configure func(host wire.HostID) []discovery.Module

// Core is the daemon. Make it with New.
type Core struct {
	o       Options
	log     *slog.Logger
	level   *slog.LevelVar
	service *daemon.Service
	hostID  wire.HostID
	epoch   uint64
	started time.Time
	socket  string       // of the local API, until the next start
	paths   enroll.Paths // likewise

	mirror  *mirror.Mirror
	spool   *spool.Spool
	runner  *discovery.Runner
	plugins *pluginhost.Host
	sampler host.Sampler

	mu        sync.Mutex // guards the fields below
	config    Config
	configure Configure // until Run
	uplink    *uplink.Uplink
	identity  *enroll.Identity
	problem   error              // why there is no uplink
	redial    context.CancelFunc // ends the uplink, which begins anew; nil: there is none
}

// New reads the configuration and opens the daemon's state.
func New(o Options) (*Core, error) {
	if o.Routes == nil {
		o.Routes = func() []httpapi.Route { return nil }
	}
	conf, configure, err := o.Load()
	if err != nil {
		return nil, err
	}
	level := &slog.LevelVar{}
	l, _ := conf.level() // checked
	level.Set(l)
	c := &Core{o: o, config: conf, configure: configure, level: level, log: daemon.NewLogger(level), started: time.Now().UTC()}
	c.socket, c.paths = conf.Socket, enroll.PathsUnder(conf.EtcDir)
	c.service = daemon.New(c.log)
	if c.hostID, err = enroll.HostID(c.paths.HostID); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(conf.StateDir, 0o750); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	if c.epoch, err = mirror.NextEpoch(conf.StateDir); c.epoch == 0 {
		return nil, err
	} else if err != nil {
		c.log.Warn("the count of starts is not kept", "err", err)
	}
	if c.spool, err = spool.Open(filepath.Join(conf.StateDir, "spool"), spool.Options{}); err != nil {
		return nil, err
	}
	c.mirror = mirror.New(mirror.Options{Event: c.record, Log: c.log})
	c.runner = discovery.New(c.mirror, c.log)
	c.plugins = pluginhost.New(pluginhost.Options{
		Agent: o.Program + " " + daemon.Version(), Manifests: conf.PluginDir, Sockets: conf.PluginSockets,
		Sink: c.mirror, Event: func(e wire.Event) { c.record("", e) }, Log: c.log,
	})
	c.problem = c.notEnrolled(enroll.ErrNotEnrolled)
	return c, nil
}

// Log is the daemon's logger, whose level follows the configuration.
func (c *Core) Log() *slog.Logger { return c.log }

// record puts an entry of history into the spool.
func (c *Core) record(_ string, e wire.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	b, err := json.Marshal(e)
	if err == nil {
		_, err = c.spool.Append(b)
	}
	if err != nil {
		c.log.Error("history not kept", "type", e.Type, "about", e.About, "err", err)
	}
}

// Run is the daemon. It returns when ctx ends and everything has stopped.
func (c *Core) Run(ctx context.Context) error {
	l, err := localapi.Listen(c.socket)
	if err != nil {
		return fmt.Errorf("local API: %w", err)
	}
	c.mu.Lock()
	modules, plugins := c.config.running(c.configure(c.hostID)), c.config.plugins()
	c.mu.Unlock()
	ctx, stop := daemon.Signals(ctx, func() { _ = c.Reload() })
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	api := c.api()
	var wg sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	part("local API", func(ctx context.Context) error { return api.Serve(ctx, l) })
	part("spool", c.spool.Run)
	part("discovery", func(ctx context.Context) error { return c.runner.Run(ctx, modules) })
	part("plugins", func(ctx context.Context) error { return c.plugins.Run(ctx, plugins) })
	part("uplink", func(ctx context.Context) error { return c.connect(ctx, api) })
	part("watchdog", c.service.RunWatchdog)
	part("status", func(ctx context.Context) error { return c.report(ctx, api) })
	c.service.Ready("running")
	c.log.Info("running", "program", c.o.Program, "version", daemon.Version(), "host", c.hostID, "epoch", c.epoch, "socket", c.socket)
	<-ctx.Done()
	c.service.Stopping()
	wg.Wait()
	err = errors.Join(c.spool.Close(), os.Remove(c.socket))
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// report tells systemd how the daemon is.
func (c *Core) report(ctx context.Context, api *localapi.Agent) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		st := api.Status()
		c.service.Status(st.Line())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// api is what the local API shows of the daemon.
func (c *Core) api() *localapi.Agent {
	return &localapi.Agent{
		Program: c.o.Program, Version: daemon.Version(), Epoch: c.epoch, Started: c.started, Mirror: c.mirror, Log: c.log,
		Host:   func() string { return string(c.hostID) },
		Resync: func() { c.runner.Relist(); c.plugins.Relist() },
		Reload: c.Reload,
		Uplink: func() uplink.State {
			c.mu.Lock()
			up, problem := c.uplink, c.problem
			c.mu.Unlock()
			if up == nil {
				return uplink.State{Problem: problem.Error(), Unsent: c.spool.Last() - min(c.spool.Acked(), c.spool.Last())}
			}
			return up.State()
		},
		Expires: func() time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.identity == nil {
				return time.Time{}
			}
			return c.identity.Certificate().NotAfter
		},
		Stats: c.o.Stats, Routes: c.o.Routes(),
	}
}

// Reload reads the configuration again and restarts only the modules whose
// settings changed, and the uplink if the machine was enrolled anew or has not the
// uplink's address any more. A configuration with a mistake changes nothing.
func (c *Core) Reload() error {
	c.service.Reloading()
	defer c.service.Reloaded()
	conf, configure, err := c.o.Load()
	if err != nil {
		c.log.Error("the configuration has a mistake, nothing changes", "err", err)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.config
	modules := configure(c.hostID)
	if c.redial != nil && (fmt.Sprint(conf.DU, conf.Proxy) != fmt.Sprint(old.DU, old.Proxy) || c.enrolledAnew() || c.uplink.Stranded()) {
		c.redial()
	}
	l, _ := conf.level() // checked
	c.level.Set(l)
	c.config = conf
	c.runner.Set(conf.running(modules))
	c.plugins.Set(conf.plugins())
	note := ""
	if conf.StateDir != old.StateDir || conf.Socket != old.Socket || conf.EtcDir != old.EtcDir ||
		conf.PluginDir != old.PluginDir || conf.PluginSockets != old.PluginSockets {
		note = "state_dir, socket, etc_dir, plugin_dir and plugin_sockets take effect with the next start"
	}
	c.log.Info("configuration read again", "note", note)
	return nil
}
