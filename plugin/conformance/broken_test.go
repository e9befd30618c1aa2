package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// variants are ways to break a rule beside the first.
var variants = []string{
	"resync-repeats-all/part", "resync-repeats-all/forgotten", "outlives-garbage/crash", "one-json-object-a-line/type", "valid-resources/id",
	"config-takes-its-defaults/refused", "config-refuses-unknown-keys/schema",
	"config-refuses-unknown-keys/text", "config-refuses-unknown-keys/exit", "config-refuses-unknown-keys/silent",
	"config-refuses-unknown-keys/stays", "error-deletes-nothing/leaves",
	"first-snapshot/not-again", "first-snapshot/refused", "first-snapshot/unflushed",
}

// buildBroken builds the program of testdata/broken.
func buildBroken(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "broken")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./testdata/broken").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// TestBrokenPlugins breaks each rule by itself, and wants the report to name
// that one and no other.
func TestBrokenPlugins(t *testing.T) {
	t.Parallel()
	modes := append([]string{"none", "none/noise", "none/empty", "none/counted"}, variants...)
	for _, rule := range rules {
		modes = append(modes, string(rule))
	}
	reports := checkAll(t, modes, 4*time.Second)
	for i, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			doubted(t, mode, reports[i])
			want, _, _ := strings.Cut(mode, "/")
			var got []string
			for _, f := range reports[i].Failures() {
				got = append(got, string(f.Rule))
			}
			if want == "none" && len(got) == 0 || len(got) == 1 && got[0] == want {
				return
			}
			var text strings.Builder
			_ = reports[i].WriteText(&text)
			t.Errorf("the report names %q\n%s", got, &text)
		})
	}
}

// doubts are what reports say about that breaks no rule, and means little or will.
var doubts = map[string]map[protocol.Rule]string{
	"none/empty": {
		RuleFirstSnapshot: "warning it lists nothing, so these rules saw nothing to hold it to: no-duplicate-ids, ",
		RuleStable:        "skipped nothing is listed", protocol.RuleResource: "skipped nothing is listed", RuleErrors: "skipped nothing is listed",
	},
	"none/counted": {RuleStable: "warning the ids of com.example.thing are 0 to 2"},
	"pong-in-time": {RuleUnknown: "skipped the plugin answers no ping to tell"},
}

// doubted wants the warnings of a mode, and no others.
func doubted(t *testing.T, mode string, r Report) {
	for _, res := range r.Results {
		want := doubts[mode][res.Rule]
		if got := res.Outcome + " " + res.Reason; !strings.HasPrefix(got, want) || res.Outcome == Warned && want == "" {
			t.Errorf("%s is %s, want %s", res.Rule, got, cmp.Or(want, "no warning"))
		}
	}
}

// checkAll checks the plugin that is broken in each of the modes.
func checkAll(t *testing.T, modes []string, slack time.Duration) []Report {
	binary := buildBroken(t)
	reports := make([]Report, len(modes))
	turns := make(chan struct{}, 16) // each starts one plugin at a time, and mostly waits
	var wg sync.WaitGroup
	for i, mode := range modes {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			reports[i] = Check(t.Context(), brokenOptions(t, binary, mode, slack))
		})
	}
	wg.Wait()
	return reports
}

func brokenOptions(t *testing.T, binary, mode string, slack time.Duration) Options {
	file := filepath.Join(t.TempDir(), "break")
	return Options{
		Command: []string{binary, mode}, Env: []string{"BREAK=" + file}, Slack: slack, MaxMemory: 60 << 20,
		BreakList: func() (func(), error) {
			return func() { _ = os.Remove(file) }, os.WriteFile(file, nil, 0o644)
		},
	}
}

// TestSlowStarts wants one failure of a start that is late or never comes to a
// hello, and nothing else to be called broken for it.
func TestSlowStarts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		mode    string
		want    string
		reached bool // the rest
	}{
		{"hello-in-time", "nothing was written to the socket, file descriptor 0, within 10s: does it flush its output?", false},
		{"hello-in-time/unflushed", "came 25 bytes and no whole line", false},
		{"hello-in-time/late", "hello came after", true},
		{"hello-in-time/late-again", "on start 2: hello came after", true},
		{"hello-in-time/not-again", "on start 2: it ended after", false},
		{"hello-in-time/silent-again", "on start 2: nothing was written", false},
	}
	modes := make([]string, len(tests))
	for i, test := range tests {
		modes[i] = test.mode
	}
	reports := checkAll(t, modes, 2*time.Second)
	for i, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			r := &reports[i]
			var text strings.Builder
			_ = r.WriteText(&text)
			f := r.Failures()
			if len(f) != 1 || f[0].Rule != RuleHelloInTime || !strings.Contains(f[0].Reason, test.want) || r.ExitCode() != 1 {
				t.Errorf("want one failure, with %q\n%s", test.want, &text)
			}
			if strings.Contains(text.String(), " not reached (") == test.reached {
				t.Errorf("want the rest to be reached: %v\n%s", test.reached, &text)
			}
			if test.mode == "hello-in-time/not-again" && !strings.Contains(text.String(), "  | the port is taken") {
				t.Errorf("the log is missing in\n%s", &text)
			}
		})
	}
}

