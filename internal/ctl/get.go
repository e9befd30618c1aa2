package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/spf13/cobra"
)

func (a *app) getCommand() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "get KIND [ID]", Short: "Show resources of any kind",
		Long: "Show the resources of a kind, or those with an ID, which may be a name.\n" +
			"KIND is a core kind's word such as vm, or a kind such as com.acme.lun, or its last part.\n" +
			"With -w changes follow until interrupted; with -o json too each event is one line.",
		Example:           "  pf9ctl get vm\n  pf9ctl get com.acme.lun --host kvm1 -w\n  pf9ctl get lun 600a0b80 -o yaml",
		ValidArgsFunction: a.completeKind,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return exactly("KIND")(cmd, args)
		},
	}
	f := a.filterFlags(c)
	c.Flags().BoolVarP(&watch, "watch", "w", false, "follow changes")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		id := ""
		if len(args) == 2 {
			id = args[1]
		}
		if watch && (f.Name != "" || f.State != "" || cmd.Flags().Changed("stale") || cmd.Flags().Changed("invalid") || a.output == "yaml") {
			return usagef("-w goes with --host only, and not with -o yaml")
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
			return a.print(all, kindsTable(kinds, all))
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
	case len(all) == 1:
		return a.print(all[0], kindsTable(kinds, all))
	case a.output == "json" || a.output == "yaml":
		return fmt.Errorf("%d resources have the id or name %q; say which with --host", len(all), id)
	}
	return a.print(all, kindsTable(kinds, all))
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

// kindsTable shows resources of one kind in its columns, of several in those
// that all have.
func kindsTable(kinds []api.Kind, all []api.Resource) table {
	if len(kinds) > 1 {
		t := table{head: []string{"KIND", "HOST", "ID", "NAME", "STATE", "SOURCE", "WHY STALE"}, wide: 5}
		for _, r := range all {
			t.add(r.Kind, r.Hostname, r.ID, r.Name, state(r), r.Source, r.StaleReason)
		}
		return t
	}
	if kinds[0].Kind == inventory.KindVM {
		return vmTable(all)
	}
	s := sheetFor(kinds[0], all)
	t := table{head: s.head, wide: s.wide}
	for _, r := range all {
		t.add(s.row(r)...)
	}
	return t
}

// A sheet turns resources of one kind into rows.
type sheet struct {
	columns []plugin.Column
	head    []string
	wide    int // columns in each table
}

func sheetFor(k api.Kind, all []api.Resource) sheet {
	var specs []json.RawMessage
	for _, r := range all {
		specs = append(specs, r.Spec)
	}
	s := sheet{columns: kindtable.Columns(k.Kind, k.Columns, specs), head: []string{"HOST", "ID", "NAME", "STATE"}}
	s.wide = len(s.head)
	for _, c := range s.columns {
		s.head = append(s.head, c.Name)
		if !c.Wide {
			s.wide++
		}
	}
	s.head = append(s.head, "SOURCE", "WHY STALE", "WHY INVALID")
	return s
}

func (s *sheet) row(r api.Resource) []string {
	cells := append([]string{r.Hostname, r.ID, r.Name, state(r)}, kindtable.Cells(r.Spec, s.columns)...)
	return append(cells, r.Source, r.StaleReason, r.Invalid)
}

// completeKind offers words and kinds to the shell.
func (a *app) completeKind(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all := kindtable.Words()
	_ = a.with(func(c *client.Client) error { // the words are something, too
		kinds, err := c.Kinds(cmd.Context())
		for _, k := range kinds {
			all = append(all, kindtable.Clean(k.Kind))
		}
		return err
	})
	var fitting []string
	for _, word := range all {
		if strings.HasPrefix(word, begun) {
			fitting = append(fitting, word)
		}
	}
	return fitting, cobra.ShellCompDirectiveNoFileComp
}
