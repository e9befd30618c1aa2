package main

import (
	"context"
	"fmt"
	"time"
)

// plan is how long and how much each row measures.
type plan struct {
	warm, window       time.Duration // bulk on loopback
	ping, open, duplex time.Duration
	stall              time.Duration // filling streams that nobody reads
	farWarm, farWindow time.Duration // bulk through 50 ms
	sessions, workers  int
}

func fullPlan() plan {
	return plan{
		warm: 250 * time.Millisecond, window: 800 * time.Millisecond,
		ping: 800 * time.Millisecond, open: 700 * time.Millisecond, duplex: 1500 * time.Millisecond,
		stall:   800 * time.Millisecond,
		farWarm: 2 * time.Second, farWindow: 2 * time.Second,
		sessions: 1000, workers: 32,
	}
}

func quickPlan() plan {
	p := fullPlan()
	p.window, p.ping, p.open, p.duplex = 500*time.Millisecond, 600*time.Millisecond, 500*time.Millisecond, time.Second
	p.farWarm, p.farWindow = 1500*time.Millisecond, 1500*time.Millisecond
	return p
}

// recorder takes a figure of the stack that is measured.
type recorder func(metric string, v float64)

// row is a set of figures that are measured together on a fresh session.
type row struct {
	group   string   // what -rows names
	metrics []string // what run records
	alone   bool     // needs processes that did nothing before
	limit   time.Duration
	run     func(context.Context, *pair, recorder) error
}

// nearRows are the rows on loopback, except those about sessions.
func nearRows(pl plan) []row {
	full := func(n int, up bool, name string) row {
		return row{
			group: "bulk", metrics: []string{name, name + ".cpu"}, limit: 10 * time.Second,
			run: func(ctx context.Context, p *pair, rec recorder) error {
				return runBulk(ctx, p, BulkArgs{n, up}, pl.warm, pl.window, name, rec)
			},
		}
	}
	ping := func(beside int, name string) row {
		return row{
			group: "ping", metrics: []string{name + ".p50", name + ".p99", name + ".carried"}, limit: 8 * time.Second,
			run: func(ctx context.Context, p *pair, rec recorder) error {
				return runPing(ctx, p, beside, pl, name, rec)
			},
		}
	}
	return []row{
		full(1, false, "down1"), full(1, true, "up1"), full(8, false, "down8"), full(8, true, "up8"),
		ping(0, "ping0"), ping(1, "ping1"), ping(8, "ping8"),
		{"open", []string{"open", "open.cpu"}, false, 10 * time.Second, func(ctx context.Context, p *pair, rec recorder) error {
			return runOpen(ctx, p, pl, rec)
		}},
		{"stall", []string{"stall.taken", "stall.mem", "stall.p99", "stall.keep"}, false, 10 * time.Second, func(ctx context.Context, p *pair, rec recorder) error {
			return runStall(ctx, p, pl, rec)
		}},
		{"duplex", []string{"duplex", "duplex.gap"}, false, 8 * time.Second, func(ctx context.Context, p *pair, rec recorder) error {
			return runDuplex(ctx, p, pl, rec)
		}},
	}
}

// sessionRows are the rows about many sessions.
func sessionRows(pl plan) []row {
	return []row{{
		"sessions",
		[]string{"idle.rss", "idle.heap", "idle.goroutines", "reconnect", "reconnect.cpu"},
		true, 40 * time.Second,
		func(ctx context.Context, p *pair, rec recorder) error {
			return runSessions(ctx, p, pl, rec)
		},
	}}
}

// farRows are the rows through a round trip of 50 ms.
func farRows(pl plan) []row {
	full := func(n int, up bool, name string) row {
		return row{"far", []string{name}, false, 20 * time.Second, func(ctx context.Context, p *pair, rec recorder) error {
			only := func(m string, v float64) {
				if m == name {
					rec(m, v)
				}
			}
			return runBulk(ctx, p, BulkArgs{n, up}, pl.farWarm, pl.farWindow, name, only)
		}}
	}
	return []row{full(1, false, "far.down1"), full(1, true, "far.up1"), full(8, false, "far.down8"), full(8, true, "far.up8")}
}

// runBulk records MB/s and the CPU seconds of both ends per GB.
//
// For the JSON file also how busy each end was, in CPUs: one that is near 1
// with the other below is the bottleneck.
func runBulk(ctx context.Context, p *pair, a BulkArgs, warm, window time.Duration, name string, rec recorder) error {
	b, err := bulkRate(ctx, p, a, warm, window)
	if err != nil {
		return err
	}
	rec(name, b.mbs)
	rec(name+".cpu", b.cpu)
	rec(name+".busy.du", b.busyDU)
	rec(name+".busy.agent", b.busyAgent)
	return nil
}

// bulk is what full streams did: MB/s, CPU seconds of both ends per GB, and
// how many CPUs each end used.
type bulk struct{ mbs, cpu, busyDU, busyAgent float64 }

func bulkRate(ctx context.Context, p *pair, a BulkArgs, warm, window time.Duration) (b bulk, err error) {
	if err := p.du.call(ctx, "Bulk", a, new(int)); err != nil {
		return b, err
	}
	pause(ctx, warm)
	from, err := p.mark(ctx)
	if err != nil {
		return b, err
	}
	pause(ctx, window)
	to, err := p.mark(ctx)
	if err != nil {
		return b, err
	}
	n, mbs := rate(from.agent, to.agent)
	if a.Up {
		n, mbs = rate(from.du, to.du)
	}
	if n == 0 {
		return b, fmt.Errorf("bulk: %w", errFrozen)
	}
	return bulk{
		mbs: mbs, cpu: to.cpuSince(from).Seconds() / (float64(n) / 1e9),
		busyDU: busy(from.du, to.du), busyAgent: busy(from.agent, to.agent),
	}, nil
}

