package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// chaos kills the agent or the control plane again and again while VMs change,
// and compares the catalogue with libvirt after each.
func chaos(ctx context.Context, r *run) error {
	s, err := newSite(ctx, r, "test:///default")
	if err != nil {
		return err
	}
	kills := 200
	if r.quick {
		kills = 10
	}
	var took []time.Duration
	worst := ""
	wrong := 0
	random := rand.New(rand.NewPCG(1, uint64(kills)))
	for i := range kills {
		if err := s.kill(ctx, random, i%2 == 0); err != nil {
			return fmt.Errorf("kill %d: %w", i, err)
		}
		began := time.Now()
		err := until(ctx, 30*time.Second, func() error { return s.compare(ctx) })
		if err != nil {
			wrong++
			worst = err.Error()
		}
		took = append(took, time.Since(began))
	}
	p50, _ := p99(took)
	note(r, fmt.Sprintf("%d kills under change, until catalogue and host are equal, median", kills), p50, "")
	most(r, "  longest", took[len(took)-1], 5*time.Second, "")
	most(r, "  never equal within 30 s", wrong, 0, "")
	if worst != "" {
		return fmt.Errorf("%s", worst)
	}
	return nil
}

// kill kills one of the two at some moment of change, and starts it again.
func (s *site) kill(ctx context.Context, random *rand.Rand, agent bool) error {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var changing error
	seed := random.Uint64()
	wg.Go(func() { changing = s.change(rand.New(rand.NewPCG(seed, 2)), stop) })
	moment := time.NewTimer(time.Duration(random.IntN(1500)) * time.Millisecond)
	select {
	case <-moment.C:
	case <-ctx.Done():
	}
	var err error
	if agent {
		s.agent.Kill()
		err = s.agent.Restart(ctx)
	} else {
		s.cp.Kill()
		err = s.cp.Restart(ctx)
	}
	close(stop)
	wg.Wait()
	if err != nil {
		return err
	}
	return changing
}

// change defines, starts, suspends and removes VMs of the test driver until
// told to stop.
func (s *site) change(random *rand.Rand, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		name := fmt.Sprintf("chaos%d", random.IntN(12))
		// What does not fit the VM's state fails, which is fine.
		switch random.IntN(6) {
		case 0, 1:
			_ = s.lv.DefineTest("<domain type='test'><name>" + name + "</name><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>")
		case 2:
			_, _ = s.lv.VirshTest("start", name)
		case 3:
			_, _ = s.lv.VirshTest("suspend", name)
		case 4:
			_, _ = s.lv.VirshTest("destroy", name)
		case 5:
			_, _ = s.lv.VirshTest("destroy", name)
			_, _ = s.lv.VirshTest("undefine", name)
		}
	}
}

// compare asks libvirt and the deployment unit which VMs there are.
func (s *site) compare(ctx context.Context) error {
	text, err := s.lv.VirshTest("list", "--all", "--name")
	if err != nil {
		return err
	}
	host := make(map[string]string)
	for name := range strings.FieldsSeq(text) {
		state, err := s.lv.VirshTest("domstate", name)
		if err != nil {
			return err
		}
		host[name] = strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(state), " ", "_"), "shut_off", inventory.VMShutOff)
	}
	found, err := s.cp.Client.Resources(ctx, inventory.KindVM, client.Filter{})
	if err != nil {
		return err
	}
	catalogue := make(map[string]string)
	for _, vm := range found {
		if _, twice := catalogue[vm.Name]; twice {
			return fmt.Errorf("%s is in the catalogue twice", vm.Name)
		}
		if vm.Stale {
			return fmt.Errorf("%s is stale: %s", vm.Name, vm.StaleReason)
		}
		catalogue[vm.Name] = vm.State
	}
	if !maps.Equal(host, catalogue) {
		return fmt.Errorf("catalogue %v, host %v", catalogue, host)
	}
	return nil
}
