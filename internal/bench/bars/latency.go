package main

import (
	"context"
	"fmt"
	"time"

	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/internal/testlibvirt"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// site is a control plane with one agent on a private libvirtd.
type site struct {
	lv    *testlibvirt.Daemon
	cp    *sandbox.ControlPlane
	agent *sandbox.Agent
}

func newSite(ctx context.Context, r *run, uri string) (*site, error) {
	lv, err := r.box.Libvirt()
	if err != nil {
		return nil, err
	}
	cp, err := r.box.ControlPlane(ctx, "")
	if err != nil {
		return nil, err
	}
	a, err := r.box.Agent(ctx, cp, "agent", sandbox.AgentOptions{LibvirtSocket: lv.Socket(), LibvirtURI: uri})
	return &site{lv, cp, a}, err
}

const killStep = "kill -9 of QEMU"

// latency makes real changes on a real libvirtd and waits until each is seen in
// the agent's mirror and in the deployment unit's watch. A change is made when
// libvirt says so, which for a start is when QEMU is up, and a kill at once.
func latency(ctx context.Context, r *run) error {
	s, err := newSite(ctx, r, "qemu:///session")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	far := cloud(ctx, s.cp.Client)
	near, err := local(ctx, s.agent)
	if err != nil {
		cancel()
		return err
	}
	defer func() {
		cancel()
		far.wg.Wait()
		near.wg.Wait()
	}()
	if err := far.ready(ctx); err != nil {
		return err
	}
	rounds := 20 // of five changes
	if r.quick {
		rounds = 4
	}
	var farTook, callTook, nearTook []time.Duration
	slowest, slowestWas := time.Duration(0), ""
	for i := range rounds {
		name, id := fmt.Sprintf("vm%d", i), fmt.Sprintf("5eed0000-0000-4000-8000-%012d", i)
		steps := []struct {
			what string
			do   func() error
			want string
		}{
			{"define", func() error { return s.lv.Define(testlibvirt.GuestXML(name, id)) }, inventory.VMShutOff},
			{"start", func() error { return s.lv.Start(name) }, inventory.VMRunning},
			{"suspend", func() error { return s.lv.Suspend(name) }, inventory.VMPaused},
			// libvirtd takes up to 200 ms to find that a QEMU is dead; the mirror
			// cannot know before it does.
			{killStep, func() error { return s.killed(ctx, name) }, inventory.VMShutOff + "|" + inventory.VMCrashed},
			{"undefine", func() error { return s.lv.Undefine(name) }, gone},
		}
		for _, step := range steps {
			began := time.Now()
			if err := step.do(); err != nil {
				return err
			}
			done := time.Now()
			made := done // but a guest is dead before libvirt knows
			if step.what == killStep {
				made = began
			}
			limit, stop := context.WithTimeout(ctx, 20*time.Second)
			atFar, err := far.wait(limit, id, step.want)
			if err == nil {
				var atNear time.Time
				if atNear, err = near.wait(limit, id, step.want); err == nil {
					farTook = append(farTook, max(0, atFar.Sub(made)))
					callTook = append(callTook, atFar.Sub(began))
					nearTook = append(nearTook, max(0, atNear.Sub(done)))
					if took := atFar.Sub(began); took > slowest {
						slowest, slowestWas = took, fmt.Sprintf("%s of VM %d, of it %v in libvirt", step.what, i, done.Sub(began).Round(time.Millisecond))
					}
				}
			}
			stop()
			if err != nil {
				return err
			}
		}
	}
	p50, last := p99(farTook)
	note(r, fmt.Sprintf("%d changes, from when each is made to the watch, median", len(farTook)), p50, "")
	most(r, "  99th percentile", last, time.Second, "")
	_, last = p99(callTook)
	note(r, "  with what libvirt and QEMU took to make it, 99th percentile", last, "")
	note(r, "  slowest: "+slowestWas, slowest, "")
	p50, last = p99(nearTook)
	note(r, "from libvirt's answer to the agent's mirror, median", p50, "")
	most(r, "  99th percentile", last, 100*time.Millisecond, "")
	return nil
}

// killed kills a guest and waits until libvirt itself says that it is dead.
func (s *site) killed(ctx context.Context, name string) error {
	if err := s.lv.KillGuest(name); err != nil {
		return err
	}
	return until(ctx, 10*time.Second, func() error {
		state, err := s.lv.State(name)
		if err == nil && state == "running" || state == "paused" {
			err = fmt.Errorf("libvirt still calls %s %s", name, state)
		}
		return err
	})
}

// faults hangs libvirtd, and lets a guest die while it restarts.
func faults(ctx context.Context, r *run) error {
	s, err := newSite(ctx, r, "qemu:///session")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	far := cloud(ctx, s.cp.Client)
	defer func() {
		cancel()
		far.wg.Wait()
	}()
	const id = "5eed0000-0000-4000-8000-000000000001"
	if err := s.lv.Define(testlibvirt.GuestXML("vm", id)); err != nil {
		return err
	}
	if err := s.lv.Start("vm"); err != nil {
		return err
	}
	if _, err := far.wait(ctx, id, inventory.VMRunning); err != nil {
		return err
	}

	if err := s.lv.Stop(); err != nil {
		return err
	}
	began := time.Now()
	err = until(ctx, 30*time.Second, func() error {
		hosts, err := s.cp.Client.Hosts(ctx)
		if err != nil || len(hosts) != 1 {
			return fmt.Errorf("%d hosts, %w", len(hosts), err)
		}
		for _, src := range hosts[0].Sources {
			if src.Name == "libvirt" && src.State != "ok" {
				return nil
			}
		}
		return fmt.Errorf("the module still claims to be well")
	})
	took := time.Since(began)
	asked := time.Now()
	var status map[string]any
	statusErr := s.agent.JSON(ctx, "/v1/status", &status)
	answered := time.Since(asked)
	if e := s.lv.Cont(); err == nil {
		err = e
	}
	if err == nil {
		err = statusErr
	}
	if err != nil {
		return err
	}
	most(r, "a hung libvirtd is reported at the control plane after", took, 15*time.Second, "")
	most(r, "the agent's status answers meanwhile within", answered, time.Second, "")

	if err := s.lv.Restart(); err != nil { // kills it first
		return err
	}
	began = time.Now()
	if err := s.lv.KillGuest("vm"); err != nil {
		return err
	}
	limit, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	at, err := far.wait(limit, id, inventory.VMShutOff+"|"+inventory.VMCrashed)
	if err != nil {
		return err
	}
	most(r, "a VM that dies while libvirtd restarts is seen after", at.Sub(began), 15*time.Second, "")
	return nil
}

// until polls until f returns nil.
func until(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", limit, err)
		}
	}
}
