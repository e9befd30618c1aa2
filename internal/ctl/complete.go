package ctl

import (
	"context"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/spf13/cobra"
)

// offer completes what is begun with known words and with those that the
// deployment unit has, if it answers.
func (a *app) offer(begun string, known []string, ask func(*client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	_ = a.with(func(c *client.Client) error { // what is known is something, too
		more, err := ask(c)
		known = append(known, more...)
		return err
	})
	var fitting []string
	for _, word := range known {
		if strings.HasPrefix(word, begun) && word != "" {
			fitting = append(fitting, kindtable.Clean(word))
		}
	}
	slices.Sort(fitting)
	return slices.Compact(fitting), cobra.ShellCompDirectiveNoFileComp
}

// mostNames is how many names are offered: nobody reads more.
const mostNames = 200

// completeGet offers kinds, and then the names of what there is of one.
func (a *app) completeGet(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 || strings.ContainsAny(begun, "*?") {
		return a.completeKind(cmd, args, begun)
	}
	return a.offer(begun, nil, func(c *client.Client) ([]string, error) {
		kinds, err := kindsBehind(cmd.Context(), c, args[0])
		var found []string
		for _, k := range kinds {
			page, err := c.Page(cmd.Context(), k.Kind, client.Filter{Name: begun + "*", Limit: mostNames})
			if err != nil {
				return found, err
			}
			for _, r := range page.Items {
				found = append(found, r.Name)
			}
		}
		return found, err
	})
}

// each asks for resources of a kind and returns a word of each.
func each(ctx context.Context, c *client.Client, kind string, word func(api.Resource) string) ([]string, error) {
	all, err := c.Resources(ctx, kind, client.Filter{Limit: 1000})
	var words []string
	for _, r := range all {
		words = append(words, word(r))
	}
	return words, err
}

// completeKind offers words and kinds.
func (a *app) completeKind(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offer(begun, kindtable.Words(), func(c *client.Client) ([]string, error) {
		kinds, err := c.Kinds(cmd.Context())
		return strings.Fields(names(kinds)), err
	})
}

// completeHostArg offers hosts as the first argument.
func (a *app) completeHostArg(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeHost(cmd, args, begun)
}

// completeHost offers hosts as a flag's value, whatever the arguments are.
func (a *app) completeHost(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.offer(begun, nil, func(c *client.Client) ([]string, error) {
		hosts, err := c.Hosts(cmd.Context())
		var found []string
		for _, h := range hosts {
			found = append(found, h.Hostname)
		}
		return found, err
	})
}

func (a *app) completeVCenter(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.offer(begun, nil, func(c *client.Client) ([]string, error) {
		return each(cmd.Context(), c, inventory.KindVCenter, func(r api.Resource) string { return inventory.VCenterName(r.Source) })
	})
}

func (a *app) completeCluster(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.offer(begun, nil, func(c *client.Client) ([]string, error) {
		return each(cmd.Context(), c, inventory.KindCluster, func(r api.Resource) string { return r.Name })
	})
}

// vmStates are what a VM's state may be.
var vmStates = []string{
	inventory.VMRunning, inventory.VMBlocked, inventory.VMPaused, inventory.VMShuttingDown,
	inventory.VMShutOff, inventory.VMCrashed, inventory.VMSuspended, inventory.VMUnknown,
}

// completeState offers the states of VMs, and those that a page of other kinds
// shows.
func (a *app) completeState(kinds kindsOf) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		return a.offer(begun, nil, func(c *client.Client) (states []string, err error) {
			all, err := kinds(cmd.Context(), c, args)
			for _, kind := range all {
				if kind == inventory.KindVM {
					states = append(states, vmStates...)
					continue
				}
				var page api.Resources
				if page, err = c.Page(cmd.Context(), kind, client.Filter{Limit: mostNames}); err != nil {
					return states, err
				}
				for _, r := range page.Items {
					states = append(states, r.State)
				}
			}
			return states, err
		})
	}
}
