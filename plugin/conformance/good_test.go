package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

const (
	slack   = 10 * time.Second // tests run on machines that do other things
	guide   = "../../docs/writing-a-plugin.md"
	sdkPath = "github.com/openpf9/openpf9"
)

// example returns the first block of a language in the guide, and its lines.
func example(t *testing.T, language string) (string, int) {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "```"+language+"\n")
	code, _, closed := strings.Cut(after, "```\n")
	if !found || !closed {
		t.Fatalf("%s has no %s example", guide, language)
	}
	return code, strings.Count(code, "\n")
}

// built builds the guide's Go example as its reader would.
func built(t *testing.T, flags ...string) string {
	t.Helper()
	code, _ := example(t, "go")
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "main.go"), code)
	write(t, filepath.Join(dir, "go.mod"), "module example.com/files\n\ngo 1.26\n\nrequire "+sdkPath+" v0.0.0\n\nreplace "+sdkPath+" => "+root+"\n")
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"build", "-mod=mod", "-o", "files"}, flags...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOPROXY=off", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "files")
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// directory returns one with some files, and what makes listing it fail.
func directory(t *testing.T) (string, func() (func(), error)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		write(t, filepath.Join(dir, name), name)
	}
	return dir, func() (func(), error) {
		away := dir + ".away"
		return func() { _ = os.Rename(away, dir) }, os.Rename(dir, away)
	}
}

// config is the examples' configuration.
func config(t *testing.T, dir string) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(map[string]string{"dir": dir})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// passes wants a report without failures, of which only some rules are skipped.
func passes(t *testing.T, o Options, skipped ...protocol.Rule) Report {
	t.Helper()
	o.Slack = slack
	r := Check(t.Context(), o)
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
	if !r.OK() || r.ExitCode() != 0 {
		t.Error("it does not pass")
	}
	want := make(map[protocol.Rule]bool)
	for _, rule := range skipped {
		want[rule] = true
	}
	for _, res := range r.Results {
		if (res.Outcome == Skipped) != want[res.Rule] {
			t.Errorf("%s is %s: %s", res.Rule, res.Outcome, res.Reason)
		}
	}
	return r
}

func TestTheGuidesGoPluginPasses(t *testing.T) {
	t.Parallel()
	if _, lines := example(t, "go"); lines > 40 {
		t.Errorf("the example has %d lines, want at most 40", lines)
	}
	binary := built(t, "-trimpath", "-ldflags=-s -w")
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 3e6 {
		t.Errorf("the binary has %d bytes, want at most 3 MB", info.Size())
	}
	dir, breakList := directory(t)
	r := passes(t, Options{Command: []string{binary}, Config: config(t, dir), BreakList: breakList, MaxMemory: 16 << 20})
	if r.Plugin != "files" || r.Resources != 3 {
		t.Errorf("the report is of %s with %d resources, want files with 3", r.Plugin, r.Resources)
	}
	t.Run("by hand", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), binary, "--config", "-")
		cmd.Stdin = strings.NewReader(string(config(t, dir)))
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), "KIND ") || strings.Count(string(out), "\n") != 4 {
			t.Errorf("%v, %q, want a table of three", err, out)
		}
	})
}

// TestAThousandResourcesAreCheap holds the SDK to what it may cost a host.
func TestAThousandResourcesAreCheap(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "thousand")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./testdata/thousand")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const most = 8 << 20
	var r Report
	for range 3 { // the collector may come late on a machine without a processor to spare
		if r = passes(t, Options{Command: []string{binary}, MaxMemory: 2 * most}, RuleErrors, RuleColumns); r.Memory <= most {
			break
		}
	}
	if r.Resources != 1000 || r.Memory > most {
		t.Errorf("%d resources with %d bytes resident, want 1000 with at most %d", r.Resources, r.Memory, most)
	}
}

func TestTheGuidesPythonPluginPasses(t *testing.T) {
	t.Parallel()
	if _, lines := example(t, "python"); lines > 20 {
		t.Errorf("the example has %d lines, want at most 20", lines)
	}
	dir, breakList := directory(t)
	passes(t, Options{Command: pythonExample(t), Config: config(t, dir), BreakList: breakList},
		RuleSpecs, RuleDefaults, RuleUnknownKey)
}

// TestTheGuidesPythonPluginServesASession holds it with the host's real end.
func TestTheGuidesPythonPluginServesASession(t *testing.T) {
	t.Parallel()
	dir, _ := directory(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	k := &kit{opt: Options{Command: pythonExample(t)}}
	c, err := k.start(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	batches := make(chan protocol.Batch, 10)
	s, err := protocol.Open(ctx, c.conn, protocol.Options{
		Agent: "test", Interval: 50 * time.Millisecond,
		Admit: func(protocol.Hello) (json.RawMessage, error) { return config(t, dir), nil },
		Apply: func(b protocol.Batch) error { batches <- b; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(run) }()
	next := func() (b protocol.Batch) {
		select {
		case b = <-batches:
		case err := <-ended:
			t.Fatalf("the session ended: %v", err)
		}
		return b
	}
	if b := next(); !b.Whole || len(b.Upserts) != 3 {
		t.Errorf("first came %+v, want a snapshot of three", b)
	}
	write(t, filepath.Join(dir, "d"), "new")
	if b := next(); len(b.Upserts) != 4 {
		t.Errorf("after a new file came %+v, want four", b)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want %v", err, context.Canceled)
	}
	if !c.ends(10 * time.Second) {
		t.Error("the plugin is still there after the session")
	}
}

// pythonExample returns the command of the guide's Python example.
func pythonExample(t *testing.T) []string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here: packaging/deps.sh installs it")
	}
	code, _ := example(t, "python")
	file := filepath.Join(t.TempDir(), "files.py")
	write(t, file, code)
	return []string{python, file}
}
