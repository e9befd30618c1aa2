package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// The outcomes of a check.
const (
	OK      = "ok"
	Failed  = "FAILED"
	Skipped = "skipped"
)

// Report is what a check found.
type Report struct {
	Plugin    string        `json:"plugin"`
	Version   string        `json:"version"`
	SDK       string        `json:"sdk,omitempty"`
	Resources int           `json:"resources"`
	Hello     time.Duration `json:"hello_ns"`     // from the start of the program
	Snapshot  time.Duration `json:"snapshot_ns"`  // from the welcome to the complete list
	Memory    int64         `json:"memory_bytes"` // most resident
	Processor float64       `json:"processor"`    // share of one while nothing changed
	Took      time.Duration `json:"took_ns"`
	Results   []Result      `json:"results"`
	// Stderr is the end of what the plugin logged, of runs that broke a rule.
	Stderr string `json:"stderr,omitempty"`
}

// Result is of one rule.
type Result struct {
	Rule    protocol.Rule `json:"rule"`
	Outcome string        `json:"outcome"` // "ok", "FAILED" or "skipped"
	// Reason says what was seen; it may be empty for ok.
	Reason string `json:"reason,omitempty"`
}

// OK says whether no rule is broken.
func (r *Report) OK() bool { return len(r.Failures()) == 0 }

// Failures are the broken rules.
func (r *Report) Failures() []Result {
	var failed []Result
	for _, res := range r.Results {
		if res.Outcome == Failed {
			failed = append(failed, res)
		}
	}
	return failed
}

// ExitCode is for a program that ends with the report: 0, or 1 if a rule is broken.
func (r *Report) ExitCode() int {
	if r.OK() {
		return 0
	}
	return 1
}

// WriteText writes the report for people, one line a rule.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	name := strings.TrimSpace(r.Plugin + " " + r.Version)
	if name == "" {
		name = "the plugin"
	}
	count := map[string]int{}
	for _, res := range r.Results {
		count[res.Outcome]++
		fmt.Fprintf(&b, "%-8s %-28s %s\n", res.Outcome, res.Rule, res.Reason)
	}
	fmt.Fprintf(&b, "\n%d resources; hello after %v, snapshot after %v more; %.1f MiB resident; %.2f %% of a processor\n",
		r.Resources, r.Hello.Round(time.Millisecond), r.Snapshot.Round(time.Millisecond), float64(r.Memory)/(1<<20), 100*r.Processor)
	verdict := "keeps the protocol"
	if !r.OK() {
		verdict = fmt.Sprintf("breaks %d rules", count[Failed])
		if count[Failed] == 1 {
			verdict = "breaks a rule"
		}
	}
	fmt.Fprintf(&b, "%s %s: %d ok, %d failed, %d skipped, in %v\n",
		name, verdict, count[OK], count[Failed], count[Skipped], r.Took.Round(10*time.Millisecond))
	if r.Stderr != "" {
		fmt.Fprintf(&b, "\nThe plugin logged:\n%s\n", r.Stderr)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (k *kit) ok(r protocol.Rule, reason string)   { k.note(r, OK, reason) }
func (k *kit) fail(r protocol.Rule, reason string) { k.note(r, Failed, reason) }
func (k *kit) skip(r protocol.Rule, reason string) { k.note(r, Skipped, reason) }

// note notes an outcome. The first failure of a rule stays, whatever else
// another run of the plugin shows.
func (k *kit) note(r protocol.Rule, outcome, reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.results[r]
	if was == nil || was.Outcome != Failed && (outcome == Failed || was.Outcome == Skipped) {
		k.results[r] = &Result{r, outcome, reason}
	}
}

// breach notes an error of a conversation: as of the rule that it names if it
// is a breach of the protocol, of the one that was looked at otherwise.
func (k *kit) breach(r protocol.Rule, err error) {
	if v, ok := errors.AsType[*protocol.Violation](err); ok {
		k.fail(v.Rule, v.Text)
		k.skip(r, fmt.Sprintf("not reached: %s is broken", v.Rule))
		return
	}
	k.fail(r, err.Error())
}

// close fills the report in. Rules of the protocol that no run broke are kept,
// if there was a conversation to break them in.
func (k *kit) close(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, rule := range rules {
		res := k.results[rule]
		switch {
		case res != nil:
		case passive[rule] && k.keys != nil:
			res = &Result{rule, OK, ""}
		case ctx.Err() != nil:
			res = &Result{rule, Skipped, "not reached: out of time"}
		default:
			res = &Result{rule, Skipped, "not reached"}
		}
		k.report.Results = append(k.report.Results, *res)
	}
}

// passive are the rules that every conversation watches.
var passive = map[protocol.Rule]bool{
	protocol.RuleJSON: true, protocol.RuleLineSize: true, protocol.RuleDirection: true,
	protocol.RuleSnapshot: true, protocol.RuleSeq: true, protocol.RuleCount: true,
	protocol.RuleUnique: true, protocol.RuleKinds: true, protocol.RuleResource: true,
	protocol.RuleSize: true, protocol.RuleStatus: true,
}
