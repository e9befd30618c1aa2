package ctl

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/spf13/cobra"
)

func (a *app) hostCommand() *cobra.Command {
	var reason string
	revoke := a.onHost("revoke", "End a host's certificates and cut its tunnel", func(cmd *cobra.Command, c *client.Client, h api.Host) error {
		if err := c.Revoke(cmd.Context(), h.ID, reason); err != nil {
			return err
		}
		kind := ""
		if isGateway(h) {
			kind = " --kind gateway"
		}
		return a.done("%s: revoked; to let it in again make a token for it: pf9ctl token create --host %s%s", called(h), h.ID, kind)
	})
	revoke.Flags().StringVar(&reason, "reason", "", "why, for the audit")
	return group(
		"host", "Hosts and gateways", a.hostList("List the hosts and gateways", func(api.Host) bool { return true }),
		a.onHost("show", "Show a host in full", func(_ *cobra.Command, _ *client.Client, h api.Host) error {
			return a.print(h, hostDetails(h, time.Now()))
		}),
		a.watchCommand(), revoke,
		a.onHost("forget", "Revoke a host and remove it from the catalogue", func(cmd *cobra.Command, c *client.Client, h api.Host) error {
			if err := c.Forget(cmd.Context(), h.ID); err != nil {
				return err
			}
			return a.done("%s: revoked and forgotten", called(h))
		}),
	)
}

// hostList lists the hosts that are wanted.
func (a *app) hostList(short string, wanted func(api.Host) bool) *cobra.Command {
	return &cobra.Command{Use: "list", Short: short, Args: exactly(), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.with(func(c *client.Client) error {
			all, err := c.Hosts(cmd.Context())
			if err != nil {
				return err
			}
			hosts := []api.Host{} // also for JSON, where there are none
			for _, h := range all {
				if wanted(h) {
					hosts = append(hosts, h)
				}
			}
			if err := a.print(hosts, hostTable(hosts, time.Now())); err != nil || a.machine() {
				return err
			}
			a.tell(sourceWhys(hosts))
			return nil
		})
	}}
}

// onHost is a command about one host, which is named by its id or its name.
func (a *app) onHost(verb, short string, do func(*cobra.Command, *client.Client, api.Host) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " HOST", Short: short, Args: exactly("HOST"), ValidArgsFunction: a.completeHostArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				h, err := c.Find(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return do(cmd, c, h)
			})
		},
	}
}

// called is a host for people, whom a name alone may mislead.
func called(h api.Host) string { return fmt.Sprintf("%s (%s)", cmp.Or(h.Hostname, "-"), h.ID) }

func hostState(h api.Host) string {
	if !h.Connected {
		if h.Reason == "" {
			return "disconnected"
		}
		return "disconnected: " + h.Reason
	}
	var bad []string
	for _, s := range h.Sources {
		if s.State != "ok" {
			bad = append(bad, s.Name+" "+s.State)
		}
	}
	if len(bad) > 0 {
		return "connected, " + strings.Join(bad, ", ")
	}
	return "connected"
}

// quiet is how long a host may have nothing to say; it reports each
// minute, if nothing else is set.
const quiet = 2 * time.Minute

// seen is when a host was there last. One that holds its tunnel and reports as it
// should is there now.
func seen(h api.Host, now time.Time) string {
	if h.Connected && now.Sub(h.LastSeen) < quiet {
		return "now"
	}
	return age(h.LastSeen, now)
}

func hostTable(hosts []api.Host, now time.Time) table {
	t := table{head: []string{"ID", "HOSTNAME", "KIND", "STATE", "VMS", "AGENT", "LAST SEEN", "WARNINGS", "SINCE", "HYPERVISOR", "ADDRESS"}, fixed: 7, wide: 8}
	for _, h := range hosts {
		var warnings []string
		for _, w := range h.Warnings {
			warnings = append(warnings, w.Code)
		}
		t.add(string(h.ID), h.Hostname, h.Kind, hostState(h), strconv.Itoa(h.Counts[inventory.KindVM]), h.Agent,
			seen(h, now), strings.Join(warnings, ","), age(h.Since, now), h.Hypervisor, h.Address)
	}
	return t
}

