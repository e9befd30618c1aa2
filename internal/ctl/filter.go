package ctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/spf13/cobra"
)

// filter holds the flags that select resources.
type filter struct {
	client.Filter
	vcenter        string
	stale, invalid bool
	cmd            *cobra.Command
}

// kindsOf returns the kinds that a command lists, by the arguments it has so far.
type kindsOf func(ctx context.Context, c *client.Client, args []string) ([]string, error)

// filterFlags gives a command the flags that select resources. The deployment
// unit looks at all of them, so that what does not match is not sent.
func (a *app) filterFlags(c *cobra.Command, kinds kindsOf) *filter {
	f := &filter{cmd: c}
	flags := c.Flags()
	flags.StringVar(&f.Host, "host", "", "only of this host or gateway, by id or name")
	flags.StringVar(&f.vcenter, "vcenter", "", "only of this vCenter, by the name it was paired under or its own")
	flags.StringVar(&f.Cluster, "cluster", "", "only in this cluster, by name; of datastores, the datastore cluster")
	flags.StringVar(&f.Name, "name", "", "only with this name, capitals as they are; * and ? match")
	flags.StringVar(&f.State, "state", "", "only in this state")
	flags.BoolVar(&f.stale, "stale", false, "only what is stale, or with =false what is not")
	flags.BoolVar(&f.invalid, "invalid", false, "only what does not fit its declared schema, or with =false what does")
	for name, complete := range map[string]cobra.CompletionFunc{
		"host": a.completeHost, "vcenter": a.completeVCenter, "cluster": a.completeCluster, "state": a.completeState(kinds),
	} {
		_ = c.RegisterFlagCompletionFunc(name, complete) // the flags exist
	}
	return f
}

// narrows returns a flag by which something beside the host is asked for; empty:
// there is none.
func (f *filter) narrows() string {
	for _, flag := range []string{"vcenter", "cluster", "name", "state", "stale", "invalid"} {
		if f.cmd.Flags().Changed(flag) {
			return flag
		}
	}
	return ""
}

// query is what the flags ask for. A host may be named by its name.
func (f *filter) query(ctx context.Context, c *client.Client) (client.Filter, error) {
	q := f.Filter
	q.Limit = 1000
	if f.cmd.Flags().Changed("stale") {
		q.Stale = strconv.FormatBool(f.stale)
	}
	if f.cmd.Flags().Changed("invalid") {
		q.Invalid = strconv.FormatBool(f.invalid)
	}
	return located(ctx, c, q, f.vcenter)
}

// located puts ids in the place of names: of the query's host, and of a vCenter;
// empty: of any.
func located(ctx context.Context, c *client.Client, q client.Filter, vcenter string) (client.Filter, error) {
	if q.Host != "" {
		h, err := c.Find(ctx, q.Host)
		if err != nil {
			return q, err
		}
		q.Host = string(h.ID)
	}
	if vcenter != "" {
		return ofVCenter(ctx, c, q, vcenter)
	}
	return q, nil
}

// ofVCenter narrows a query to a vCenter. It may be named by the name that a
// gateway was paired with it under, or by its own.
func ofVCenter(ctx context.Context, c *client.Client, q client.Filter, name string) (client.Filter, error) {
	all, err := c.Resources(ctx, inventory.KindVCenter, client.Filter{Host: q.Host, Limit: q.Limit})
	if err != nil {
		return q, err
	}
	var known []string
	var own []api.Resource
	for _, r := range all {
		paired := inventory.VCenterName(r.Source)
		if paired == name { // of several gateways maybe
			q.Source = r.Source
			return q, nil
		}
		if r.Name == name {
			own = append(own, r)
		}
		known = append(known, paired)
	}
	switch {
	case len(own) == 1:
		q.Host, q.Source = string(own[0].Host), own[0].Source
		return q, nil
	case len(own) > 1:
		return q, usagef("%d gateways know the vCenter %s: give the name that one was paired with it under; see pf9ctl get vcenter", len(own), name)
	case len(known) == 0:
		return q, fmt.Errorf("no vCenter is known here; see pf9ctl host list for gateways, and pf9ctl gateway pair")
	}
	slices.Sort(known)
	return q, fmt.Errorf("no vCenter is called %q; known are %s", name, strings.Join(slices.Compact(known), ", "))
}

// checkState refuses a state that no VM has: nothing would be found, which looks
// like an answer. Of other kinds nobody knows all states.
func checkState(kinds []string, state string) error {
	if state == "" || slices.Contains(vmStates, state) || slices.ContainsFunc(kinds, func(k string) bool { return k != inventory.KindVM }) {
		return nil
	}
	return usagef("--state %s: a VM is %s or %s", state, strings.Join(vmStates[:len(vmStates)-1], ", "), vmStates[len(vmStates)-1])
}

// list returns all resources of some kinds, never nil: kind by kind, by host
// and name.
func list(ctx context.Context, c *client.Client, kinds []string, q client.Filter) ([]api.Resource, error) {
	all := []api.Resource{}
	if err := checkState(kinds, q.State); err != nil {
		return all, err
	}
	for _, kind := range kinds {
		asked := q
		if name := inventory.VCenterName(q.Source); name != "" && kind == inventory.KindTag { // which a module of their own lists
			asked.Source = inventory.VCenterTagModule(name)
		}
		some, err := c.Resources(ctx, kind, asked)
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(some, func(a, b api.Resource) int {
			return cmp.Or(strings.Compare(a.Hostname, b.Hostname), strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
		})
		all = append(all, some...)
	}
	if len(all) == 0 && q.Cluster != "" {
		return all, knownCluster(ctx, c, q.Cluster)
	}
	return all, nil
}

// knownCluster tells a cluster that has nothing of what was asked for from one
// that does not exist.
func knownCluster(ctx context.Context, c *client.Client, name string) error {
	for _, kind := range []string{inventory.KindCluster, inventory.KindDatastoreCluster} {
		clusters, err := c.Resources(ctx, kind, client.Filter{Limit: 1000})
		if err != nil || slices.ContainsFunc(clusters, func(r api.Resource) bool { return r.Name == name }) {
			return err
		}
	}
	return fmt.Errorf("no cluster is called %q; see pf9ctl get cluster", name)
}
