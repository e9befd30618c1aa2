package ctl

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/spf13/cobra"
)

const actHelp = `The command waits for the end, which is when lists show what was done. The exit
status is 0 when it was done, or was so already; 1 when it was refused or failed;
3 when nobody knows what came of it, and the message says how to look again.`

// acting holds the flags of commands that have something done to a VM.
type acting struct {
	which   which
	noWait  bool
	timeout time.Duration
}

// actFlags gives a command the flags of acting.
func (a *app) actFlags(c *cobra.Command) *acting {
	f := &acting{}
	a.vmFlags(c, &f.which)
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "do not wait for the end")
	c.Flags().DurationVar(&f.timeout, "timeout", 0, "how long it may take, 1h at most; if not given 5m, 10m for a guest to shut down, 30m for snapshots")
	c.Long = strings.TrimSpace(strings.TrimSuffix(cmp.Or(c.Long, c.Short), ".") + ".\n\n" + actHelp)
	return f
}

// act has something done to a VM and reports on it. words are what to print when
// it was done.
func (a *app) act(cmd *cobra.Command, f *acting, name, words string, q api.ActionRequest) error {
	if f.timeout < 0 || f.timeout > wire.MaxActionTime || f.timeout > 0 && f.timeout < time.Second {
		return usagef("--timeout %v: want 1s to %v", f.timeout, wire.MaxActionTime)
	}
	q.TimeoutSeconds = int64(f.timeout.Seconds())
	return a.with(func(c *client.Client) error {
		vm, err := a.target(cmd.Context(), c, name, f.which)
		if err != nil {
			return err
		}
		q.Target = vm.Key
		act, err := a.begin(cmd.Context(), c, vm, q)
		if err != nil {
			return err
		}
		if !f.noWait {
			if act, err = a.await(cmd.Context(), c, vm, act); err != nil {
				return err
			}
		}
		return a.report(vm, words, act)
	})
}

const (
	actTries = 5           // of a call whose answer was lost
	actPause = time.Second // between them
)

// again calls until there is an answer, which may be a refusal. What it calls
// must be safe to call again.
func again(ctx context.Context, call func() error) error {
	for try := 1; ; try++ {
		err := call()
		if _, answered := errors.AsType[*client.Error](err); err == nil || answered || try == actTries || ctx.Err() != nil {
			return err
		}
		pause := time.NewTimer(actPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// begin asks for the action, once, however often it must try.
func (a *app) begin(ctx context.Context, c *client.Client, vm api.Resource, q api.ActionRequest) (act api.Action, err error) {
	key, sent := rand.Text(), false
	err = again(ctx, func() error {
		act, err = c.Act(ctx, vm.Host, key, q, 0)
		sent = sent || !client.Unsent(err)
		return err
	})
	refusal, answered := errors.AsType[*client.Error](err)
	switch {
	case err == nil:
		return act, nil
	case answered && refusal.Status < http.StatusInternalServerError:
		return act, fmt.Errorf("%s: %s refused: %w", vm.Name, verb(q.Action), err)
	case answered:
		return act, fmt.Errorf("%s: %s failed: %w", vm.Name, verb(q.Action), err)
	case !sent:
		return act, fmt.Errorf("%s: %s failed: %w, nothing was done", vm.Name, verb(q.Action), plain(ctx, err))
	}
	return act, unknownError{fmt.Errorf("%s: nobody knows whether %s was begun; look with pf9ctl action list --vm %s: %w", vm.Name, verb(q.Action), word(vm.ID), plain(ctx, err))}
}

// await follows the action to its end, with its progress on a terminal.
func (a *app) await(ctx context.Context, c *client.Client, vm api.Resource, act api.Action) (api.Action, error) {
	p := progress{w: a.errs, on: terminal(a.errs), began: time.Now()}
	defer p.clear()
	for !act.Done() {
		p.show(vm.Name, act)
		err := again(ctx, func() error {
			next, err := c.Action(ctx, vm.Host, act.ID, act.Revision, client.MaxWait)
			if err == nil {
				act = next
			}
			if e, is := errors.AsType[*client.Error](err); is && e.Status == http.StatusServiceUnavailable {
				return errors.New(e.Message) // it is busy, or restarts: again
			}
			return err
		})
		if err != nil {
			p.clear()
			return act, unknownError{fmt.Errorf("%s: %s goes on without us; see pf9ctl action show %s: %w", vm.Name, verb(act.Action), act.ID, plain(ctx, err))}
		}
	}
	return act, nil
}

// plain says that somebody has interrupted us, if so. It hides the context's
// error, after which Main would be silent.
func plain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// report prints what came of an action. Of a failure it is the error, too.
func (a *app) report(vm api.Resource, words string, act api.Action) error {
	machine := a.machine()
	if machine {
		if err := a.print(act, table{}); err != nil {
			return err
		}
	}
	switch {
	case !act.Done():
		words = fmt.Sprintf("%s is under way; see pf9ctl action show %s", verb(act.Action), act.ID)
	case act.State != wire.ActionSucceeded && act.Uncertain:
		return unknownError{fmt.Errorf("%s: %s %s: %s; look again with %s", vm.Name, verb(act.Action), act.State, act.Reason, lookAgain(vm, act.Action))}
	case act.State != wire.ActionSucceeded:
		return fmt.Errorf("%s: %s %s: %s", vm.Name, verb(act.Action), act.State, act.Reason)
	case act.Result != nil && act.Result.Unchanged:
		words = act.Reason
	case act.Reason != "":
		words = fmt.Sprintf("%s (%s)", words, act.Reason)
	}
	if machine {
		return nil
	}
	_, err := fmt.Fprintf(a.out, "%s: %s\n", kindtable.Clean(vm.Name), kindtable.Clean(words))
	return err
}

// lookAgain is the command that shows whether an action was done.
func lookAgain(vm api.Resource, action string) string {
	if strings.HasPrefix(action, "snapshot-") {
		return "pf9ctl vm snapshot list " + word(vm.ID)
	}
	return "pf9ctl vm list --name " + word(vm.Name)
}

// verb is what the commands of vm call an action.
func verb(action string) string {
	switch action {
	case wire.ActionPowerOn:
		return "start"
	case wire.ActionShutdown:
		return "stop"
	case wire.ActionPowerOff:
		return "stop --force"
	case wire.ActionReboot:
		return "restart"
	case wire.ActionReset:
		return "restart --force"
	}
	return strings.ReplaceAll(action, "-", " ") // suspend, snapshot create
}

// word is a word of a shell's command line.
func word(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("-_./:", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// progress is a line on a terminal that is written over and over.
type progress struct {
	w     io.Writer
	on    bool
	began time.Time
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progress) show(name string, act api.Action) {
	if !p.on {
		return
	}
	text := fmt.Sprintf("%s: %s %s, %s", name, verb(act.Action), act.State, span(time.Since(p.began)))
	if act.Progress > 0 {
		text += fmt.Sprintf(", %d %%", act.Progress)
	}
	if act.Reason != "" {
		text += ": " + act.Reason
	}
	fmt.Fprintf(p.w, "\r\x1b[K%.120s", kindtable.Clean(text))
}

func (p *progress) clear() {
	if p.on {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
