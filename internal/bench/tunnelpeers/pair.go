package main

import (
	"context"
	"time"
)

// pair is the two ends of one stack, each in a process of its own, with one
// session between them after fresh.
type pair struct {
	du, agent *process
	addr      string
}

// place says where the two ends run.
type place struct {
	host string // the address the DU listens on
	// in runs f with the network of the role's end; nil: as it is.
	in func(Role, func() error) error
}

func newPair(ctx context.Context, stack string, id Identity, at place) (*pair, error) {
	p := &pair{}
	start := func(role Role, to **process) error {
		f := func() (err error) {
			*to, err = startProcess(role, stack, id)
			return err
		}
		if at.in == nil {
			return f()
		}
		return at.in(role, f)
	}
	err := start(RoleDU, &p.du)
	if err == nil {
		err = start(RoleAgent, &p.agent)
	}
	if err == nil {
		err = p.du.call(ctx, "Listen", at.host, &p.addr)
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *pair) stop() {
	for _, c := range []*process{p.du, p.agent} {
		if c != nil {
			c.stop()
		}
	}
}

// closeAll ends all sessions and gives both ends a moment to clean up.
func (p *pair) closeAll(ctx context.Context) error {
	if err := p.du.call(ctx, "CloseAll", 0, new(int)); err != nil {
		return err
	}
	if err := p.agent.call(ctx, "CloseAll", 0, new(int)); err != nil {
		return err
	}
	pause(ctx, 100*time.Millisecond)
	return nil
}

// connect brings up n more sessions and replies how long that took the agent.
func (p *pair) connect(ctx context.Context, n, workers int) (time.Duration, error) {
	var took time.Duration
	args := ConnectArgs{Addr: p.addr, N: n, Workers: workers}
	if err := p.agent.call(ctx, "Connect", args, &took); err != nil {
		return 0, err
	}
	return took, p.du.call(ctx, "Wait", n, new(int))
}

// fresh replaces all sessions by one new one.
func (p *pair) fresh(ctx context.Context) error {
	if err := p.closeAll(ctx); err != nil {
		return err
	}
	_, err := p.connect(ctx, 1, 1)
	return err
}

// marks are the clocks of both ends at one moment.
type marks struct{ du, agent Mark }

func (p *pair) mark(ctx context.Context) (m marks, err error) {
	if err = p.du.call(ctx, "Mark", 0, &m.du); err == nil {
		err = p.agent.call(ctx, "Mark", 0, &m.agent)
	}
	return m, err
}

// cpuSince is the CPU time of both ends since from.
func (m marks) cpuSince(from marks) time.Duration {
	return m.du.CPU - from.du.CPU + m.agent.CPU - from.agent.CPU
}

// rate is bytes and MB/s that one end took out of its streams since from.
func rate(from, to Mark) (n int64, mbs float64) {
	n = to.Bytes - from.Bytes
	return n, float64(n) / 1e6 / (to.At - from.At).Seconds()
}

// busy is how many CPUs one end used between two marks.
func busy(from, to Mark) float64 { return float64(to.CPU-from.CPU) / float64(to.At-from.At) }

// pause waits, but not longer than ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
