// Package agent is the host agent: it puts the discovery modules, the mirror of
// what they find, the history's spool, the uplink to the deployment unit and
// the local API together, and runs them as one daemon.
//
// It needs no root and starts no program, but for plugins of the runner "exec",
// which is for development. It is ready before it is connected,
// works on when the deployment unit is away, and runs locally on a host that is
// not enrolled yet.
package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/agent/host"
	"github.com/openpf9/openpf9/agent/libvirt"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/agent/spool"
	"github.com/openpf9/openpf9/agent/storage"
	"github.com/openpf9/openpf9/agent/uplink"
	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/pluginhost"
	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	loopLimit    = 2 * time.Minute // a loop that has not turned for so long hangs
	enrolledLook = 2 * time.Second // at the certificate's file while there is none
	statusEvery  = 10 * time.Second
)

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Agent is the daemon. Make it with New.
type Agent struct {
	file    string
	log     *slog.Logger
	level   *slog.LevelVar
	service *daemon.Service
	hostID  wire.HostID
	epoch   uint64
	started time.Time

	mirror  *mirror.Mirror
	spool   *spool.Spool
	runner  *discovery.Runner
	plugins *pluginhost.Host
	sampler host.Sampler

	mu       sync.Mutex // guards the fields below
	config   Config
	sources  sources
	uplink   *uplink.Uplink
	identity *enroll.Identity
	problem  error              // why there is no uplink
	redial   context.CancelFunc // ends the uplink, which begins anew; nil: there is none
}

// New reads the configuration and opens the agent's state.
func New(file string) (*Agent, error) {
	c, err := LoadConfig(file)
	if err != nil {
		return nil, err
	}
	level := &slog.LevelVar{}
	l, _ := c.level() // checked
	level.Set(l)
	a := &Agent{file: file, config: c, level: level, log: daemon.NewLogger(level), started: time.Now().UTC()}
	a.service = daemon.New(a.log)
	if a.hostID, err = enroll.HostID(enroll.PathsUnder(c.EtcDir).HostID); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.StateDir, 0o750); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	if a.epoch, err = mirror.NextEpoch(c.StateDir); a.epoch == 0 {
		return nil, err
	} else if err != nil {
		a.log.Warn("the count of starts is not kept", "err", err)
	}
	if a.spool, err = spool.Open(filepath.Join(c.StateDir, "spool"), spool.Options{}); err != nil {
		return nil, err
	}
	a.mirror = mirror.New(mirror.Options{Event: a.record, Log: a.log})
	a.runner = discovery.New(a.mirror, a.log)
	a.plugins = pluginhost.New(pluginhost.Options{
		Agent: "pf9-hostagent " + daemon.Version(), Manifests: c.PluginDir, Sockets: c.PluginSockets,
		Sink: a.mirror, Event: func(e wire.Event) { a.record("", e) }, Log: a.log,
	})
	a.sources = sources{libvirt: a.connectLibvirt(c), filesystems: &storage.Filesystems{Network: c.Storage.NetworkFilesystems}, lvm: &storage.LVM{}}
	a.problem = enroll.ErrNotEnrolled
	return a, nil
}

func (a *Agent) connectLibvirt(c Config) *libvirt.Conn {
	return libvirt.New(libvirt.Options{Socket: c.Libvirt.Socket, URI: c.Libvirt.URI, Log: a.log})
}

// record puts an entry of history into the spool.
func (a *Agent) record(_ string, e wire.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	b, err := json.Marshal(e)
	if err == nil {
		_, err = a.spool.Append(b)
	}
	if err != nil {
		a.log.Error("history not kept", "type", e.Type, "about", e.About, "err", err)
	}
}

// Run is the daemon. It returns when ctx ends and everything has stopped.
func (a *Agent) Run(ctx context.Context) error {
	l, err := localapi.Listen(a.config.Socket)
	if err != nil {
		return fmt.Errorf("local API: %w", err)
	}
	ctx, stop := daemon.Signals(ctx, func() { _ = a.Reload() })
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	api := a.api()
	var wg sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	a.mu.Lock()
	modules, plugins := a.sources.modules(a.config, string(a.hostID)), a.config.plugins()
	a.mu.Unlock()
	part("local API", func(ctx context.Context) error { return api.Serve(ctx, l) })
	part("spool", a.spool.Run)
	part("discovery", func(ctx context.Context) error { return a.runner.Run(ctx, modules) })
	part("plugins", func(ctx context.Context) error { return a.plugins.Run(ctx, plugins) })
	part("uplink", func(ctx context.Context) error { return a.connect(ctx, api) })
	part("watchdog", a.service.RunWatchdog)
	part("status", func(ctx context.Context) error { return a.report(ctx, api) })
	a.service.Ready("running")
	a.log.Info("host agent is running", "version", daemon.Version(), "host", a.hostID, "epoch", a.epoch, "socket", a.config.Socket)
	<-ctx.Done()
	a.service.Stopping()
	wg.Wait()
	_ = a.sources.libvirt.Close()
	err = errors.Join(a.spool.Close(), os.Remove(a.config.Socket))
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, err)
	}
	if isNotExist(err) {
		return nil
	}
	return err
}

