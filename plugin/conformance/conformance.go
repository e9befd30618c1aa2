// Package conformance checks that an executable, in whatever language, is a
// good plugin: it starts the program a few times as the agent would, one start
// after the other, plays an agent that is kind, slow, wrong or gone, and reports
// each rule that the plugin keeps or breaks.
//
// It is behind `pf9-hostagent plugin check` and plugintest.RunBinary. It does
// not look at what a plugin lists beyond its form: that is for the author's own
// tests.
package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	// BreakList, if set, makes the plugin's List fail, in one step such as a
	// rename, and returns how to mend that. Without it nothing tells whether an
	// error deletes nothing. [BreakBy] makes one of two commands.
	BreakList func() (mend func(), err error)
	// MaxMemory bounds the plugin's resident bytes at any time; 0 means 64 MiB,
	// what its unit grants.
	MaxMemory int64
	// MaxProcessor bounds the share of one processor that the plugin takes
	// while nothing changes and it lists ten times a second; 0 means 0.25.
	MaxProcessor float64
	// Slack is added to each time limit, for slow and busy machines: of the 1 s
	// that a plugin has to say hello, and so on.
	Slack time.Duration
}

// The rules of this package, besides those of package protocol.
const (
	RuleHelloInTime   protocol.Rule = "hello-in-time"
	RuleFirstSnapshot protocol.Rule = "first-snapshot"
	RuleSpecs         protocol.Rule = "specs-match-schema"
	RuleColumns       protocol.Rule = "columns-have-values"
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
	protocol.RuleResource, RuleSpecs, RuleColumns, protocol.RuleSize, protocol.RuleStatus,
	RuleQuiet, RuleResync, RulePong, RuleUnknown, RuleWindow, RuleStable, RuleErrors,
	RuleDefaults, RuleUnknownKey, RuleGone, RuleStop, RuleSigterm, RuleHalfClosed,
	RuleLongLine, RuleGarbage, RuleSlowReader, RuleStdout, RuleMemory, RuleProcessor,
}

const (
	budget     = 10 * time.Second // for everything after the first start, without slack
	helloTime  = time.Second      // that a plugin has
	patience   = 10 * time.Second // that the kit has, to tell a late hello from none
	firstTime  = 5 * time.Second  // for the first snapshot
	answerTime = time.Second
	leaveTime  = 2 * time.Second
)

// Check checks one plugin. It takes a few seconds, and of a plugin that is slow
// or hangs no more than some ten, the time of its starts up to the first list,
// and five times Options.Slack. What could not be tried in that time is a
// Problem of the report. It leaves no process behind.
func Check(ctx context.Context, o Options) Report {
	if o.MaxMemory == 0 {
		o.MaxMemory = 64 << 20
	}
	if o.MaxProcessor == 0 {
		o.MaxProcessor = 0.25
	}
	k := &kit{opt: o, results: make(map[protocol.Rule]*Result)}
	began := time.Now()
	if k.first(ctx) {
		k.rest(ctx)
	}
	if ctx.Err() != nil { // what was seen last may be of that
		k = &kit{stop: "interrupted", report: Report{Problem: "the check was interrupted"}}
	}
	k.report.Took = time.Since(began)
	k.close()
	return k.report
}

// kit is one check under way.
type kit struct {
	opt      Options
	hello    protocol.Hello // of the first run
	keys     map[protocol.Key]bool
	starts   int
	empty    bool                   // nothing is listed
	stop     string                 // why no further scenario is worth its start; "": go on
	slowest  time.Duration          // from a start to its first list
	untried  map[protocol.Rule]bool // in full, for stop
	listTime time.Duration          // of one that was asked for
	report   Report
	results  map[protocol.Rule]*Result
}

// first runs the plugin for the first time and reports whether it is worth more.
func (k *kit) first(ctx context.Context) bool {
	c, err := k.start(ctx, false)
	if err != nil {
		k.report.Problem = Unstartable(k.opt.Command, err)
		return false
	}
	defer k.keepLog(c, k.failed())
	defer c.close()
	return k.meet(c) && k.conversation(c)
}

// scenario is what is done to a plugin that has said hello.
type scenario struct {
	rule protocol.Rule // that it is about
	run  func(*child)
}

// scenarios are those after the first conversation. Those of a group share a
// start as far as the plugin outlives them.
func (k *kit) scenarios() [][]scenario {
	spoilt := []scenario{{RuleDefaults, k.defaults}}
	for _, garbage := range garbages() {
		spoilt = append(spoilt, scenario{RuleGarbage, func(c *child) { k.garbage(c, garbage) }})
	}
	return [][]scenario{
		{{RuleStable, k.restart}},
		{{RuleWindow, k.window}, {RuleSigterm, k.sigterm}},
		{{RuleSlowReader, k.slowReader}, {RuleHalfClosed, k.halfClosed}},
		{{RuleLongLine, k.longLine}},
		spoilt,
		{{RuleUnknownKey, k.unknownKey}},
		{{RuleErrors, k.listError}}, // last, for it spoils what the others list
	}
}

