package pluginhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/protocol"
)

const (
	firstBackOff    = time.Second
	lastBackOff     = 5 * time.Minute
	healthyFor      = time.Minute // after which old failures are forgotten
	givenUpAfter    = 10          // failures in a row,
	givenUpBackOff  = 30 * time.Minute
	defaultInterval = time.Minute
	mostKnown       = 4 * protocol.MaxHelloKinds // kinds that are remembered of one plugin
)

// guest is one plugin's life: connected, or waiting to be.
type guest struct {
	host   *Host
	set    Settings
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned
	insist chan struct{} // has one when a person wants news now
	doubts chan struct{} // has one when the sink does not believe the last list
	retry  chan struct{} // has one when the cause of a failure may be gone

	// Of run's goroutine, on which a session calls back, too.
	status   wire.SourceStatus
	told     wire.SourceStatus // to the sink, last
	report   inventory.Plugin
	known    []string // kinds that it may have listed since the agent's start
	hello    protocol.Hello
	trouble  string    // why there is no session with a list; empty: there is
	complain string    // what the plugin itself says is wrong
	givenUp  bool      // it failed too often in a row
	well     time.Time // when this session's first list came; zero: it did not yet
	events   events
}

func newGuest(h *Host, s Settings) *guest {
	if s.Runner == "" {
		s.Runner = RunnerSystemd
	}
	g := &guest{
		host: h, set: s, log: h.log.With("plugin", s.Name),
		done: make(chan struct{}), insist: make(chan struct{}, 1), doubts: make(chan struct{}, 1), retry: make(chan struct{}, 1),
	}
	now := time.Now().UTC()
	g.status = wire.SourceStatus{Name: s.Name, State: discovery.Starting, Since: now}
	g.report = inventory.Plugin{State: discovery.Starting, Since: now.Truncate(time.Second), Runner: s.Runner, Restarts: -1}
	return g
}

// run keeps the plugin alive until ctx ends.
func (g *guest) run(ctx context.Context) {
	g.show()
	for failures := 0; ; {
		select {
		case <-g.retry: // it is what this is
		default:
		}
		err := g.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if !g.well.IsZero() && time.Since(g.well) > healthyFor {
			failures = 0
		}
		failures++
		g.fail(err, failures)
		again := time.NewTimer(backOff(failures))
		select {
		case <-again.C:
		case <-g.insist:
			again.Stop()
		case <-g.retry:
			again.Stop()
		case <-ctx.Done():
			again.Stop()
			return
		}
	}
}

// backOff is how long to wait after so many failures in a row.
func backOff(failures int) time.Duration {
	d := givenUpBackOff
	if failures < givenUpAfter {
		d = min(firstBackOff<<min(failures-1, 16), lastBackOff)
	}
	return d/2 + rand.N(d/2+1)
}

// session is one life of the plugin, from its start to its end.
func (g *guest) session(ctx context.Context) error {
	g.well, g.complain = time.Time{}, ""
	m, err := LoadManifest(g.host.opt.Manifests, g.set.Name)
	if err != nil {
		return err
	}
	g.report.ManifestSHA256 = m.SHA256
	g.report.BinarySHA256 = g.host.sums.of(m.Exec[0])
	g.may(admitted(&m, &g.set))
	runner, err := g.host.runner(g.set, m)
	if err != nil {
		return err
	}
	link, err := runner.Dial(ctx)
	if err != nil {
		return err
	}
	g.report.Restarts++
	err = g.talk(ctx, &m, link)
	how := link.End()
	if errors.Is(err, protocol.ErrLeft) || errors.Is(err, protocol.ErrHung) {
		return fmt.Errorf("%w (%s)", err, how)
	}
	return err
}

// may notes which kinds the plugin may list from now on.
func (g *guest) may(kinds []string) {
	g.status.Kinds, g.report.Kinds = kinds, kinds
	for _, k := range kinds {
		if !slices.Contains(g.known, k) && len(g.known) < mostKnown {
			g.known = append(slices.Clip(g.known), k) // the sink has the old one
		}
	}
	g.show()
}

// talk holds one conversation, and closes the link.
func (g *guest) talk(ctx context.Context, m *Manifest, link Link) error {
	interval := g.set.Interval
	if interval <= 0 {
		interval = defaultInterval
	}
	o := protocol.Options{
		Agent: g.host.opt.Agent,
		Admit: func(h protocol.Hello) (json.RawMessage, error) {
			config, err := admit(&h, m, &g.set)
			if err == nil {
				g.welcome(h)
			}
			return config, err
		},
		Apply: g.apply, Status: g.health, Event: g.event,
		Interval: interval, Limits: g.set.Limits,
	}
	if g.host.tune != nil {
		g.host.tune(&o)
	}
	s, err := protocol.Open(ctx, link, o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { g.ask(ctx, s, interval) })
	err = s.Run(ctx)
	cancel()
	wg.Wait()
	return err
}

