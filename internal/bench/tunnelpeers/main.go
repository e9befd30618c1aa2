// Command tunnelpeers compares the product's tunnel with raw TLS and with the
// multiplexers that Go programs use elsewhere, all in one run on one machine,
// over mutual TLS 1.3 with ECDSA P-256:
//
//	go -C internal/bench/tunnelpeers run . -quick   # one short round
//	go -C internal/bench/tunnelpeers run .          # at most 12 minutes
//
// It prints tables of medians and a verdict on each of the tunnel's bars, and
// ends with code 1 when a bar is missed. The rows through a 50 ms round trip
// need root, for two network namespaces of their own, and are left out without.
//
// The agent and the control plane (DU) are a process each, so that CPU time
// (process CPU clocks of both) and memory are their own. The peers run over the
// same gorilla WebSocket as ours, with an adapter that writes one frame per
// write, keeps no write buffers when idle and lets the HTTP handler return;
// each has its default configuration. remotedialer brings its own server and
// client. Stacks run in random order in each round. A row that gets no answer
// within its limit is reported as frozen and its processes are ended.
//
// This is a module of its own so that the peers stay out of the product's
// go.mod. remotedialer is v0.4.1: for the v0.5 and v0.6 versions that were
// tried the public checksum database has no entry.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// wholeRun bounds the run; what does not fit is left out and said.
const wholeRun = 12 * time.Minute

func main() {
	ok, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tunnelpeers:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rounds, sessionRounds, farRounds int
	stacks                           []named
	groups                           []string
	json                             string
	plan                             plan
}

func run() (ok bool, err error) {
	o, child, err := parseFlags()
	if err != nil {
		return false, err
	}
	if child {
		return true, runChild()
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, wholeRun)
	defer cancel()
	m := startMachine()
	res, err := measure(ctx, o)
	if err != nil {
		return false, err
	}
	if o.json != "" {
		b, err := json.MarshalIndent(res, "", "  ")
		if err != nil {
			return false, err
		}
		if err := os.WriteFile(o.json, append(b, '\n'), 0o644); err != nil {
			return false, err
		}
	}
	fmt.Println(m)
	printTables(os.Stdout, res, o.stacks)
	return printVerdicts(os.Stdout, res), nil
}

func parseFlags() (o options, child bool, err error) {
	var stacks, rows string
	var quick bool
	all := allStacks()
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.name
	}
	groups := []string{"bulk", "ping", "open", "stall", "duplex", "sessions", "far"}
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of the rows on loopback")
	flag.StringVar(&stacks, "stacks", "", "only these, comma separated, of "+strings.Join(names, ","))
	flag.StringVar(&rows, "rows", "", "only these, comma separated, of "+strings.Join(groups, ","))
	flag.StringVar(&o.json, "json", "", "write every figure of every round to this `file`")
	flag.BoolVar(&quick, "quick", false, "one short round")
	flag.BoolVar(&child, "child", false, "for this program's own use")
	flag.Parse()

	o.plan, o.sessionRounds, o.farRounds = fullPlan(), 2, 1
	if quick {
		o.plan, o.rounds, o.sessionRounds = quickPlan(), 1, 1
	}
	if o.groups, err = parseList(rows, groups); err != nil {
		return o, child, err
	}
	chosen, err := parseList(stacks, names)
	if err != nil {
		return o, child, err
	}
	o.stacks = slices.DeleteFunc(all, func(s named) bool {
		if chosen == nil {
			return s.extra
		}
		return !slices.Contains(chosen, s.name)
	})
	return o, child, nil
}

// measure runs all rounds.
func measure(ctx context.Context, o options) (results, error) {
	id, err := newIdentity()
	if err != nil {
		return nil, err
	}
	r := &runner{id: id, stacks: o.stacks, groups: o.groups, out: results{}, log: os.Stderr}
	loopback := place{host: "127.0.0.1"}
	for i := range o.sessionRounds {
		r.round(ctx, sessionRows(o.plan), loopback, fmt.Sprintf("sessions, round %d", i+1))
	}
	if o.groups == nil || slices.Contains(o.groups, "far") {
		if err := r.far(ctx, o); err != nil {
			fmt.Fprintln(os.Stderr, "rows through 50 ms left out:", err)
		}
	}
	for i := range o.rounds {
		r.round(ctx, nearRows(o.plan), loopback, fmt.Sprintf("round %d", i+1))
	}
	return r.out, nil
}
