package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// scale runs an agent on a thousand VMs of the test driver, and one on none.
func scale(ctx context.Context, r *run) error {
	lv, err := r.box.Libvirt()
	if err != nil {
		return err
	}
	cp, err := r.box.ControlPlane(ctx, "")
	if err != nil {
		return err
	}
	settle := time.Minute
	if r.quick {
		settle = 20 * time.Second
	}
	node, err := lv.NodeURI(1000)
	if err != nil {
		return err
	}
	big, err := r.box.Agent(ctx, cp, "thousand", sandbox.AgentOptions{LibvirtSocket: lv.Socket(), LibvirtURI: node})
	if err != nil {
		return err
	}
	if err := fullInventory(ctx, cp, 1000); err != nil {
		return err
	}
	// Once more from a cold start, with the clock running.
	big.Kill()
	if err := cp.Client.Forget(ctx, onlyHost(ctx, cp)); err != nil {
		return err
	}
	if big, err = r.box.Agent(ctx, cp, "thousand2", sandbox.AgentOptions{LibvirtSocket: lv.Socket(), LibvirtURI: node}); err != nil {
		return err
	}
	began := time.Now()
	if err := fullInventory(ctx, cp, 1000); err != nil {
		return err
	}
	most(r, "1,000 VMs at the control plane after the agent's start", time.Since(began), 2*time.Second, "")
	if err := steady(ctx, r, big, "with 1,000 VMs", settle, 30, 0.1); err != nil {
		return err
	}
	big.Kill()
	idle, err := r.box.Agent(ctx, cp, "none", sandbox.AgentOptions{LibvirtSocket: lv.Socket(), LibvirtURI: "qemu:///session"})
	if err != nil {
		return err
	}
	if err := steady(ctx, r, idle, "with none", settle, 20, 0.1); err != nil {
		return err
	}
	ready, err := readiness(ctx, r, idle)
	if err != nil {
		return err
	}
	most(r, "READY to systemd after", ready, 100*time.Millisecond, "")
	return nil
}

func onlyHost(ctx context.Context, cp *sandbox.ControlPlane) wire.HostID {
	hosts, err := cp.Client.Hosts(ctx)
	if err != nil || len(hosts) == 0 {
		return ""
	}
	return hosts[0].ID
}

func fullInventory(ctx context.Context, cp *sandbox.ControlPlane, want int) error {
	return until(ctx, time.Minute, func() error {
		kinds, err := cp.Client.Kinds(ctx)
		if err != nil {
			return err
		}
		for _, k := range kinds {
			if k.Kind == inventory.KindVM && k.Resources >= want {
				return nil
			}
		}
		return fmt.Errorf("the inventory is not whole: %v", kinds)
	})
}

// steady measures an agent at rest.
func steady(ctx context.Context, r *run, a *sandbox.Agent, what string, d time.Duration, limitMiB, limitCPU float64) error {
	pause := func(d time.Duration) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-a.Done():
			return fmt.Errorf("the agent has ended:\n%s", a.Tail())
		}
	}
	if err := pause(10 * time.Second); err != nil {
		return err
	}
	before, err := a.CPU()
	if err != nil {
		return err
	}
	if err := pause(d); err != nil {
		return err
	}
	after, err := a.CPU()
	if err != nil {
		return err
	}
	rss, err := a.RSS()
	if err != nil {
		return err
	}
	most(r, "agent "+what+": resident memory", float64(rss)/(1<<20), limitMiB, " MiB")
	most(r, "agent "+what+fmt.Sprintf(": processor, over %v", d), 100*float64(after-before)/float64(d), limitCPU, " %")
	return nil
}

// readiness starts the agent under a systemd of ours: a socket that hears READY.
func readiness(ctx context.Context, r *run, a *sandbox.Agent) (time.Duration, error) {
	a.Kill()
	path := filepath.Join(r.box.Dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	best := time.Hour
	for range 5 {
		began := time.Now()
		p, err := r.box.Start("ready", []string{"NOTIFY_SOCKET=" + path}, r.box.Programs.HostAgent, "run", "--config", a.Config)
		if err != nil {
			return 0, err
		}
		_ = l.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 4096)
		n, err := l.Read(b)
		took := time.Since(began)
		p.Signal(syscall.SIGTERM)
		_ = p.Stop()
		if err != nil || string(b[:min(n, 7)]) != "READY=1" {
			return 0, fmt.Errorf("heard %q, %w", b[:n], err)
		}
		best = min(best, took)
		for { // what else it said
			_ = l.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := l.Read(b); err != nil {
				break
			}
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	_ = os.Remove(path)
	return best, nil
}