// TestSlowLists wants a list that is late or refused to be named as that, with
// what to do.
func TestSlowLists(t *testing.T) {
	t.Parallel()
	tests := []struct {
		mode, want string
		quick      bool
	}{
		{"resync-repeats-all/slow", "the list took 4", false},
		{"first-snapshot", "no complete list within 6s of the welcome, and nothing else: does it flush after each line? If it does, a plugin whose list is slow is checked with --slack", false},
		{"first-snapshot/unflushed", "but 17 bytes: end each message with a newline", false},
		{"first-snapshot/refused", "the list fails: it is broken; no complete one within 1.5s of this status, degraded", true},
	}
	modes := make([]string, len(tests))
	for i, test := range tests {
		modes[i] = test.mode
	}
	reports := checkAll(t, append(modes, "none/slow-later"), time.Second)
	t.Run("none/slow-later", func(t *testing.T) { notTried(t, &reports[len(tests)]) })
	for i, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			r := &reports[i]
			rule, _, _ := strings.Cut(test.mode, "/")
			f := r.Failures()
			if len(f) != 1 || string(f[0].Rule) != rule || !strings.Contains(f[0].Reason, test.want) {
				t.Errorf("the failures are %+v, want one with %q", f, test.want)
			}
			if test.quick && r.Took > 5*time.Second {
				t.Errorf("it took %v, want no wait for what is refused", r.Took)
			}
		})
	}
}

// notTried wants a check whose time is up to be no success.
func notTried(t *testing.T, r *Report) {
	var text strings.Builder
	_ = r.WriteText(&text)
	if r.OK() || r.ExitCode() != 2 || len(r.Failures()) > 0 || !strings.Contains(text.String(), "breaks no rule that was tried") {
		t.Errorf("exit code %d\n%s\nwant 2, for the check is not whole", r.ExitCode(), &text)
	}
	for _, want := range []string{"out of time after 15s: a start took up to 4", "with --slack 5s", "; not tried: ", string(RuleUnknownKey), string(RuleErrors)} {
		if !strings.Contains(r.Problem, want) {
			t.Errorf("the problem is %q, want %q", r.Problem, want)
		}
	}
}

func TestAnInterruptedCheckSaysNothingElse(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	r := Check(ctx, Options{Command: []string{"/bin/cat"}})
	if r.Problem != "the check was interrupted" || r.ExitCode() != 2 || len(r.Failures()) > 0 {
		t.Errorf("the report is %+v", r)
	}
}

func TestRulesThatAreNotReachedAreOneLine(t *testing.T) {
	k := &kit{results: make(map[protocol.Rule]*Result), stop: "there is no hello"}
	k.fail(RuleHelloInTime, "none")
	k.close()
	var text strings.Builder
	if err := k.report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("\nskipped  %d rules not reached (there is no hello): hello-complete, protocol-number, first-snapshot, ...\n", len(rules)-1)
	if !strings.Contains(text.String(), want) || strings.Count(text.String(), "skipped  ") != 1 {
		t.Errorf("the report is\n%s\nwant in it %s", &text, want)
	}
}

func TestCheckOfWhatCannotBeChecked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := func(name, text string, mode os.FileMode) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, test := range map[string]struct {
		command []string
		want    string
	}{
		"nothing":                 {nil, "no command is given"},
		"no such program":         {[]string{"no-such-program-anywhere"}, "there is no program no-such-program-anywhere in PATH"},
		"no such file":            {[]string{dir + "/none"}, "there is no file " + dir + "/none: build it first"},
		"a directory":             {[]string{dir}, "is a directory"},
		"not executable":          {[]string{script("plain", "#!/bin/sh\n", 0o644)}, "is not executable: chmod +x " + dir + "/plain, or name its interpreter before it: /bin/sh " + dir + "/plain"},
		"no interpreter":          {[]string{script("lost", "#!/no/python3 -I\n", 0o755)}, "needs /no/python3, which is not there"},
		"no program":              {[]string{script("text", "hello\n", 0o755)}, "is no program that this machine can run"},
		"a program that ends":     {[]string{"/bin/true"}, "(exit status 0), before a hello: a plugin runs until"},
		"a program that fails":    {[]string{"/bin/sh", "-c", "echo no module json >&2; exit 3"}, "(exit status 3), before a hello; it logged last: no module json"},
		"a program that talks":    {[]string{"/bin/echo", "hello"}, "it printed 6 bytes, as by hand"},
		"hello on the wrong side": {[]string{"/bin/echo", `{"hello":{"name":"x"}}`}, "it wrote a message to standard output"},
		"a line without an end":   {[]string{"/bin/sh", "-c", `printf '{"hello":' >&0`}, "9 bytes came and no whole line"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Check(t.Context(), Options{Command: test.command})
			if !strings.Contains(r.Problem, test.want) || r.ExitCode() != 2 || r.OK() || len(r.Failures()) > 0 {
				t.Errorf("problem %q, exit code %d, failures %+v, want %q, 2 and none", r.Problem, r.ExitCode(), r.Failures(), test.want)
			}
		})
	}
}

