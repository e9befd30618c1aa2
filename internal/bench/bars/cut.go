package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/sandbox"
)

// cut runs the agent in a network namespace of its own and cuts the way.
func cut(ctx context.Context, r *run) error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	way, err := newWay(ctx, r.box)
	if err != nil {
		return err
	}
	lv, err := r.box.Libvirt()
	if err != nil {
		return err
	}
	cp, err := r.box.ControlPlane(ctx, way.near)
	if err != nil {
		return err
	}
	a, err := r.box.Agent(ctx, cp, "cut", sandbox.AgentOptions{
		LibvirtSocket: lv.Socket(), LibvirtURI: "test:///default", Wrap: []string{"ip", "netns", "exec", way.namespace},
	})
	if err != nil {
		return err
	}
	s := &site{lv, cp, a}
	if err := until(ctx, 20*time.Second, func() error { return s.compare(ctx) }); err != nil {
		return err
	}
	if err := way.ip(ctx, "link", "set", way.link, "down"); err != nil {
		return err
	}
	began := time.Now()
	if err := lv.DefineTest("<domain type='test'><name>meanwhile</name><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"); err != nil {
		return err
	}
	reason := ""
	err = until(ctx, 90*time.Second, func() error {
		hosts, err := cp.Client.Hosts(ctx)
		if err != nil || len(hosts) != 1 || hosts[0].Connected {
			return fmt.Errorf("the host still counts as connected, %w", err)
		}
		reason = hosts[0].Reason
		return nil
	})
	if err != nil {
		return err
	}
	most(r, fmt.Sprintf("a cut host is shown disconnected (%q)", reason), time.Since(began), 45*time.Second, "")
	if err := way.ip(ctx, "link", "set", way.link, "up"); err != nil {
		return err
	}
	began = time.Now()
	if err := until(ctx, time.Minute, func() error { return s.compare(ctx) }); err != nil {
		return err
	}
	most(r, "connected again, and equal, after the repair", time.Since(began), 5*time.Second, "")
	return nil
}

// way is a veth pair into a network namespace.
type way struct{ namespace, link, near string }

func newWay(ctx context.Context, box *sandbox.Box) (*way, error) {
	w := &way{namespace: fmt.Sprintf("pf9-bars-%d", os.Getpid()), link: fmt.Sprintf("pf9b%d", os.Getpid()%100000), near: "198.18.77.1"}
	box.OnClose(func() {
		_ = w.ip(context.Background(), "link", "del", w.link)
		_ = w.ip(context.Background(), "netns", "del", w.namespace)
	})
	for _, args := range []string{
		"netns add " + w.namespace,
		"link add " + w.link + " type veth peer name eth0 netns " + w.namespace,
		"address add " + w.near + "/30 dev " + w.link,
		"link set " + w.link + " up",
		"-n " + w.namespace + " address add 198.18.77.2/30 dev eth0",
		"-n " + w.namespace + " link set eth0 up",
		"-n " + w.namespace + " link set lo up",
	} {
		if err := w.ip(ctx, strings.Fields(args)...); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *way) ip(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
