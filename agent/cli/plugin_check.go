package cli

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/openpf9/openpf9/plugin/conformance"
)

const checkUsage = `BINARY [ARG...]

Starts the plugin about a dozen times, one after the other, and holds it to each
rule of the protocol. A script may need its interpreter before it:
pf9-hostagent plugin check python3 acme.py.
Exit status: 0 no rule is broken, 1 some are, 2 it could not be checked in full.
`

func pluginCheck(ctx context.Context, c *command) error {
	var slack time.Duration
	var breaks, mends string
	o, err := c.tryFlags(checkUsage, func(fs *flag.FlagSet, _ *tryOptions) {
		timeFlag(fs, &slack, "slack", "give the plugin this much more `time` at each limit, on a slow or busy machine: 5s, or 500ms")
		fs.StringVar(&breaks, "break", "", "a shell `command` that makes the plugin's list fail, in one step: 'mv /srv/d /srv/away'")
		fs.StringVar(&mends, "mend", "", "the `command` that undoes --break; each may take 10s")
	})
	if err != nil {
		return err
	}
	if (breaks == "") != (mends == "") {
		fmt.Fprintf(c.errs, "%s %s: --break and --mend go together: one makes the plugin's list fail, the other undoes that\n", c.program.Name, c.name)
		return ErrUsage
	}
	if c.args, err = program(c.args); err != nil {
		return err
	}
	options := conformance.Options{Command: c.args, Config: o.config, Slack: slack}
	var unmended error
	if breaks != "" {
		options.BreakList = conformance.BreakBy(breaks, mends, func(err error) { unmended = err })
	}
	report := conformance.Check(ctx, options)
	if unmended != nil {
		report.Problem = also(report.Problem, "--mend did not do it; what --break did must be undone by hand: "+unmended.Error())
	}
	if misplaced := o.misplaced(c.args[1:]); misplaced != "" && report.Hello == 0 {
		report.Problem = also(report.Problem, misplaced)
	}
	if o.json {
		err = c.json(report)
	} else {
		err = report.WriteText(c.out)
	}
	switch code := report.ExitCode(); {
	case err != nil:
		return err
	case code == 2:
		return ErrUsage
	case code != 0:
		return ErrTold
	}
	return nil
}

// also adds to what is said.
func also(text, more string) string {
	if text == "" {
		return more
	}
	return text + "; " + more
}
