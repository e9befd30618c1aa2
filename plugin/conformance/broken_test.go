package conformance

import (
	"encoding/json"
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
	"resync-repeats-all/part", "resync-repeats-all/forgotten", "outlives-garbage/crash", "valid-resources/id",
	"config-takes-its-defaults/refused", "config-refuses-unknown-keys/schema",
}

// TestBrokenPlugins breaks each rule by itself, and wants the report to name
// that one and no other.
func TestBrokenPlugins(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "broken")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./testdata/broken").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	modes := append([]string{"none", "none/noise"}, variants...)
	for _, rule := range rules {
		modes = append(modes, string(rule))
	}
	reports := make([]Report, len(modes))
	turns := make(chan struct{}, 10)
	var wg sync.WaitGroup
	for i, mode := range modes {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			reports[i] = Check(t.Context(), brokenOptions(t, binary, mode))
		})
	}
	wg.Wait()
	for i, mode := range modes {
		t.Run(mode, func(t *testing.T) {
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

func brokenOptions(t *testing.T, binary, mode string) Options {
	file := filepath.Join(t.TempDir(), "break")
	return Options{
		Command: []string{binary, mode}, Env: []string{"BREAK=" + file}, Slack: 4 * time.Second, MaxMemory: 60 << 20,
		BreakList: func() (func(), error) {
			return func() { _ = os.Remove(file) }, os.WriteFile(file, nil, 0o644)
		},
	}
}

func TestCheckOfWhatIsNoPlugin(t *testing.T) {
	for name, command := range map[string][]string{
		"nothing": nil, "no such program": {"/does/not/exist"}, "a program that ends": {"/bin/true"},
		"a program that talks": {"/bin/echo", "hello"}, "a program that reads": {"/bin/cat"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Check(t.Context(), Options{Command: command})
			if f := r.Failures(); len(f) != 1 || r.ExitCode() != 1 {
				t.Errorf("failures %+v, exit code %d, want one and 1", f, r.ExitCode())
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
	if len(again.Results) != len(rules) || again.Results[0].Rule != RuleHelloInTime || again.Results[0].Outcome != Failed {
		t.Errorf("the report became %s", b)
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
