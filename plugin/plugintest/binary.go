package plugintest

import (
	"context"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/plugin/conformance"
)

// CheckOptions and Report are those of package conformance.
type (
	CheckOptions = conformance.Options
	Report       = conformance.Report
)

// Check checks an executable, in whatever language, and needs no test to run
// in. A program that is no test calls [conformance.Check], which does the same
// without package testing.
func Check(ctx context.Context, o CheckOptions) Report { return conformance.Check(ctx, o) }

// RunBinary checks an executable and fails the test for each rule that it
// breaks. It returns the report for further looks at it.
func RunBinary(t *testing.T, o CheckOptions) Report {
	t.Helper()
	report := conformance.Check(t.Context(), o)
	var text strings.Builder
	_ = report.WriteText(&text) // a Builder never fails
	for _, f := range report.Failures() {
		t.Errorf("%s: %s", f.Rule, f.Reason)
	}
	t.Log("\n" + text.String())
	return report
}