// ask asks the plugin for everything, when a person wants it or the sink does
// not believe what it said.
func (g *guest) ask(ctx context.Context, s *protocol.Session, interval time.Duration) {
	again := time.NewTimer(time.Hour)
	again.Stop()
	defer again.Stop()
	for {
		reason := "somebody asked for it"
		select {
		case <-ctx.Done():
			return
		case <-g.doubts:
			again.Reset(min(interval, 30*time.Second))
			continue
		case <-again.C:
			reason = "suspiciously much is gone at once"
		case <-g.insist:
		}
		if s.Resync(ctx, reason) != nil {
			return // it is over
		}
	}
}

func (g *guest) welcome(h protocol.Hello) {
	g.hello = h
	g.report.Version, g.report.SDK = h.Version, h.SDK
	g.report.Protocol, _ = protocol.Choose(&h, g.host.opt.Agent) // chosen before
	g.may(names(h.Kinds))
	g.log.Info("plugin is connected", "version", h.Version, "sdk", h.SDK, "kinds", len(h.Kinds))
}

// apply takes in what the plugin lists.
func (g *guest) apply(b protocol.Batch) error {
	sink, name := g.host.opt.Sink, g.set.Name
	if b.Whole {
		sink.Listed(name, g.known, resources(b.Upserts))
		sink.Declared(name, g.status.Kinds, declarations(g.hello.Kinds))
	} else {
		sink.Changed(name, g.known, resources(b.Upserts), keys(b.Deletes))
	}
	if sink.Doubts(name) != "" {
		select {
		case g.doubts <- struct{}{}:
		default:
		}
	}
	now := time.Now().UTC()
	if g.well.IsZero() {
		g.well, g.trouble, g.givenUp = now, "", false
	}
	g.status.Listed, g.status.Count, g.report.Resources = now, b.InForce, b.InForce
	g.show()
	return nil
}

// health hears what the plugin says of itself.
func (g *guest) health(st protocol.Status) {
	switch st.Level {
	case protocol.OK:
		g.complain = ""
	case protocol.Degraded:
		g.complain = said(st)
	default: // it leaves, and then the session's error says this
		return
	}
	g.show()
}

func said(st protocol.Status) string {
	if st.Text != "" {
		return st.Text
	}
	return "the plugin says that it is degraded, and not why"
}

// fail notes why the plugin is away. What it listed last stays in force.
func (g *guest) fail(err error, failures int) {
	g.trouble, g.givenUp = err.Error(), failures >= givenUpAfter
	if g.givenUp {
		g.trouble += fmt.Sprintf("; it failed %d times in a row and is tried every %v", givenUpAfter, givenUpBackOff)
	}
	g.show()
}

// judge says how the plugin is.
func (g *guest) judge() (state, reason string) {
	reason = g.trouble
	if reason == "" {
		reason = g.complain
	}
	switch {
	case reason == "" && !g.well.IsZero():
		return discovery.OK, ""
	case reason == "":
		return discovery.Starting, ""
	case g.status.Listed.IsZero() || g.givenUp:
		return discovery.Failed, reason
	}
	return discovery.Degraded, reason
}

// show tells how the plugin is, if that has changed.
func (g *guest) show() {
	now := time.Now().UTC()
	state, reason := g.judge()
	turned := state != g.status.State
	if turned {
		g.status.Since = now
	}
	g.status.State, g.status.Reason = state, reason
	if old := &g.told; old.Name == "" || turned || old.Reason != reason || old.Count != g.status.Count || !slices.Equal(old.Kinds, g.status.Kinds) {
		g.told = g.status
		g.host.opt.Sink.Status(g.status)
	}
	switch {
	case !turned, state == discovery.Starting:
	case state == discovery.OK:
		g.log.Info("plugin is well", "count", g.status.Count)
	default:
		g.log.Warn("plugin is in trouble, its last list stays in force", "state", state, "err", reason)
	}
	r := g.report
	r.State, r.Reason, r.Since, r.Restarts = state, reason, g.status.Since.Truncate(time.Second), max(r.Restarts, 0)
	g.host.board.post(g.set.Name, r)
}