// rest runs the scenarios one after the other: several starts at once would only
// make each of them slow.
func (k *kit) rest(ctx context.Context) {
	all := k.scenarios()
	start := min(k.report.Hello, helloTime+k.opt.Slack) + min(k.report.Snapshot, firstTime+k.opt.Slack)
	most := budget + time.Duration(len(slices.Concat(all...)))*start + 5*k.opt.Slack
	end := time.Now().Add(most)
	for _, group := range all {
		for len(group) > 0 {
			if time.Now().After(end) && k.stop == "" {
				k.outOfTime(most)
			}
			if reason := k.needless(group[0].rule); reason != "" {
				k.skip(group[0].rule, reason)
				group = group[1:]
				continue
			}
			if k.stop != "" || ctx.Err() != nil {
				k.leaveOut(group)
				break
			}
			group = k.with(ctx, group)
		}
	}
}

// outOfTime ends the check, and says so where nobody takes it for a success.
func (k *kit) outOfTime(most time.Duration) {
	k.stop = fmt.Sprintf("out of time after %v: a start took up to %v until its first list", most.Round(time.Second), k.slowest.Round(100*time.Millisecond))
	k.report.Problem = k.stop + "; " + slackFor(k.slowest)
}

// slackFor is what to do about a plugin that needs so long for something.
func slackFor(took time.Duration) string {
	return fmt.Sprintf("a plugin whose list is slow is checked with --slack %v (Options.Slack)", took.Round(time.Second)+time.Second)
}

func (k *kit) leaveOut(group []scenario) {
	if k.untried == nil {
		k.untried = make(map[protocol.Rule]bool)
	}
	for _, s := range group {
		k.untried[s.rule] = true
	}
}

// needless says why the scenario of a rule need not be run, if so.
func (k *kit) needless(r protocol.Rule) string {
	switch r {
	case RuleErrors:
		if k.opt.BreakList == nil {
			return "not exercised: tell how to make the list fail and heal, by --break CMD --mend CMD or in a test by BreakList"
		}
	case RuleDefaults, RuleUnknownKey:
		if len(k.hello.ConfigSchema) == 0 {
			return "the plugin publishes no config_schema"
		}
	case RuleGarbage:
		if k.broken(RuleGarbage) {
			return "broken already"
		}
	}
	return ""
}

// with runs scenarios with one start of the plugin, and returns those that need
// another one. What keeps the plugin from its hello is not filed under their
// rules.
func (k *kit) with(ctx context.Context, group []scenario) []scenario {
	c, err := k.start(ctx, group[0].rule == RuleSlowReader)
	if err != nil {
		k.fail(RuleHelloInTime, k.startName()+Unstartable(k.opt.Command, err))
		k.stop = "the plugin does not start again"
		return group
	}
	defer k.keepLog(c, k.failed())
	defer c.close()
	if !k.greet(c) {
		return group
	}
	for i, s := range group {
		if s.run(c); c.left() || c.wholes == 0 || k.broken(s.rule) {
			return group[i+1:]
		}
	}
	return nil
}

// greet waits for hello, longer than a plugin may take: so a late one breaks
// one rule, and what comes after it has that much more time.
func (k *kit) greet(c *child) bool {
	limit := helloTime + k.opt.Slack
	err := c.readHello(max(limit, patience))
	took := cmp.Or(c.greeted, time.Since(c.began))
	if _, broken := errors.AsType[*protocol.Violation](err); broken {
		k.breach(RuleHelloInTime, err)
		k.stop = "the hello is wrong"
		return false
	}
	switch {
	case errors.Is(err, errTimeout):
		k.fail(RuleHelloInTime, k.startName()+c.silence(took))
		k.stop = "there is no hello"
	case err != nil && k.starts == 1:
		k.report.Problem = c.untimelyEnd(took)
	case err != nil:
		k.fail(RuleHelloInTime, k.startName()+c.untimelyEnd(took))
		k.stop = "the plugin does not start again"
	case took > limit:
		k.fail(RuleHelloInTime, fmt.Sprintf("%shello came after %v, want it within %v: say hello before anything slow; on a slow or busy machine add --slack %v (Options.Slack)",
			k.startName(), took.Round(10*time.Millisecond), limit, (2*took).Round(time.Second)+time.Second))
		k.opt.Slack += took
	}
	return err == nil
}

// startName names a start that is not the first, for a reason.
func (k *kit) startName() string {
	if k.starts < 2 {
		return ""
	}
	return fmt.Sprintf("on start %d: ", k.starts)
}
