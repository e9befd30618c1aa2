package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/spf13/cobra"
)

func (a *app) getCommand() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "get KIND [ID]", Short: "Show resources of any kind",
		Long: "Show the resources of a kind, or those with an ID, which may be a name.\n" +
			"KIND is one of the words below, or a kind such as com.acme.lun, or its last part.\n" +
			"Columns that are empty in all rows are left out, unless --no-headers is given.\n" +
			"With -w changes follow until interrupted, also whether what is shown turns stale\nand back; with -o json too each event is one line.\n\n" +
			"Words for KIND:\n" + wordsHelp(),
		Example: "  pf9ctl get vm --vcenter east --cluster prod --state running\n  pf9ctl get cluster -o wide\n" +
			"  pf9ctl get com.acme.lun --host kvm1 -w\n  pf9ctl get lun 600a0b80 -o yaml",
		ValidArgsFunction: a.completeGet,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return exactly("KIND")(cmd, args)
		},
	}
	f := a.filterFlags(c, func(ctx context.Context, c *client.Client, args []string) ([]string, error) {
		if len(args) == 0 {
			return nil, nil
		}
		kinds, err := kindsBehind(ctx, c, args[0])
		return strings.Fields(names(kinds)), err
	})
	c.Flags().BoolVarP(&watch, "watch", "w", false, "follow changes; of the flags that select it takes --host alone")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		id := ""
		if len(args) == 2 {
			id = args[1]
		}
		switch narrow := f.narrows(); {
		case watch && narrow != "":
			return usagef("-w follows all of a kind, or with --host what one host has: leave out --%s", narrow)
		case watch && a.output == "yaml":
			return usagef("-w does not write YAML: use -o json, where each event is one line")
		}
		return a.with(func(c *client.Client) error {
			kinds, err := kindsBehind(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			q, err := f.query(cmd.Context(), c)
			switch {
			case err != nil:
				return err
			case watch && len(kinds) > 1:
				return usagef("-w goes with one kind; %s means %s", args[0], names(kinds))
			case watch:
				return a.watchKind(cmd.Context(), c, kinds[0], q.Host, id)
			case id != "":
				return a.getOne(cmd.Context(), c, kinds, q, id)
			}
			all, err := list(cmd.Context(), c, strings.Fields(names(kinds)), q)
			if err != nil {
				return err
			}
			return a.printAll(all, a.tables(kinds, all)...)
		})
	}
	return c
}

// getOne shows what has the id, or else the name.
func (a *app) getOne(ctx context.Context, c *client.Client, kinds []api.Kind, q client.Filter, id string) error {
	byName := q
	q.ID = id
	all, err := list(ctx, c, strings.Fields(names(kinds)), q)
	if err == nil && len(all) == 0 && byName.Name == "" && !strings.ContainsAny(id, "*?") {
		byName.Name = id
		all, err = list(ctx, c, strings.Fields(names(kinds)), byName)
	}
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		return fmt.Errorf("there is no %s with the id or name %q", names(kinds), id)
	case len(all) == 1 && a.machine():
		return a.print(all[0])
	case len(all) > 1 && a.machine():
		return fmt.Errorf("%d resources have the id or name %q; give the id, or say which with --host, --vcenter or --cluster", len(all), id)
	}
	return a.printAll(all, a.tables(kinds, all)...)
}

// wordsHelp says which kinds the words mean.
func wordsHelp() string {
	var b strings.Builder
	for _, word := range kindtable.Words() {
		fmt.Fprintf(&b, "  %-11s %s\n", word, strings.Join(kindtable.Core(word), ", "))
	}
	return strings.TrimRight(b.String(), "\n")
}

func names(kinds []api.Kind) string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.Kind)
	}
	return strings.Join(out, " ")
}

// kindsBehind returns the kinds that a word means. It asks about those that are
// not of the core.
func kindsBehind(ctx context.Context, c *client.Client, word string) ([]api.Kind, error) {
	var kinds []api.Kind
	for _, k := range kindtable.Core(word) {
		kinds = append(kinds, api.Kind{Kind: k})
	}
	switch {
	case len(kinds) > 0:
		return kinds, nil
	case inventory.IsCore(word):
		return []api.Kind{{Kind: word}}, nil
	}
	if strings.Contains(word, ".") {
		k, err := c.Kind(ctx, word)
		if refusal, ok := errors.AsType[*client.Error](err); ok && refusal.Status == http.StatusNotFound {
			return nil, fmt.Errorf("no host has or declares the kind %q; see pf9ctl kind list", word)
		}
		return []api.Kind{k}, err
	}
	all, err := c.Kinds(ctx)
	if err != nil {
		return nil, err
	}
	found := kindtable.Find(word, strings.Fields(names(all)))
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%q means no kind; see pf9ctl kind list", word)
	case 1:
		for _, k := range all {
			if k.Kind == found[0] {
				kinds = append(kinds, k)
			}
		}
		return kinds, nil
	}
	return nil, usagef("%q may mean any of %s", word, strings.Join(found, ", "))
}
