package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// The outcomes of a check.
const (
	OK      = "ok"
	Failed  = "FAILED"
	Warned  = "warning" // perhaps a mistake; no rule is broken
	Skipped = "skipped"
)

// Report is what a check found.
type Report struct {
	// Problem says why the plugin could not be checked: it does not start, or
	// ends before it says hello. Nothing was learned of the rules then, and Hello
	// is 0. Otherwise it says why the check is not whole, such as for lack of time.
	Problem   string        `json:"problem,omitempty"`
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
	// Logs are what the plugin logged in runs that broke a rule.
	Logs []Log `json:"logs,omitempty"`
}

// Result is of one rule.
type Result struct {
	Rule    protocol.Rule `json:"rule"`
	Outcome string        `json:"outcome"` // "ok", "FAILED", "warning" or "skipped"
	// Reason says what was seen; it may be empty for ok.
	Reason string `json:"reason,omitempty"`
	// NotReached is set if the rule is skipped because the check did not come
	// that far.
	NotReached bool `json:"not_reached,omitempty"`
}

// OK says whether the plugin was checked in full and no rule is broken.
func (r *Report) OK() bool { return r.ExitCode() == 0 }

// Failures are the broken rules.
func (r *Report) Failures() []Result {
	return slices.DeleteFunc(slices.Clone(r.Results), func(res Result) bool { return res.Outcome != Failed })
}

// ExitCode is for a program that ends with the report: 0, or 1 if a rule is
// broken, or 2 if none is known to be and the plugin could not be checked, or
// not in full.
func (r *Report) ExitCode() int {
	switch {
	case len(r.Failures()) > 0:
		return 1
	case r.Problem != "":
		return 2
	}
	return 0
}

