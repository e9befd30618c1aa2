// Command bars runs the whole system from its real programs against real
// daemons and prints every figure beside the bar that it must reach.
//
//	go run ./internal/bench/bars               # all, as they are claimed
//	go run ./internal/bench/bars -quick        # short forms of all, for CI
//	go run ./internal/bench/bars latency chaos # some
//
// It ends with status 1 if a bar is missed. Everything runs on loopback, in one
// temporary directory, and in network namespaces of its own; nothing is left.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/internal/hostileplugin"
	"github.com/openpf9/openpf9/internal/sandbox"
)

// bar is one measurement of the whole system.
type bar struct {
	name  string
	about string
	limit time.Duration // of the whole measurement
	run   func(ctx context.Context, r *run) error
}

var bars = []bar{
	{"latency", "a change on a real libvirtd until the watch shows it", 10 * time.Minute, latency},
	{"faults", "a hung libvirtd, a VM that dies while libvirtd restarts", 5 * time.Minute, faults},
	{"scale", "1,000 VMs: start, first inventory, memory, processor time", 5 * time.Minute, scale},
	{"chaos", "kill -9 of agent and control plane under change", 30 * time.Minute, chaos},
	{"cut", "the network cut in a namespace", 5 * time.Minute, cut},
	{"plugins", "plugins that do everything wrong", 15 * time.Minute, pluginsBar},
	{"sandbox", "a plugin under a real systemd, in a container", 10 * time.Minute, sandboxBar},
	{"units", "agent and plugin as a real systemd's services, by command line and rpm", 10 * time.Minute, unitsBar},
	{"appliance", "the gateway's packages and units: first boot, console, removal", 10 * time.Minute, applianceBar},
	{"vcenter", "10,000 VMs of a vCenter: discovery, and the whole gateway", 15 * time.Minute, vcenterBar},
	{"vcenterfaults", "a vCenter's faults, thousands of them", 4 * time.Hour, vcenterFaults},
	{"broker", "OpenStack's driver and govc through the broker of vCenter", 15 * time.Minute, brokerBar},
	{"swarm", "5,000 simulated hosts with 20 VMs each", 15 * time.Minute, swarmBar},
}

// run is what one measurement works with.
type run struct {
	box   *sandbox.Box
	quick bool
	out   []figure
}

// figure is one measured value and its bar.
type figure struct {
	what, value, bar string
	ok               bool
}

// most records a value that must not be above the bar.
func most[T time.Duration | float64 | int](r *run, what string, value, bar T, unit string) {
	r.out = append(r.out, figure{what, show(value, unit), "at most " + show(bar, unit), value <= bar})
}

// note records a value without a bar.
func note[T time.Duration | float64 | int](r *run, what string, value T, unit string) {
	r.out = append(r.out, figure{what, show(value, unit), "-", true})
}

func show(v any, unit string) string {
	switch v := v.(type) {
	case time.Duration:
		return v.Round(v / 1000).String()
	case float64:
		return fmt.Sprintf("%.3g%s", v, unit)
	default:
		return fmt.Sprintf("%v%s", v, unit)
	}
}

// p99 returns the 99th percentile of what was measured, and the median.
func p99(d []time.Duration) (p50, p99 time.Duration) {
	if len(d) == 0 {
		return 0, 0
	}
	slices.Sort(d)
	return d[len(d)/2], d[min(len(d)-1, len(d)*99/100)]
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == listClient {
		if err := runListClient(os.Args[2], os.Args[3], os.Getenv("PF9_TOKEN"), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bars:", err)
			os.Exit(2)
		}
		return
	}
	if len(os.Args) == 4 && os.Args[1] == dialPlugin {
		if err := runDialPlugin(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "bars:", err)
			os.Exit(2)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == bePlugin {
		hostileplugin.Main(os.Args[2])
	}
	quick := flag.Bool("quick", false, "short forms: fewer repetitions, the same bars")
	keep := flag.Bool("keep", false, "keep the working directory with all logs")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: bars [-quick] [-keep] [name ...]\n\n")
		for _, b := range bars {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-8s %s\n", b.name, b.about)
		}
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	missed, err := runBars(ctx, flag.Args(), *quick, *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bars:", err)
		os.Exit(2)
	}
	if missed > 0 {
		fmt.Printf("%d missed\n", missed)
		os.Exit(1)
	}
}

func runBars(ctx context.Context, names []string, quick, keep bool) (missed int, err error) {
	for _, name := range names {
		if !slices.ContainsFunc(bars, func(b bar) bool { return b.name == name }) {
			return 0, fmt.Errorf("no bar %q; see -help", name)
		}
	}
	dir, err := os.MkdirTemp("", "pf9-bars-")
	if err != nil {
		return 0, err
	}
	if keep {
		fmt.Println("working in", dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	programs, err := sandbox.Build(ctx, dir)
	if err != nil {
		return 0, err
	}
	for _, b := range bars {
		if len(names) > 0 && !slices.Contains(names, b.name) {
			continue
		}
		n, err := runBar(ctx, b, programs, dir, quick)
		if err != nil {
			fmt.Printf("  %-58s %v\n", "NOT MEASURED", err)
		}
		missed += n
		if ctx.Err() != nil {
			return missed, ctx.Err()
		}
	}
	return missed, nil
}

// runBar runs one measurement in a directory of its own.
func runBar(ctx context.Context, b bar, programs sandbox.Programs, dir string, quick bool) (missed int, err error) {
	fmt.Printf("%s: %s\n", b.name, b.about)
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	sub, err := os.MkdirTemp(dir, b.name+"-")
	if err != nil {
		return 1, err
	}
	r := &run{box: sandbox.New(programs, sub), quick: quick}
	defer r.box.Close()
	began := time.Now()
	err = b.run(ctx, r)
	for _, f := range r.out {
		mark := "ok"
		if !f.ok {
			mark = "MISSED"
			missed++
		}
		fmt.Printf("  %-58s %-12s %-22s %s\n", f.what, f.value, f.bar, mark)
	}
	fmt.Printf("  %s\n", strings.Repeat("-", 40)+" "+time.Since(began).Round(time.Second).String())
	if err != nil {
		missed++
	}
	return missed, err
}