// runPing records round trips in microseconds, and what the bulk streams
// beside it carried from the DU to the agent in MB/s.
func runPing(ctx context.Context, p *pair, beside int, pl plan, name string, rec recorder) error {
	args := PingArgs{For: pl.ping}
	if beside > 0 {
		// Pings leave most of the CPU to the bulk they are to be disturbed by.
		args.Pause = 500 * time.Microsecond
		if err := p.du.call(ctx, "Bulk", BulkArgs{N: beside}, new(int)); err != nil {
			return err
		}
		pause(ctx, pl.warm)
	}
	from, err := p.mark(ctx)
	if err != nil {
		return err
	}
	var l Latency
	if err := p.du.call(ctx, "Ping", args, &l); err != nil {
		return err
	}
	to, err := p.mark(ctx)
	if err != nil {
		return err
	}
	rec(name+".p50", micros(l.P50))
	rec(name+".p99", micros(l.P99))
	_, mbs := rate(from.agent, to.agent)
	rec(name+".carried", mbs)
	return nil
}

// runOpen records streams per second and CPU microseconds of both ends each.
func runOpen(ctx context.Context, p *pair, pl plan, rec recorder) error {
	from, err := p.mark(ctx)
	if err != nil {
		return err
	}
	var n int
	if err := p.du.call(ctx, "OpenClose", pl.open, &n); err != nil {
		return err
	}
	to, err := p.mark(ctx)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("open: %w", errFrozen)
	}
	rec("open", float64(n)/(to.du.At-from.du.At).Seconds())
	rec("open.cpu", micros(to.cpuSince(from))/float64(n))
	return nil
}

// runStall records what 16 streams whose far end never reads take in (MB) and
// cost there (MiB resident), a ping beside them and what share of its earlier
// rate a new bulk stream keeps (%).
func runStall(ctx context.Context, p *pair, pl plan, rec recorder) error {
	before, err := bulkRate(ctx, p, BulkArgs{N: 1}, pl.warm, pl.window)
	if err != nil {
		return err
	}
	if err := p.du.call(ctx, "CloseStreams", 0, new(int)); err != nil {
		return err
	}
	pause(ctx, 100*time.Millisecond)
	var m0, m1 Memory
	if err := p.agent.call(ctx, "Memory", 0, &m0); err != nil {
		return err
	}
	var taken int64
	if err := p.du.call(ctx, "Stall", StallArgs{16, pl.stall}, &taken); err != nil {
		return err
	}
	if err := p.agent.call(ctx, "Memory", 0, &m1); err != nil {
		return err
	}
	rec("stall.taken", float64(taken)/1e6)
	rec("stall.mem", float64(m1.RSS-m0.RSS)/(1<<20))

	pingCtx, cancel := context.WithTimeout(ctx, pl.ping/2+3*time.Second)
	defer cancel()
	var l Latency
	if err := p.du.call(pingCtx, "Ping", PingArgs{pl.ping / 2, 500 * time.Microsecond}, &l); err != nil {
		return err
	}
	rec("stall.p99", micros(l.P99))
	after, err := bulkRate(ctx, p, BulkArgs{N: 1}, pl.warm, pl.window)
	if err != nil {
		return err
	}
	rec("stall.keep", 100*after.mbs/before.mbs)
	return nil
}

// runDuplex records MB/s in both directions together and the longest time
// without a byte (ms).
func runDuplex(ctx context.Context, p *pair, pl plan, rec recorder) error {
	var d Duplex
	if err := p.du.call(ctx, "Duplex", pl.duplex, &d); err != nil {
		return err
	}
	rec("duplex", 2*float64(d.Bytes)/1e6/pl.duplex.Seconds())
	rec("duplex.gap", micros(d.Longest)/1e3)
	return nil
}

// runSessions records what an idle session costs the DU (KiB, goroutines) and
// what bringing all of them up again takes (s, CPU ms of both ends each).
func runSessions(ctx context.Context, p *pair, pl plan, rec recorder) error {
	if _, err := p.connect(ctx, 50, pl.workers); err != nil { // warm
		return err
	}
	if err := p.closeAll(ctx); err != nil {
		return err
	}
	pause(ctx, 300*time.Millisecond)
	var m0, m1 Memory
	if err := p.du.call(ctx, "Memory", 0, &m0); err != nil {
		return err
	}
	if _, err := p.connect(ctx, pl.sessions, pl.workers); err != nil {
		return err
	}
	pause(ctx, 500*time.Millisecond)
	if err := p.du.call(ctx, "Memory", 0, &m1); err != nil {
		return err
	}
	n := float64(pl.sessions)
	rec("idle.rss", float64(m1.RSS-m0.RSS)/1024/n)
	rec("idle.heap", float64(m1.Heap+m1.Stacks-m0.Heap-m0.Stacks)/1024/n)
	rec("idle.goroutines", float64(m1.Goroutines-m0.Goroutines)/n)

	if err := p.closeAll(ctx); err != nil {
		return err
	}
	pause(ctx, time.Second)
	from, err := p.mark(ctx)
	if err != nil {
		return err
	}
	took, err := p.connect(ctx, pl.sessions, pl.workers)
	if err != nil {
		return err
	}
	to, err := p.mark(ctx)
	if err != nil {
		return err
	}
	rec("reconnect", took.Seconds())
	rec("reconnect.cpu", to.cpuSince(from).Seconds()*1e3/n)
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
