package ctl

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/spf13/cobra"
)

const actionListHelp = `List what hosts and gateways were asked to do to their VMs, newest first. Without
flags it is of all of them.

STATE is succeeded; refused, if it is not allowed; failed, if it should have worked
and did not, and REASON says whether anything was done; failed (uncertain), if
nobody knows; accepted or running, if it has not ended.`

// actionCommand shows what was asked of hosts.
func (a *app) actionCommand() *cobra.Command {
	return group("action", "What was done to VMs", a.actionList(), a.actionShow())
}

func (a *app) actionList() *cobra.Command {
	var host string
	var q client.ActionFilter
	c := &cobra.Command{Use: "list", Short: "List what hosts were asked to do, newest first", Long: actionListHelp, Args: exactly()}
	f := c.Flags()
	f.StringVar(&host, "host", "", "only of this host or gateway, by id or name")
	f.StringVar(&q.VM, "vm", "", "only of this VM, by its id or the name that it had then")
	f.StringVar(&q.State, "state", "", "only in this state: succeeded, failed, refused, accepted, running; open for the last two")
	f.IntVar(&q.Limit, "limit", 100, "at most so many, 1 to 1000")
	_ = c.RegisterFlagCompletionFunc("host", a.completeHost) // the flags exist
	_ = c.RegisterFlagCompletionFunc("vm", a.completeVM)
	_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(
		[]string{wire.ActionSucceeded, wire.ActionFailed, wire.ActionRefused, wire.ActionAccepted, wire.ActionRunning, "open"}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		switch q.State {
		case "", wire.ActionSucceeded, wire.ActionFailed, wire.ActionRefused, wire.ActionAccepted, wire.ActionRunning, "open":
		default:
			return usagef("--state %s: want succeeded, failed, refused, accepted, running or open", q.State)
		}
		if q.Limit < 1 || q.Limit > 1000 {
			return usagef("--limit %d: want 1 to 1000", q.Limit)
		}
		return a.with(func(c *client.Client) error {
			if host != "" {
				h, err := c.Find(cmd.Context(), host)
				if err != nil {
					return err
				}
				q.Host = h.ID
			}
			all, err := c.Actions(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.print(all, actionTable(all))
		})
	}
	return c
}

func (a *app) actionShow() *cobra.Command {
	var host string // which nobody needs any more
	c := &cobra.Command{Use: "show ID", Short: "Show an action", Args: exactly("ID"), RunE: func(cmd *cobra.Command, args []string) error {
		return a.with(func(c *client.Client) error {
			act, err := c.ActionByID(cmd.Context(), args[0])
			if refusal, ok := errors.AsType[*client.Error](err); ok && refusal.Status == http.StatusNotFound {
				return fmt.Errorf("there is no action %s, or it is too old to be kept; see pf9ctl action list", word(args[0]))
			}
			if err != nil {
				return err
			}
			return a.print(act, actionDetails(act))
		})
	}}
	c.Flags().StringVar(&host, "host", "", "")
	_ = c.Flags().MarkHidden("host") // of older scripts
	return c
}

func actionState(x api.Action) string {
	if x.Uncertain {
		return x.State + " (uncertain)"
	}
	return x.State
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

func actionTable(all []api.Action) table {
	t := table{head: []string{"ID", "REQUESTED", "HOST", "VM", "ACTION", "STATE", "BY", "REASON", "PROGRESS", "ENDED", "TARGET"}, wide: 8}
	for _, x := range all {
		t.add(x.ID, clock(x.Requested), cmp.Or(x.Hostname, string(x.Host)), cmp.Or(x.Name, x.Target.ID), verb(x.Action), actionState(x), x.RequestedBy,
			x.Reason, fmt.Sprintf("%d %%", x.Progress), clock(x.Ended), x.Target.ID)
	}
	return t
}

func actionDetails(x api.Action) table {
	t := table{head: []string{"FIELD", "VALUE"}}
	for _, row := range [][2]string{
		{"id", x.ID},
		{"action", "vm " + verb(x.Action)},
		{"host", fmt.Sprintf("%s (%s)", cmp.Or(x.Hostname, "-"), x.Host)},
		{"vm", fmt.Sprintf("%s (%s)", cmp.Or(x.Name, "-"), x.Target.ID)},
		{"state", actionState(x)},
		{"reason", x.Reason},
		{"progress", fmt.Sprintf("%d %%", x.Progress)},
		{"by", x.RequestedBy},
		{"requested", clock(x.Requested)},
		{"deadline", clock(x.Deadline)},
		{"ended", clock(x.Ended)},
	} {
		t.add(row[0], row[1])
	}
	if n := x.Arguments.Name + x.Arguments.Snapshot; n != "" {
		t.add("snapshot", n)
	}
	if x.Result != nil && x.Result.Snapshot != "" {
		t.add("made", x.Result.Snapshot)
	}
	return t
}