// connect waits for the host's identity and keeps the uplink with it. Reload
// ends an uplink whose identity, deployment unit or proxy is not the newest.
func (a *Agent) connect(ctx context.Context, api *localapi.Agent) error {
	beat := a.service.Loop("uplink", loopLimit)
	for ctx.Err() == nil {
		beat.Tick()
		id, err := enroll.Load(enroll.PathsUnder(a.config.EtcDir))
		var fresh Config
		if err == nil {
			fresh, err = LoadConfig(a.file) // enrolment has written the address
		}
		if err == nil && len(fresh.DU) == 0 {
			err = errors.New("no deployment unit is configured: set du, or enrol again")
		}
		if err == nil {
			err = a.talk(ctx, api, id, fresh, beat) // ends early for a setting that is wrong
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		redialled := errors.Is(err, context.Canceled)
		if err == nil || redialled {
			err = errors.New("the uplink begins anew")
		}
		a.mu.Lock()
		a.uplink, a.redial, a.problem = nil, nil, err
		a.mu.Unlock()
		if redialled {
			continue
		}
		look := time.NewTimer(enrolledLook)
		select {
		case <-look.C:
		case <-ctx.Done():
			look.Stop()
		}
	}
	return ctx.Err()
}

// talk runs the uplink with an identity.
func (a *Agent) talk(ctx context.Context, api *localapi.Agent, id *enroll.Identity, c Config, beat *daemon.Beat) error {
	proxy, err := enroll.Proxy(enroll.PathsUnder(c.EtcDir).Proxy, c.Proxy.URL)
	if err != nil {
		return err
	}
	services := tunnel.NewServices()
	listener, err := services.Listen(wire.ServiceAgent)
	if err != nil {
		return err
	}
	conf := id.TLS()
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	keeper := &tunnel.Keeper{
		Endpoints: c.endpoints(),
		Dialer:    &tunnel.Dialer{TLS: conf, Proxy: proxy},
		Config:    tunnel.Config{Services: services, Keepalive: 15 * time.Second, Log: a.log},
		Log:       a.log,
	}
	up := uplink.New(uplink.Options{
		Keeper: keeper, Mirror: a.mirror, Spool: a.spool, Epoch: a.epoch, Agent: "pf9-hostagent/" + daemon.Version(),
		Kind: "kvm", Usage: a.sampler.Usage, Tick: beat.Tick, Log: a.log,
	})
	ctx, cancel := context.WithCancel(ctx)
	a.mu.Lock()
	a.uplink, a.identity, a.problem, a.redial = up, id, nil, cancel
	a.mu.Unlock()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _ = serveStreams(ctx, listener, api.Reading(), a.log) })
	wg.Go(func() { _ = id.Renew(ctx, up.Client(), a.log, keeper.Renew) })
	return up.Run(ctx)
}

// report tells systemd how the agent is.
func (a *Agent) report(ctx context.Context, api *localapi.Agent) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		st := api.Status()
		a.service.Status(st.Line())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// api is what the local API shows of the agent.
func (a *Agent) api() *localapi.Agent {
	return &localapi.Agent{
		Version: daemon.Version(), Epoch: a.epoch, Started: a.started, Mirror: a.mirror, Log: a.log,
		Host:   func() string { return string(a.hostID) },
		Resync: func() { a.runner.Relist(); a.plugins.Relist() },
		Reload: a.Reload,
		Uplink: func() uplink.State {
			a.mu.Lock()
			up, problem := a.uplink, a.problem
			a.mu.Unlock()
			if up == nil {
				return uplink.State{Problem: problem.Error(), Unsent: a.spool.Last() - min(a.spool.Acked(), a.spool.Last())}
			}
			return up.State()
		},
		Expires: func() time.Time {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.identity == nil {
				return time.Time{}
			}
			return a.identity.Certificate().NotAfter
		},
		Stats: func(ctx context.Context) ([]inventory.VMStats, error) {
			a.mu.Lock()
			conn := a.sources.libvirt
			a.mu.Unlock()
			return conn.Stats(ctx)
		},
	}
}

// Reload reads the configuration again and restarts only the modules whose
// settings changed, and the uplink if the host was enrolled anew. A
// configuration with a mistake changes nothing.
func (a *Agent) Reload() error {
	a.service.Reloading()
	defer a.service.Reloaded()
	c, err := LoadConfig(a.file)
	if err != nil {
		a.log.Error("the configuration has a mistake, nothing changes", "err", err)
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.config
	if c.Libvirt != old.Libvirt {
		conn := a.sources.libvirt
		a.sources.libvirt = a.connectLibvirt(c)
		_ = conn.Close()
	}
	if c.Storage != old.Storage {
		a.sources.filesystems = &storage.Filesystems{Network: c.Storage.NetworkFilesystems}
	}
	if a.redial != nil && (fmt.Sprint(c.DU, c.Proxy) != fmt.Sprint(old.DU, old.Proxy) || a.enrolledAnew()) {
		a.redial()
	}
	l, _ := c.level() // checked
	a.level.Set(l)
	a.config = c
	a.runner.Set(a.sources.modules(c, string(a.hostID)))
	a.plugins.Set(c.plugins())
	note := ""
	if c.StateDir != old.StateDir || c.Socket != old.Socket || c.EtcDir != old.EtcDir ||
		c.PluginDir != old.PluginDir || c.PluginSockets != old.PluginSockets {
		note = "state_dir, socket, etc_dir, plugin_dir and plugin_sockets take effect with the next start"
	}
	a.log.Info("configuration read again", "note", note)
	return nil
}

// enrolledAnew says whether the certificate on disk is another than the
// uplink's. Callers hold mu.
func (a *Agent) enrolledAnew() bool {
	id, err := enroll.Load(enroll.PathsUnder(a.config.EtcDir))
	return err == nil && !id.Certificate().Equal(a.identity.Certificate())
}