func hostDetails(h api.Host, now time.Time) table {
	t := table{head: []string{"FIELD", "VALUE"}}
	t.add("id", string(h.ID))
	t.add("hostname", h.Hostname)
	t.add("state", hostState(h)+", for "+age(h.Since, now))
	t.add("kind", h.Kind)
	t.add("agent", h.Agent)
	t.add("hypervisor", h.Hypervisor)
	t.add("address", h.Address)
	t.add("first seen", age(h.FirstSeen, now))
	t.add("last seen", seen(h, now))
	t.add("clock", fmt.Sprintf("%+.1f s from ours", h.ClockDriftSeconds))
	if c := h.Certificate; c != nil {
		t.add("certificate", fmt.Sprintf("%s, until %s", c.Serial, c.NotAfter.Format(time.RFC3339)))
	}
	if u := h.Usage; u != nil {
		t.add("usage", fmt.Sprintf("%.0f %% of CPU, load %.1f, %s of memory", u.CPUPercent, u.Load1, kindtable.Size(u.MemoryTotalBytes)))
	}
	for _, s := range h.Sources {
		text := s.State
		if s.Reason != "" {
			text += ": " + s.Reason
		}
		t.add("source "+s.Name, fmt.Sprintf("%s, %d resources", text, s.Count))
	}
	for _, k := range slices.Sorted(maps.Keys(h.Counts)) {
		t.add(k, strconv.Itoa(h.Counts[k]))
	}
	for _, w := range h.Warnings {
		t.add("warning", w.Message)
	}
	return t
}

func (a *app) watchCommand() *cobra.Command {
	var kind string
	watch := &cobra.Command{
		Use: "watch [HOST]", Short: "Follow what changes, live", ValidArgsFunction: a.completeHostArg,
		Long: "Follow what changes on all hosts, or on one, until interrupted.\nWith -o json each event is one line.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exactly("HOST")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				query := make(url.Values)
				if kind != "" {
					query.Set("kind", kind)
				}
				if len(args) > 0 {
					h, err := c.Find(cmd.Context(), args[0])
					if err != nil {
						return err
					}
					query.Set("host", string(h.ID))
				}
				return c.Watch(cmd.Context(), query, a.follow(), func(err error) {
					fmt.Fprintln(a.errs, "pf9ctl: interrupted, trying again:", kindtable.Clean(fmt.Sprint(err)))
				})
			})
		},
	}
	watch.Flags().StringVar(&kind, "kind", "", "only this kind")
	return watch
}

// follow prints the events of a watch: the snapshot as one line, then changes.
func (a *app) follow() func(client.Event) {
	synced, known := false, 0
	return func(e client.Event) {
		if a.output == "json" {
			fmt.Fprintf(kindtable.JSON(a.out), "{\"event\":%q,\"data\":%s}\n", e.Type, e.Data)
			return
		}
		switch e.Type {
		case api.Reset:
			synced, known = false, 0
			return
		case api.Synced:
			synced = true
			fmt.Fprintf(a.out, "%s  %d resources known; following changes\n", time.Now().Format(time.TimeOnly), known)
			return
		case api.Added:
			known++
		}
		if synced {
			fmt.Fprintln(a.out, time.Now().Format(time.TimeOnly), describe(e))
		}
	}
}

// describe is an event in one line.
func describe(e client.Event) string {
	if e.Type == api.HostSeen {
		var h api.Host
		if json.Unmarshal(e.Data, &h) != nil || h.Hostname == "" {
			return kindtable.Clean(" host      " + string(h.ID) + " is gone")
		}
		return kindtable.Clean(" host      " + h.Hostname + " " + hostState(h))
	}
	var r api.Resource // Gone has the same names
	if err := json.Unmarshal(e.Data, &r); err != nil {
		return kindtable.Clean(fmt.Sprintf(" %-9s ?", e.Type))
	}
	name := r.Name
	if name == "" {
		name = r.ID
	}
	return kindtable.Clean(strings.TrimRight(fmt.Sprintf(" %-9s %s %s %s", e.Type, r.Kind, name, r.State), " "))
}
