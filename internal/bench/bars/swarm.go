package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/bench/swarm"
	"github.com/openpf9/openpf9/internal/client"
)

// swarmBar puts many simulated hosts on one control plane.
func swarmBar(ctx context.Context, r *run) error {
	hosts, vms := 5000, 20
	idle := time.Minute
	if r.quick {
		hosts, idle = 2000, 20*time.Second
	}
	cp, err := r.box.ControlPlane(ctx, "")
	if err != nil {
		return err
	}
	base, err := cp.RSS()
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(cp.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	token, err := cp.JoinToken(ctx, hosts)
	if err != nil {
		return err
	}
	s := &swarm.Swarm{URL: cp.URL, Hosts: hosts, VMs: vms, Token: token, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	if err := s.Enroll(ctx); err != nil {
		return err
	}
	cp.Kill() // so that the start is a cold one
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
	}()
	wg.Go(func() { _ = s.Run(ctx) })
	for _, what := range []string{"a cold start", "the control plane was killed and restarted"} {
		began := time.Now()
		if err := cp.Restart(ctx); err != nil {
			return err
		}
		err := until(ctx, 3*time.Minute, func() error {
			if n := s.Synced(); n < hosts {
				return fmt.Errorf("%d of %d hosts are back", n, hosts)
			}
			return fullInventory(ctx, cp, hosts*vms)
		})
		if err != nil {
			return err
		}
		most(r, fmt.Sprintf("%d hosts with %d VMs each, all there after %s", hosts, vms, what), time.Since(began), time.Minute, "")
	}
	if err := lists(ctx, r, cp); err != nil {
		return err
	}
	return idleCost(ctx, r, cp.Client, idle, func() (float64, error) {
		rss, err := cp.RSS()
		return float64(rss-base) / 1024 / float64(hosts), err
	})
}

// idleCost measures what hosts cost that do nothing.
func idleCost(ctx context.Context, r *run, c *client.Client, d time.Duration, perHost func() (float64, error)) error {
	const statements = "du_sql_statements_total"
	wait := func(d time.Duration) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := wait(5 * time.Second); err != nil { // the last writes
		return err
	}
	before, err := c.Metric(ctx, statements)
	if err != nil {
		return err
	}
	if err := wait(d); err != nil {
		return err
	}
	after, err := c.Metric(ctx, statements)
	if err != nil {
		return err
	}
	most(r, fmt.Sprintf("SQL statements in %v of idling", d), after-before, 0, "")
	kib, err := perHost()
	if err != nil {
		return err
	}
	most(r, "control plane's resident memory per idle host", kib, 64, " KiB")
	return nil
}
