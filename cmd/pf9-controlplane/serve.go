package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"sync"

	"github.com/openpf9/openpf9/controlplane"
	"github.com/openpf9/openpf9/internal/daemon"
)

// gcPercent is how much the heap may grow between collections. What hosts cost
// is mostly memory at rest, which the default would allow to double; GOGC in
// the unit's environment overrides it.
const gcPercent = 25

// configError is a mistake that a restart does not mend.
type configError struct{ error }

func load(file string) (*controlplane.Config, error) {
	var c controlplane.Config
	if err := daemon.Load(file, &c); err != nil {
		return nil, configError{fmt.Errorf("configuration: %w", err)}
	}
	if err := c.Validate(); err != nil {
		return nil, configError{fmt.Errorf("configuration: %s: %w", file, err)}
	}
	return &c, nil
}

// serve runs the control plane until a signal ends it.
func serve(ctx context.Context, file string) error {
	c, err := load(file)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log := daemon.NewLogger(c.Level())
	service := daemon.New(log)
	ctx, stop := daemon.Signals(ctx, func() {
		log.Info("the configuration is read at the start only; restart to apply a change")
	})
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	beside, cancel := context.WithCancel(context.WithoutCancel(ctx)) // until everything has ended
	defer cancel()
	wg.Go(func() { _ = service.RunWatchdog(beside) }) // ends with its context only
	wg.Go(func() { trim(beside) })
	wg.Go(func() {
		<-ctx.Done()
		service.Stopping()
	})
	err = controlplane.Run(ctx, *c, daemon.Version(), log, func(a net.Addr) {
		service.Ready(fmt.Sprintf("deployment unit %s at %s", c.DU.FQDN, a))
	})
	if err != nil {
		log.Error("the control plane has ended", "err", err)
	}
	stop()
	return err
}
