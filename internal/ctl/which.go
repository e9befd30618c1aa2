package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/spf13/cobra"
)

// which says where a VM is, if several have its name.
type which struct{ host, vcenter, cluster string }

// vmFlags gives a command about one VM the flags that say which.
func (a *app) vmFlags(c *cobra.Command, w *which) {
	f := c.Flags()
	f.StringVar(&w.host, "host", "", "the VM's host or gateway, by id or name, where several have such a VM")
	f.StringVar(&w.vcenter, "vcenter", "", "the VM's vCenter, by the name it was paired under or its own, where several have such a VM")
	f.StringVar(&w.cluster, "cluster", "", "the VM's cluster, by name, where several have such a VM")
	for name, complete := range map[string]cobra.CompletionFunc{"host": a.completeHost, "vcenter": a.completeVCenter, "cluster": a.completeCluster} {
		_ = c.RegisterFlagCompletionFunc(name, complete) // the flags exist
	}
	if c.ValidArgsFunction == nil {
		c.ValidArgsFunction = a.completeVM
	}
}

// whichOf reads the flags of vmFlags back.
func whichOf(c *cobra.Command) (w which) {
	f := c.Flags()
	w.host, _ = f.GetString("host") // the flags exist
	w.vcenter, _ = f.GetString("vcenter")
	w.cluster, _ = f.GetString("cluster")
	return w
}

// findVM returns the one VM that has the id or else the name.
func findVM(ctx context.Context, c *client.Client, name string, w which) (api.Resource, error) {
	q, err := located(ctx, c, client.Filter{Host: w.host, Cluster: w.cluster, Limit: 1000}, w.vcenter)
	if err != nil {
		return api.Resource{}, err
	}
	q.ID = name
	found, err := c.Resources(ctx, inventory.KindVM, q)
	if err == nil && len(found) == 0 {
		q.ID, q.Name = "", name
		var named []api.Resource
		named, err = c.Resources(ctx, inventory.KindVM, q)
		for _, r := range named {
			if r.Name == name { // and no pattern
				found = append(found, r)
			}
		}
	}
	switch {
	case err != nil:
		return api.Resource{}, err
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return api.Resource{}, severalVMs(name, found)
	}
	if w.cluster != "" {
		if err := knownCluster(ctx, c, w.cluster); err != nil {
			return api.Resource{}, err
		}
	}
	there := ""
	if w != (which{}) {
		there = " there"
	}
	return api.Resource{}, fmt.Errorf("no VM%s has the id or name %q; see pf9ctl vm list", there, name)
}

// severalVMs asks for what tells VMs of one name apart.
func severalVMs(name string, found []api.Resource) error {
	var hosts, vcenters, clusters, candidates []string
	for _, r := range found {
		vcenter, cluster := inventory.VCenterName(r.Source), spec[inventory.VM](r).Cluster
		hosts, vcenters, clusters = append(hosts, r.Hostname), append(vcenters, vcenter), append(clusters, cluster)
		where := "on " + r.Hostname
		if vcenter != "" {
			where = "in vCenter " + vcenter + " " + where
		}
		if cluster != "" {
			where = "in cluster " + cluster + " " + where
		}
		candidates = append(candidates, fmt.Sprintf("%s %s (%s)", r.ID, where, state(r)))
	}
	ways := "the id"
	for _, flag := range []struct {
		name   string
		values []string
	}{{"--host", hosts}, {"--vcenter", vcenters}, {"--cluster", clusters}} {
		if apart(flag.values) {
			ways += " or " + flag.name
		}
	}
	if len(candidates) > 10 {
		candidates = append(candidates[:10], "...")
	}
	return usagef("%d VMs have the id or name %q: give %s: %s", len(found), name, ways, strings.Join(candidates, ", "))
}

// apart says whether all values are there, and no two are the same.
func apart(values []string) bool {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[0] != "" && len(slices.Compact(sorted)) == len(values)
}

// target is findVM for what something is to be done to. It has a name.
func (a *app) target(ctx context.Context, c *client.Client, name string, w which) (api.Resource, error) {
	vm, err := findVM(ctx, c, name, w)
	if err != nil && ctx.Err() != nil {
		return vm, errors.New("interrupted, nothing was done")
	}
	vm.Name = cmp.Or(vm.Name, vm.ID)
	return vm, err
}

// completeVM offers the names of VMs to the shell.
func (a *app) completeVM(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	_ = a.with(func(c *client.Client) error { // no names are an answer, too
		page, err := c.Page(cmd.Context(), inventory.KindVM, client.Filter{Name: begun + "*", Limit: 1000})
		for _, r := range page.Items {
			if strings.HasPrefix(r.Name, begun) {
				names = append(names, kindtable.Clean(r.Name))
			}
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