// WriteText writes the report for people: one line a rule, and one for all rules
// that were not reached.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	if r.Problem != "" && r.Hello == 0 && len(r.Failures()) == 0 {
		fmt.Fprintf(&b, "cannot check this plugin: %s\n", r.Problem)
	} else {
		r.writeResults(&b)
	}
	for _, l := range r.Logs {
		b.WriteString("\nIt logged this")
		if len(l.Rules) > 0 {
			fmt.Fprintf(&b, " in the run that broke %s", list(l.Rules, len(l.Rules)))
		}
		fmt.Fprintf(&b, " (lines with \"%s\" say what was done to it):\n", strings.TrimSpace(kitSays))
		for line := range strings.Lines(l.Text) {
			b.WriteString("  | " + strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	_, err := io.WriteString(w, strings.Map(printable, b.String()))
	return err
}

// printable keeps what a plugin says from steering a terminal.
func printable(r rune) rune {
	if r == '\n' || r == '\t' || unicode.IsPrint(r) {
		return r
	}
	return '?'
}

func (r *Report) writeResults(b *strings.Builder) {
	count := map[string]int{}
	var unreached []protocol.Rule
	why := ""
	for _, res := range r.Results {
		if res.NotReached {
			unreached, why = append(unreached, res.Rule), res.Reason
			continue
		}
		count[res.Outcome]++
		fmt.Fprintf(b, "%-8s %-28s %s\n", res.Outcome, res.Rule, res.Reason)
	}
	if len(unreached) > 0 {
		fmt.Fprintf(b, "%-8s %d %s not reached (%s): %s\n", Skipped, len(unreached), plural("rule", len(unreached)), why, list(unreached, 3))
	}
	if r.Problem != "" {
		fmt.Fprintf(b, "%-8s %s\n", "PROBLEM", r.Problem)
	}
	if r.Snapshot > 0 {
		fmt.Fprintf(b, "\n%d resources; hello after %v, snapshot after %v more%s\n",
			r.Resources, r.Hello.Round(time.Millisecond), r.Snapshot.Round(time.Millisecond), r.costs())
	} else {
		b.WriteString("\n")
	}
	fmt.Fprintf(b, "%s: %d ok, %d failed", r.verdict(count[Failed]), count[OK], count[Failed])
	if n := count[Warned]; n > 0 {
		fmt.Fprintf(b, ", %d %s", n, plural("warning", n))
	}
	fmt.Fprintf(b, ", %d skipped", count[Skipped])
	if n := len(unreached); n > 0 {
		fmt.Fprintf(b, ", %d not reached", n)
	}
	fmt.Fprintf(b, ", in %v\n", r.Took.Round(10*time.Millisecond))
}

// costs are those that were measured.
func (r *Report) costs() string {
	if r.Memory == 0 {
		return ""
	}
	return fmt.Sprintf("; %.1f MiB resident; %.2f %% of a processor", float64(r.Memory)/(1<<20), 100*r.Processor)
}

func (r *Report) verdict(failed int) string {
	name := strings.TrimSpace(r.Plugin + " " + r.Version)
	if name == "" {
		name = "the plugin"
	}
	switch {
	case failed == 1:
		return name + " breaks a rule"
	case failed == 0 && r.Problem != "":
		return name + " breaks no rule that was tried"
	case failed == 0:
		return name + " keeps the protocol"
	}
	return fmt.Sprintf("%s breaks %d rules", name, failed)
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// list names some rules, at most so many.
func list(rules []protocol.Rule, most int) string {
	var names []string
	for i, r := range rules {
		if i == most {
			names = append(names, "...")
			break
		}
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

func (k *kit) ok(r protocol.Rule, reason string)   { k.note(r, OK, reason) }
func (k *kit) fail(r protocol.Rule, reason string) { k.note(r, Failed, reason) }
func (k *kit) warn(r protocol.Rule, reason string) { k.note(r, Warned, reason) }
func (k *kit) skip(r protocol.Rule, reason string) { k.note(r, Skipped, reason) }

// weight orders outcomes: a heavier one stays, whatever else another run of the
// plugin shows.
var weight = map[string]int{Skipped: 1, OK: 2, Warned: 3, Failed: 4}

func (k *kit) note(r protocol.Rule, outcome, reason string) {
	if was := k.results[r]; was == nil || weight[outcome] > weight[was.Outcome] {
		k.results[r] = &Result{Rule: r, Outcome: outcome, Reason: reason}
	}
}

// breach notes an error of a conversation: as of the rule that it names if it
// is a breach of the protocol, of the one that was looked at otherwise.
func (k *kit) breach(r protocol.Rule, err error) {
	if v, ok := errors.AsType[*protocol.Violation](err); ok {
		k.fail(v.Rule, v.Text)
		return
	}
	k.fail(r, err.Error())
}

// broken says whether a rule is known to be broken.
func (k *kit) broken(r protocol.Rule) bool {
	return k.results[r] != nil && k.results[r].Outcome == Failed
}

// failed are the rules that are known to be broken.
func (k *kit) failed() []protocol.Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r protocol.Rule) bool { return !k.broken(r) })
}

// close fills the report in. Rules of the protocol that no run broke are kept,
// if there was a conversation to break them in. Rules that were not reached are a
// problem, unless a broken one is the reason.
func (k *kit) close() {
	why, failed := k.stop, k.failed()
	if why == "" && len(failed) > 0 {
		why = list(failed, 1) + " comes first"
	}
	var unreached []protocol.Rule
	for _, rule := range rules {
		res := k.results[rule]
		switch {
		case k.empty && slices.Contains(vacuous, rule) && (res == nil || res.Outcome == OK):
			res = &Result{Rule: rule, Outcome: Skipped, Reason: "nothing is listed"}
		case res != nil && (res.Outcome == Failed || !k.untried[rule]):
		case passive[rule] && k.keys != nil:
			res = &Result{Rule: rule, Outcome: OK}
		default:
			res = &Result{Rule: rule, Outcome: Skipped, Reason: why, NotReached: true}
			unreached = append(unreached, rule)
		}
		k.report.Results = append(k.report.Results, *res)
	}
	if len(unreached) == 0 || k.report.Hello == 0 || k.report.Problem == "" && len(failed) > 0 {
		return
	}
	if k.report.Problem == "" {
		k.report.Problem = cmp.Or(why, "the check did not come to its end")
	}
	k.report.Problem += "; not tried: " + list(unreached, len(unreached))
}

// vacuous are the rules that nothing can break where nothing is listed.
var vacuous = []protocol.Rule{
	protocol.RuleUnique, protocol.RuleKinds, protocol.RuleResource, RuleSpecs, RuleColumns, protocol.RuleSize, RuleStable, RuleErrors,
}

// passive are the rules that every conversation watches.
var passive = map[protocol.Rule]bool{
	protocol.RuleJSON: true, protocol.RuleLineSize: true, protocol.RuleDirection: true,
	protocol.RuleSnapshot: true, protocol.RuleSeq: true, protocol.RuleCount: true,
	protocol.RuleUnique: true, protocol.RuleKinds: true, protocol.RuleResource: true,
	protocol.RuleSize: true, protocol.RuleStatus: true,
}
