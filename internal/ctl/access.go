package ctl

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/spf13/cobra"
)

func (a *app) tokenCommand() *cobra.Command {
	var q api.JoinTokenRequest
	var host string
	var ttl time.Duration
	create := &cobra.Command{Use: "create", Short: "Make a join token, and say how the host uses it", Args: exactly(), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.with(func(c *client.Client) error {
			q.Host, q.TTLSeconds = wire.HostID(host), int64(ttl.Seconds())
			made, err := c.CreateJoinToken(cmd.Context(), q)
			if err != nil {
				return err
			}
			if a.machine() {
				return a.print(made, table{})
			}
			on, program := "host", "pf9-hostagent"
			switch made.Kind {
			case "gateway":
				on, program = made.Kind, "pf9-gateway"
			case api.AnyKind:
				on, program = "host, or with pf9-gateway on the gateway", "pf9-hostagent"
			}
			_, err = fmt.Fprintf(a.out, "%s\n\nRun on the %s, before %s, and paste the token; it ends with Ctrl-D:\n\n  %s enroll --du %s --token -\n",
				kindtable.Clean(made.Secret), on, made.Expires.Local().Format(time.RFC1123), program, c.URL())
			return err
		})
	}}
	f := create.Flags()
	f.StringVar(&host, "host", "", "only for the host with this id, also if it was enrolled before")
	f.StringVar(&q.Kind, "kind", "host", "host, gateway or any")
	_ = create.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"host", "gateway", api.AnyKind}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	f.IntVar(&q.Uses, "uses", 1, "how many hosts may use it")
	f.DurationVar(&ttl, "ttl", 24*time.Hour, "how long it lives")
	f.StringVar(&q.Description, "description", "", "what it is for")
	list := &cobra.Command{Use: "list", Short: "List the join tokens", Args: exactly(), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.with(func(c *client.Client) error {
			tokens, err := c.JoinTokens(cmd.Context())
			if err != nil {
				return err
			}
			t, now := table{head: []string{"ID", "KIND", "USES LEFT", "STATE", "EXPIRES", "DESCRIPTION", "HOST", "CREATED BY"}, wide: 6}, time.Now()
			for _, j := range tokens {
				t.add(j.ID, j.Kind, strconv.Itoa(j.UsesLeft), tokenState(j, now), age(j.Expires, now), j.Description, string(j.Host), j.CreatedBy)
			}
			return a.print(tokens, t)
		})
	}}
	revoke := &cobra.Command{Use: "revoke ID", Short: "End a join token", Args: exactly("ID"), RunE: func(cmd *cobra.Command, args []string) error {
		return a.with(func(c *client.Client) error {
			if err := c.RevokeJoinToken(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.done("join token %s: revoked; hosts that enrolled with it stay", args[0])
		})
	}}
	return group("token", "Join tokens, with which hosts enrol", create, list, revoke)
}

func tokenState(j api.JoinToken, now time.Time) string {
	switch {
	case j.Revoked:
		return "revoked"
	case j.Expires.Before(now):
		return "expired"
	case j.UsesLeft == 0:
		return "used up"
	}
	return "valid"
}

func (a *app) certificateCommand() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List the hosts' certificates", Args: exactly(), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.with(func(c *client.Client) error {
			certs, err := c.Certificates(cmd.Context())
			if err != nil {
				return err
			}
			t, now := table{head: []string{"SERIAL", "HOST", "STATE", "EXPIRES", "ISSUED", "HOW", "REASON"}, wide: 5}, time.Now()
			for _, x := range certs {
				state := "valid"
				if !x.Revoked.IsZero() {
					state = "revoked"
				}
				t.add(x.Serial, string(x.Host), state, age(x.NotAfter, now), age(x.Issued, now), x.How, x.Reason)
			}
			return a.print(certs, t)
		})
	}}
	return group("certificate", "Certificates of hosts", list)
}

func (a *app) eventCommand() *cobra.Command {
	var host, kind string
	var limit int
	list := &cobra.Command{Use: "list", Short: "List what happened on hosts, newest first", Args: exactly(), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.with(func(c *client.Client) error {
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			if kind != "" {
				q.Set("kind", kind)
			}
			if host != "" {
				h, err := c.Find(cmd.Context(), host)
				if err != nil {
					return err
				}
				q.Set("host", string(h.ID))
			}
			page, err := c.Events(cmd.Context(), q)
			if err != nil {
				return err
			}
			if a.machine() {
				return a.print(page.Items)
			}
			hosts, err := c.Hosts(cmd.Context()) // events have their ids alone
			if err != nil {
				return err
			}
			return a.print(page.Items, eventTable(page.Items, hosts))
		})
	}}
	list.Flags().StringVar(&host, "host", "", "only of this host, by id or name")
	list.Flags().StringVar(&kind, "kind", "", "only about this kind")
	list.Flags().IntVar(&limit, "limit", 100, "at most so many, 1 to 1000")
	_ = list.RegisterFlagCompletionFunc("host", a.completeHost) // the flag exists
	return group("event", "History of the hosts", list)
}

func eventTable(events []api.Event, hosts []api.Host) table {
	names := make(map[wire.HostID]string, len(hosts))
	for _, h := range hosts {
		names[h.ID] = h.Hostname
	}
	t := table{head: []string{"TIME", "HOST", "TYPE", "KIND", "NAME", "DETAIL", "HOST ID", "ID"}, wide: 6}
	for _, e := range events {
		host := cmp.Or(names[e.Host], string(e.Host)) // it may be forgotten
		t.add(e.Time.Local().Format(time.DateTime), host, e.Type, e.About.Kind, e.Name, e.Detail, string(e.Host), e.About.ID)
	}
	return t
}

func (a *app) auditCommand() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List who did what, newest first", Args: exactly(), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.with(func(c *client.Client) error {
			page, err := c.Audit(cmd.Context(), nil)
			if err != nil {
				return err
			}
			t := table{head: []string{"TIME", "ACTOR", "ACTION", "OUTCOME", "OBJECT", "REASON", "REMOTE", "TIMES"}, wide: 6}
			for _, e := range page.Entries {
				t.add(e.Time.Local().Format(time.DateTime), e.Actor, e.Action, e.Outcome, e.Object, e.Reason, e.Remote, strconv.Itoa(e.Times))
			}
			return a.print(page.Entries, t)
		})
	}}
	return group("audit", "Who did what", list)
}
