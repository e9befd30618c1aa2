// Package conformance checks that an executable, in whatever language, is a
// good plugin: it starts the program a few times as the agent would, plays an
// agent that is kind, slow, wrong or gone, and reports each rule that the
// plugin keeps or breaks.
//
// It is behind `pf9-hostagent plugin check` and plugintest.RunBinary. It does
// not look at what a plugin lists beyond its form: that is for the author's own
// tests.
package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// Options say what to check and how.
type Options struct {
	// Command is the plugin's executable and its arguments.
	Command []string
	// Env is the plugin's environment; nil: PATH, HOME, LANG and TZ only.
	Env []string
	// Config is the plugin's configuration, an object; nil: its defaults.
	Config json.RawMessage
	// BreakList, if set, makes the plugin's List fail, and returns how to mend
	// that. Without it nothing tells whether an error deletes nothing.
	BreakList func() (mend func(), err error)
	// MaxMemory bounds the plugin's resident bytes at any time; 0 means 64 MiB,
	// what its unit grants.
	MaxMemory int64
	// MaxProcessor bounds the share of one processor that the plugin takes
	// while nothing changes and it lists ten times a second; 0 means 0.25.
	MaxProcessor float64
	// Slack is added to each time limit, for slow machines.
	Slack time.Duration
}

// The rules of this package, besides those of package protocol.
const (
	RuleHelloInTime   protocol.Rule = "hello-in-time"
	RuleFirstSnapshot protocol.Rule = "first-snapshot"
	RuleSpecs         protocol.Rule = "specs-match-schema"
	RuleQuiet         protocol.Rule = "quiet-when-unchanged"
	RuleResync        protocol.Rule = "resync-repeats-all"
	RulePong          protocol.Rule = "pong-in-time"
	RuleUnknown       protocol.Rule = "unknown-is-ignored"
	RuleWindow        protocol.Rule = "window-kept"
	RuleStable        protocol.Rule = "ids-stable"
	RuleGone          protocol.Rule = "leaves-with-the-agent"
	RuleStop          protocol.Rule = "leaves-when-told"
	RuleSigterm       protocol.Rule = "leaves-on-sigterm"
	RuleHalfClosed    protocol.Rule = "leaves-when-half-closed"
	RuleLongLine      protocol.Rule = "refuses-a-long-line"
	RuleGarbage       protocol.Rule = "outlives-garbage"
	RuleSlowReader    protocol.Rule = "outlives-a-slow-reader"
	RuleDefaults      protocol.Rule = "config-takes-its-defaults"
	RuleUnknownKey    protocol.Rule = "config-refuses-unknown-keys"
	RuleErrors        protocol.Rule = "error-deletes-nothing"
	RuleStdout        protocol.Rule = "stdout-is-only-log"
	RuleMemory        protocol.Rule = "memory-limit"
	RuleProcessor     protocol.Rule = "processor-limit"
)

// rules are all of them, in the order of the report.
var rules = []protocol.Rule{
	RuleHelloInTime, protocol.RuleHello, protocol.RuleProtocol, RuleFirstSnapshot,
	protocol.RuleJSON, protocol.RuleLineSize, protocol.RuleDirection, protocol.RuleSnapshot,
	protocol.RuleSeq, protocol.RuleCount, protocol.RuleUnique, protocol.RuleKinds,
	protocol.RuleResource, RuleSpecs, protocol.RuleSize, protocol.RuleStatus,
	RuleQuiet, RuleResync, RulePong, RuleUnknown, RuleWindow, RuleStable, RuleErrors,
	RuleDefaults, RuleUnknownKey, RuleGone, RuleStop, RuleSigterm, RuleHalfClosed,
	RuleLongLine, RuleGarbage, RuleSlowReader, RuleStdout, RuleMemory, RuleProcessor,
}

const (
	budget     = 10 * time.Second // for everything, without slack
	helloTime  = time.Second
	firstTime  = 5 * time.Second // for the first snapshot
	answerTime = time.Second
	leaveTime  = 2 * time.Second
	atOnce     = 4 // plugins running at a time
)

// Check checks one plugin. It takes a few seconds, and no more than ten and
// what Options.Slack allows. It leaves no process behind.
func Check(ctx context.Context, o Options) Report {
	if o.MaxMemory == 0 {
		o.MaxMemory = 64 << 20
	}
	if o.MaxProcessor == 0 {
		o.MaxProcessor = 0.25
	}
	ctx, cancel := context.WithTimeout(ctx, budget+5*o.Slack)
	defer cancel()
	k := &kit{opt: o, results: make(map[protocol.Rule]*Result)}
	began := time.Now()
	if len(o.Command) == 0 {
		k.fail(RuleHelloInTime, "no command is given")
	} else if k.first(ctx) {
		k.rest(ctx)
	}
	k.report.Took = time.Since(began)
	k.close(ctx)
	return k.report
}

// kit is one check under way.
type kit struct {
	opt   Options
	hello protocol.Hello // of the first run
	keys  map[protocol.Key]bool

	mu      sync.Mutex // guards the fields below
	report  Report
	results map[protocol.Rule]*Result
}

// first runs the plugin for the first time and reports whether it is worth more.
func (k *kit) first(ctx context.Context) bool {
	c, err := k.start(ctx, false)
	if err != nil {
		k.fail(RuleHelloInTime, err.Error())
		return false
	}
	defer c.close()
	if !k.meet(c) {
		return false
	}
	return k.conversation(c)
}

// rest runs what needs a plugin of its own.
func (k *kit) rest(ctx context.Context) {
	turns := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, s := range []struct {
		rule protocol.Rule // that a plugin breaks that does not even get that far
		run  func(*child)
	}{
		{RuleStable, k.restart},
		{RuleWindow, k.window},
		{RuleSigterm, k.sigterm},
		{RuleHalfClosed, k.halfClosed},
		{RuleLongLine, k.longLine},
		{RuleSlowReader, k.slowReader},
		{RuleDefaults, k.defaults},
		{RuleUnknownKey, k.unknownKey},
	} {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			k.with(ctx, s.rule, s.run)
		})
	}
	for _, garbage := range garbages() {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			k.with(ctx, RuleGarbage, func(c *child) { k.garbage(c, garbage) })
		})
	}
	wg.Wait()
	k.with(ctx, RuleErrors, k.listError) // alone, for it spoils what all of them list
}

// with runs one scenario with a plugin that has said hello.
func (k *kit) with(ctx context.Context, rule protocol.Rule, run func(*child)) {
	if ctx.Err() != nil {
		k.skip(rule, "out of time")
		return
	}
	c, err := k.start(ctx, rule == RuleSlowReader)
	if err != nil {
		k.fail(rule, err.Error())
		return
	}
	defer c.close()
	defer k.keepLog(c)
	if err := c.readHello(helloTime + k.opt.Slack); err != nil {
		k.breach(rule, fmt.Errorf("started again: %w", err))
		return
	}
	run(c)
}
