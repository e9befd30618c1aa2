package vcenter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/plugin"
)

// firstWait is how many seconds a pass waits for the first page.
const firstWait = 5

// errVanished says that a pass has not shown much of what was there before.
var errVanished = errors.New("much has vanished at once; it is kept until a second look says so too")

// Watch keeps what is known true until ctx ends, whatever vCenter does, and hints
// at what changes. Of several Watches one works and the others wait for its end.
func (s *Source) Watch(ctx context.Context, changed func(...plugin.Key)) error {
	select {
	case s.gate <- struct{}{}:
		defer func() { <-s.gate }()
	case <-ctx.Done():
		return ctx.Err()
	}
	defer s.opts.Session.Leave()
	defer s.health.set(errUnwatched)
	s.health.set(errUnread)
	tell := changed
	changed = func(keys ...plugin.Key) {
		if len(keys) > 0 {
			s.health.changed()
		}
		tell(keys...)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { s.spread(ctx, changed) })
	lost := 0 // passes since one that was worth while
	for breaks := 0; ; breaks++ {
		began := time.Now()
		synced, err := s.cycle(ctx, changed)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if synced { // tries that cost nothing do not count
			lost++
			if time.Since(began) > s.time.healthy {
				lost = 0
			}
			breaks = lost
		}
		s.broken(err, changed)
		wait := s.retry(breaks, synced)
		if errors.Is(err, errVanished) {
			wait = s.time.doubt
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		}
	}
}

// retry is how long to wait after so many breaks before.
func (s *Source) retry(breaks int, synced bool) time.Duration {
	most := s.time.lastRetry
	if synced && breaks > 10 {
		most = s.time.calm // each costs vCenter a whole pass
	}
	wait := min(s.time.firstRetry<<min(breaks, 10), most)
	return wait/2 + rand.N(wait/2+1)
}

// broken notes a break, and tells of it when it begins and when its cause turns out
// to be another: a list then says why.
func (s *Source) broken(err error, changed func(...plugin.Key)) {
	why := s.explain(err)
	if _, news := s.health.set(why); news {
		s.log.Warn("vCenter cannot be followed, what was read last stays in force", "err", why)
		changed()
	}
}

// cycle reads everything and follows changes until that breaks. synced says
// whether everything was read.
func (s *Source) cycle(ctx context.Context, changed func(...plugin.Key)) (synced bool, err error) {
	c, err := s.opts.Session.Client(ctx)
	if err != nil {
		return false, s.silent(ctx, err)
	}
	lost := false
	defer func() {
		if lost || session.IsNotAuthenticated(err) {
			s.opts.Session.Lost(c)
		}
	}()
	if c == s.old.client { // nothing has answered by it since it broke
		if err := alive(ctx, c, s.time.proofLimit); err != nil {
			return false, s.silent(ctx, err)
		}
	}
	if err := s.identify(c); err != nil {
		return false, err
	}
	if err := s.old.destroy(ctx, c, s.time.callLimit); err != nil {
		return false, err
	}
	s.health.reading()
	p := s.newPass(c)
	defer func() { s.old, lost = p.leave() }()
	if err := p.read(ctx); err != nil {
		return false, err
	}
	awaited := s.health.awaited()
	s.health.set(nil)
	st := s.State()
	s.log.Info("vCenter is followed", "objects", st.Objects)
	if !awaited { // who waits has his list now
		changed()
	}
	return true, p.follow(ctx, changed)
}

// identify refuses another vCenter than the one that was here before: all that
// is known would seem to be gone.
func (s *Source) identify(c *vim25.Client) error {
	about := c.ServiceContent.About
	if about.ApiType != "VirtualCenter" {
		return fmt.Errorf("%s is no vCenter but %q", s.opts.Session.URL().Host, about.FullName)
	}
	is, want := about.InstanceUuid, s.opts.InstanceUUID
	if want == "" {
		want = s.store.instance()
	}
	if want != "" && is != want {
		return fmt.Errorf("another vCenter answers at %s: its instance UUID is %s and was %s: if it was replaced on purpose, disable and enable it in the gateway's configuration",
			s.opts.Session.URL().Host, is, want)
	}
	st := s.opts.Session.State()
	s.store.setServer(server{about: about, url: s.opts.Session.URL().Host, fingerprint: st.Fingerprint})
	return nil
}