func TestReportsAreJSON(t *testing.T) {
	r := Check(t.Context(), Options{Command: []string{"/bin/true"}})
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if again.Problem == "" || len(again.Results) != len(rules) || again.Results[0].Rule != RuleHelloInTime || !again.Results[0].NotReached {
		t.Errorf("the report became %s", b)
	}
}

func TestBreakByRunsCommands(t *testing.T) {
	dir := t.TempDir()
	var left error
	do := func(breaks, mends string) (func(), error) {
		return BreakBy(breaks, mends, func(err error) { left = err })()
	}
	is := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	mend, err := do("touch "+dir+"/broken", "rm "+dir+"/broken")
	if err != nil || !is("broken") {
		t.Fatalf("%v, and what it does is done: %v", err, is("broken"))
	}
	if mend(); is("broken") || left != nil {
		t.Errorf("after mending it is still broken, or %v", left)
	}
	if mend(); left == nil || !strings.Contains(left.Error(), "exit status 1: rm: ") {
		t.Errorf("the second mending: %v, want what rm said", left)
	}
	left = nil
	if _, err := do("exit 4", "exit 5"); err == nil || left != nil {
		t.Errorf("where nothing was broken: %v, and %v is to be undone", err, left)
	}
	if _, err := do("echo oh dear; exit 4", "touch "+dir+"/mended"); err == nil || !strings.Contains(err.Error(), "exit status 4: oh dear") || !is("mended") {
		t.Errorf("a command that fails: %v, and it was mended: %v", err, is("mended"))
	}
}

// TestAListThatCannotBeBrokenIsSaid so that nobody takes the rule for kept.
func TestAListThatCannotBeBrokenIsSaid(t *testing.T) {
	for name, test := range map[string]struct {
		breakList func() (func(), error)
		outcome   string
		want      string
	}{
		"nobody said how": {nil, Skipped, "not exercised: tell how to make the list fail and heal, by --break CMD --mend CMD or in a test by BreakList"},
		"it did not work": {func() (func(), error) { return nil, errors.New("no such thing") }, Warned, "not exercised: no such thing"},
	} {
		k := &kit{opt: Options{BreakList: test.breakList}, results: make(map[protocol.Rule]*Result)}
		if reason := k.needless(RuleErrors); reason != "" {
			k.skip(RuleErrors, reason)
		} else {
			k.breakList()
		}
		if got := k.results[RuleErrors]; got.Outcome != test.outcome || got.Reason != test.want {
			t.Errorf("%s: %+v, want %s, %s", name, got, test.outcome, test.want)
		}
	}
}

func TestTheLogOfARunIsMarked(t *testing.T) {
	var l tail
	if _, logged := l.shown(); logged {
		t.Error("something was logged")
	}
	l.note(kitSays + "says welcome")
	fmt.Fprint(&l, "starting\npanic: no luck\n\ngoroutine 1")
	l.note(kitSays + "closes the connection")
	text, logged := l.shown()
	if want := "-- the kit says welcome\nstarting\npanic: no luck\n\ngoroutine 1\n-- the kit closes the connection"; text != want || !logged {
		t.Errorf("the log is %q, want %q", text, want)
	}
	if got := l.last(); got != "panic: no luck" {
		t.Errorf("last is %q", got)
	}
}

func TestEveryRuleHasABrokenPlugin(t *testing.T) {
	source, err := os.ReadFile("testdata/broken/main.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[protocol.Rule]bool)
	for _, rule := range rules {
		if seen[rule] {
			t.Errorf("%s is there twice", rule)
		}
		seen[rule] = true
		if !strings.Contains(string(source), `"`+string(rule)+`"`) {
			t.Errorf("no mode breaks %s", rule)
		}
	}
}

func TestTheProtocolsTextHasEveryRule(t *testing.T) {
	text, err := os.ReadFile("../../docs/plugin-protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		if !strings.Contains(string(text), "| `"+string(rule)+"` |") {
			t.Errorf("docs/plugin-protocol.md has no line for %s", rule)
		}
	}
}

func TestShareIsOfWhatAThreadCouldHave(t *testing.T) {
	before := threads{"1": {ran: time.Second}}
	after := threads{
		"1": {ran: 1100 * time.Millisecond, waited: 900 * time.Millisecond}, // wanted all
		"2": {ran: 10 * time.Millisecond, waited: 500 * time.Millisecond},   // wanted little
	}
	if got := after.share(before, time.Second); got < 1.0 || got > 1.05 {
		t.Errorf("share = %v, want 1.02", got)
	}
}
