package plugintest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/plugin/conformance"
)

// CheckOptions say which executable to check, and how. They are the Options of
// package github.com/openpf9/openpf9/plugin/conformance, which a program that is
// no test uses.
type CheckOptions struct {
	// Command is the plugin's executable and its arguments.
	Command []string
	// Env is the plugin's environment; nil: PATH, HOME, LANG and TZ only.
	Env []string
	// Config is the plugin's configuration, an object; nil: its defaults.
	Config json.RawMessage
	// BreakList, if set, makes the plugin's List fail, in one step such as a
	// rename, and returns how to mend that. Without it nothing tells whether an
	// error deletes nothing.
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

// Report is what a check found: Results has each rule by name, and OK, Failures
// and WriteText sum them up. It is that of package
// github.com/openpf9/openpf9/plugin/conformance.
type Report = conformance.Report

// Check checks an executable, in whatever language, and needs no test to run
// in. A program that is no test calls Check of package
// github.com/openpf9/openpf9/plugin/conformance, which does the same without
// package testing.
func Check(ctx context.Context, o CheckOptions) Report {
	return conformance.Check(ctx, conformance.Options(o))
}

// RunBinary checks an executable and fails the test for each rule that it
// breaks, and if it cannot be checked, or not in full. It returns the report for further
// looks at it.
func RunBinary(t *testing.T, o CheckOptions) Report {
	t.Helper()
	report := Check(t.Context(), o)
	if report.Problem != "" {
		t.Errorf("the plugin was not checked in full: %s", report.Problem)
	}
	var text strings.Builder
	_ = report.WriteText(&text) // a Builder never fails
	for _, f := range report.Failures() {
		t.Errorf("%s: %s", f.Rule, f.Reason)
	}
	t.Log("\n" + text.String())
	return report
}
