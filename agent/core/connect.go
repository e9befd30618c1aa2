package core

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/agent/uplink"
	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	loopLimit    = 2 * time.Minute // a loop that has not turned for so long hangs
	enrolledLook = 2 * time.Second // at the certificate's file while there is none
)

// connect waits for the machine's identity and keeps the uplink with it. Reload
// ends an uplink whose identity, deployment unit or proxy is not the newest.
func (c *Core) connect(ctx context.Context, api *localapi.Agent) error {
	beat := c.service.Loop("uplink", loopLimit)
	for ctx.Err() == nil {
		beat.Tick()
		id, err := c.loadIdentity()
		var fresh Config
		if err == nil {
			fresh, _, err = c.o.Load() // enrolment has written the address
		}
		if err == nil && len(fresh.DU) == 0 {
			err = errors.New("no deployment unit is configured: set du, or enrol again")
		}
		if err == nil {
			err = c.talk(ctx, api, id, fresh, beat) // ends early for a setting that is wrong
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		redialled := errors.Is(err, context.Canceled)
		if err == nil || redialled {
			err = errors.New("the uplink begins anew")
		}
		c.mu.Lock()
		c.uplink, c.redial, c.problem = nil, nil, err
		c.mu.Unlock()
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

// loadIdentity loads the certificate, which must be of the daemon's kind.
func (c *Core) loadIdentity() (*enroll.Identity, error) {
	id, err := enroll.Load(c.paths)
	if errors.Is(err, enroll.ErrNotEnrolled) {
		return nil, c.notEnrolled(err)
	}
	if err != nil {
		return nil, err
	}
	who, err := id.Name()
	if err == nil && who.Kind != c.o.Kind {
		err = fmt.Errorf("the certificate is a %s's, and %s wants a %s's; enrol again: %s enroll", who.Kind, c.o.Program, c.o.Kind, c.o.Program)
	}
	return id, err
}

func (c *Core) notEnrolled(err error) error { return fmt.Errorf("%w; run %s enroll", err, c.o.Program) }

// talk runs the uplink with an identity.
func (c *Core) talk(ctx context.Context, api *localapi.Agent, id *enroll.Identity, conf Config, beat *daemon.Beat) error {
	proxy := enroll.CurrentProxy(c.paths.Proxy, conf.Proxy.URL)
	services := tunnel.NewServices()
	served, err := c.listen(services, api)
	if err != nil {
		return err
	}
	tlsConfig := id.TLS()
	tlsConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	keeper := &tunnel.Keeper{
		Endpoints: conf.endpoints(),
		Dialer:    &tunnel.Dialer{TLS: tlsConfig, Proxy: proxy},
		Config:    tunnel.Config{Services: services, Keepalive: 15 * time.Second, Log: c.log},
		Log:       c.log,
	}
	up := uplink.New(uplink.Options{
		Keeper: keeper, Mirror: c.mirror, Spool: c.spool, Epoch: c.epoch, Agent: c.o.Program + "/" + daemon.Version(),
		Kind: c.o.Hypervisor, Usage: c.sampler.Usage, Tick: beat.Tick, Log: c.log,
	})
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	c.uplink, c.identity, c.problem, c.redial = up, id, nil, cancel
	c.mu.Unlock()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for name, serve := range served {
		wg.Go(func() {
			if err := serve(ctx); err != nil && ctx.Err() == nil {
				c.log.Error("a service is not served any more", "service", name, "err", err)
			}
		})
	}
	wg.Go(func() { _ = id.Renew(ctx, up.Client(), c.log, keeper.Renew) })
	return up.Run(ctx)
}

// listen offers the agent's API and the daemon's own services, and returns what
// serves them.
func (c *Core) listen(services *tunnel.Services, api *localapi.Agent) (map[string]func(context.Context) error, error) {
	all := map[string]func(context.Context, net.Listener) error{
		wire.ServiceAgent: func(ctx context.Context, l net.Listener) error { return ServeHTTP(ctx, l, api.Reading(), c.log) },
	}
	maps.Copy(all, c.o.Services)
	served := make(map[string]func(context.Context) error, len(all))
	for name, serve := range all {
		l, err := services.Listen(name)
		if err != nil {
			return nil, err
		}
		served[name] = func(ctx context.Context) error {
			defer func() { _ = l.Close() }() // who dials is refused then, not left waiting
			return serve(ctx, l)
		}
	}
	return served, nil
}

// enrolledAnew says whether the certificate on disk is another than the
// uplink's. Callers hold mu.
func (c *Core) enrolledAnew() bool {
	id, err := enroll.Load(c.paths)
	return err == nil && !id.Certificate().Equal(c.identity.Certificate())
}