// pass reads everything once, and follows what changes then.
type pass struct {
	s      *Source
	client *vim25.Client
	epoch  uint64
	topo   collector
	vms    collector
	waits  waits
}

func (s *Source) newPass(c *vim25.Client) *pass {
	s.epoch++
	return &pass{
		s: s, client: c, epoch: s.epoch,
		topo: collector{name: "topology", types: topology, limits: s.time},
		vms:  collector{name: "VMs", types: volatile, limits: s.time},
	}
}

// leave returns the collectors that are to be destroyed by whoever comes next, and
// whether there may be others, which only the end of their session destroys.
func (p *pass) leave() (l leftover, others bool) {
	l.client = p.client
	for _, c := range []*collector{&p.topo, &p.vms} {
		if c.ref.Value != "" {
			l.collectors = append(l.collectors, c.ref)
		}
		others = others || c.unknown
	}
	return l, others
}

// read takes everything in, topology first so that VMs find what they are in.
func (p *pass) read(ctx context.Context) error {
	for _, c := range []*collector{&p.topo, &p.vms} {
		if err := c.create(ctx, p.client, p.s.drop); err != nil {
			return fmt.Errorf("collect %s: %w", c.name, err)
		}
		for more := true; more; {
			seconds := int32(0)
			if c.version == "" { // there may be nothing, but it must not be too early
				seconds = min(firstWait, p.s.time.maxWait)
			}
			set, err := c.wait(ctx, p.client, seconds)
			if err != nil {
				return fmt.Errorf("read %s: %w", c.name, err)
			}
			p.s.health.answered(objects(set))
			more = truncated(set)
			p.s.store.take(p.epoch, set)
			c.advance(set)
		}
	}
	if err := alive(ctx, p.client, p.s.time.callLimit); err != nil {
		return fmt.Errorf("check the session after reading: %w", err)
	}
	return p.s.store.finish(p.epoch)
}

// follow takes changes in until something breaks.
func (p *pass) follow(ctx context.Context, changed func(...plugin.Key)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, part := range []func() error{
		func() error { return p.loop(ctx, &p.topo, changed) },
		func() error { return p.loop(ctx, &p.vms, changed) },
		func() error { return p.sweep(ctx, changed) },
		func() error { return p.watchFilling(ctx, changed) },
		func() error { return p.prove(ctx, changed) },
	} {
		wg.Go(func() { cancel(p.safely(part)) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

// safely makes a panic an error: nobody else would catch it in a goroutine of ours.
func (p *pass) safely(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.s.log.Error("following vCenter panicked", "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return f()
}

// loop follows one collector.
func (p *pass) loop(ctx context.Context, c *collector, changed func(...plugin.Key)) error {
	var left []string // of replies that go on
	for more := false; ; {
		seconds := p.s.time.maxWait
		if more {
			seconds = 0
		}
		waiting := p.waits.context(ctx)
		set, err := c.wait(waiting, p.client, seconds)
		if err != nil && waiting.Err() != nil && ctx.Err() == nil {
			if err := c.cancel(ctx, p.client); err != nil {
				return fmt.Errorf("follow %s anew: %w", c.name, err)
			}
			continue // by another connection, from the same version
		}
		if err != nil {
			return fmt.Errorf("follow %s: %w", c.name, err)
		}
		p.s.health.answered(0)
		keys, gone := p.s.store.change(p.epoch, set)
		left = append(left, gone...)
		if more = truncated(set); !more {
			removed, err := p.s.store.remove(left)
			if err != nil {
				return fmt.Errorf("follow %s: %w", c.name, err)
			}
			keys, left = append(keys, removed...), nil
		}
		c.advance(set)
		if len(keys) > 0 {
			changed(keys...)
		}
	}
}
