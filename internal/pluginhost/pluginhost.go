// Package pluginhost makes installed plugins discovery modules: it brings each
// to life, talks with it in the plugin protocol, feeds what it lists to the
// mirror like any module's, and keeps its faults apart. A plugin that crashes,
// hangs, floods or lies costs nobody else anything; what it listed last stays
// in force, marked stale with the reason.
//
// Plugins are pushed deltas, not asked for lists, so they do not run under
// internal/discovery; its words and rules hold all the same.
//
// It is for the agent and the gateway. It trusts what root has installed and
// the configuration enables, and nothing that a plugin says. It does not sandbox
// plugins: their systemd units do, which it also writes.
package pluginhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/protocol"
)

// Module is the name under which the plugins themselves are listed.
const Module = "plugins"

// Sink takes what plugins discover: the mirror. One goroutine per plugin calls it.
type Sink interface {
	discovery.Sink
	// Changed hands over what differs from the module's last complete list.
	Changed(module string, kinds []string, upserts []plugin.Resource, deletes []plugin.Key)
	// Doubts says why what the module said last is not believed until it lists
	// the same again; empty: it is.
	Doubts(module string) string
}

// Settings are what the configuration says of one plugin.
type Settings struct {
	Name   string
	Runner string // RunnerSystemd if empty
	// Grants are the core kinds that it may list.
	Grants   []string
	Interval time.Duration // between lists that nothing hinted; 0 means a minute
	Limits   protocol.Limits
	Config   json.RawMessage // nil: its defaults
}

// Options are what a host needs.
type Options struct {
	Agent     string // program and version, "pf9-hostagent 0.1.0"
	Manifests string // directory; empty means DefaultManifests
	Sockets   string // directory; empty means DefaultSockets
	Sink      Sink
	Event     func(wire.Event) // takes history; may be nil
	Log       *slog.Logger     // nil discards
}

// Host runs plugins. Make it with New.
type Host struct {
	opt   Options
	log   *slog.Logger
	set   chan []Settings // the newest wish only
	board *board
	sums  sums

	// For tests, which do not wait for long.
	tune  func(*protocol.Options) // may be nil
	grace time.Duration

	mu     sync.Mutex // guards guests for Relist; only Run changes it
	guests map[string]*guest
}

// New returns a host that runs nothing yet.
func New(o Options) *Host {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Manifests == "" {
		o.Manifests = DefaultManifests
	}
	if o.Sockets == "" {
		o.Sockets = DefaultSockets
	}
	if o.Event == nil {
		o.Event = func(wire.Event) {}
	}
	return &Host{
		opt: o, log: o.Log, set: make(chan []Settings, 1), guests: make(map[string]*guest),
		board: newBoard(o.Sink),
	}
}

// Run runs the plugins until ctx ends, and returns when all of them have left or
// were killed.
func (h *Host) Run(ctx context.Context, initial []Settings) error {
	defer h.stop(h.guests)
	h.reconcile(ctx, initial)
	h.board.publish()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(h.board.wait())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case settings := <-h.set:
			h.reconcile(ctx, settings)
		case <-h.board.changed:
		case <-timer.C:
			h.board.publish()
		}
	}
}

// Set changes which plugins run. Those whose settings stay go on untouched, but
// wait no longer if they have failed: something was done about it perhaps.
func (h *Host) Set(settings []Settings) {
	for {
		select {
		case h.set <- settings:
			return
		case <-h.set: // an older wish
		}
	}
}

// Relist asks plugins for everything again, all of them if none is named, and
// starts those that wait after a failure. It does not wait.
func (h *Host) Relist() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.guests {
		select {
		case g.insist <- struct{}{}:
		default:
		}
	}
}

// reconcile makes the running set equal to the wanted one.
func (h *Host) reconcile(ctx context.Context, settings []Settings) {
	wanted := make(map[string]Settings)
	for _, s := range settings {
		wanted[s.Name] = s
	}
	ending := make(map[string]*guest)
	for name, g := range h.guests {
		if s, ok := wanted[name]; !ok || !reflect.DeepEqual(s, g.set) {
			ending[name] = g
		}
	}
	h.stop(ending)
	for name := range ending {
		if _, again := wanted[name]; !again {
			h.opt.Sink.Removed(name)
			h.board.drop(name)
		}
	}
	for name, s := range wanted {
		g := h.guests[name]
		if g == nil {
			h.start(ctx, s)
			continue
		}
		select {
		case g.retry <- struct{}{}:
		default:
		}
	}
}

func (h *Host) start(ctx context.Context, s Settings) {
	g := newGuest(h, s)
	ctx, g.cancel = context.WithCancel(ctx)
	go func() { // stop waits for it
		defer close(g.done)
		g.run(ctx)
	}()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.guests[s.Name] = g
}

// stop ends guests, all at once, and waits for them.
func (h *Host) stop(guests map[string]*guest) {
	for _, g := range guests {
		g.cancel()
	}
	for name, g := range guests {
		<-g.done
		h.mu.Lock()
		delete(h.guests, name)
		h.mu.Unlock()
	}
}

// runner returns what brings a plugin to life.
func (h *Host) runner(s Settings, m Manifest) (Runner, error) {
	switch s.Runner {
	case "", RunnerSystemd:
		unit := UnitName(s.Name)
		return Socket{Path: h.opt.Sockets + "/" + s.Name + ".sock", Unit: unit}, nil
	case RunnerExec:
		if err := trustFile(m.Exec[0]); err != nil {
			return nil, err
		}
		return Exec{Command: m.Exec, Grace: h.grace, Log: os.Stderr}, nil
	}
	return nil, fmt.Errorf("runner %q: want %s or %s", s.Runner, RunnerSystemd, RunnerExec)
}

// Validate checks what can be checked before the plugin says hello.
func (s *Settings) Validate() error {
	switch {
	case !validName(s.Name):
		return fmt.Errorf("%.80q cannot be a plugin's name", s.Name)
	case s.Runner != "" && s.Runner != RunnerSystemd && s.Runner != RunnerExec:
		return fmt.Errorf("runner: %q: want %s or %s", s.Runner, RunnerSystemd, RunnerExec)
	case s.Limits.MaxLine < 0 || s.Limits.MaxLine > protocol.MaxLine || s.Limits.MaxResources < 0 || s.Limits.MaxBytes < 0:
		return fmt.Errorf("limits: want numbers above 0, and line_bytes of at most %d", protocol.MaxLine)
	}
	for _, k := range s.Grants {
		if err := grantable(k); err != nil {
			return fmt.Errorf("grants: %w", err)
		}
	}
	if len(s.Config) > 0 && !json.Valid(s.Config) {
		return errors.New("config: it cannot be written as JSON")
	}
	return nil
}
