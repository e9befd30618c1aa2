package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// kindsOf are the kinds behind a word that people use.
func (c *command) kindsOf(ctx context.Context, word string) ([]string, error) {
	if kinds := kindtable.Core(word); kinds != nil {
		return kinds, nil
	}
	if inventory.IsCore(word) {
		return []string{word}, nil
	}
	var counts map[string]int
	if err := c.fetch(ctx, "/v1/kinds", &counts); err != nil {
		return nil, err
	}
	known := slices.Sorted(maps.Keys(counts))
	switch found := kindtable.Find(word, known); len(found) {
	case 0:
		return nil, fmt.Errorf("nothing here lists a kind %q; known are %s", word, kindtable.Clean(strings.Join(known, ", ")))
	case 1:
		return found, nil
	default:
		return nil, fmt.Errorf("%q may mean any of %s", word, strings.Join(found, ", "))
	}
}

func get(ctx context.Context, c *command) error {
	var format *string
	if err := c.flags(2, "KIND [ID|NAME]", func(fs *flag.FlagSet) { format = output(fs) }); err != nil {
		return err
	}
	if len(c.args) == 0 {
		fmt.Fprintln(c.errs, c.program.Name, "get: what? host, vm, network, storage, or a kind")
		return ErrUsage
	}
	kinds, err := c.kindsOf(ctx, c.args[0])
	if err != nil {
		return err
	}
	if len(c.args) == 2 {
		return c.getOne(ctx, kinds, c.args[1])
	}
	all, err := c.list(ctx, kinds)
	switch {
	case err != nil:
		return err
	case *format == "json":
		return c.json(all)
	case inventory.IsCore(kinds[0]):
		return c.table(coreTable(all, *format == "wide"))
	}
	return c.table(customTable(all, c.columns(ctx, kinds[0]), *format == "wide"))
}

// list returns the resources of all the kinds.
func (c *command) list(ctx context.Context, kinds []string) (all []localapi.Resource, err error) {
	for _, k := range kinds {
		var page localapi.Resources
		if err := c.fetch(ctx, "/v1/resources?kind="+url.QueryEscape(k), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
	}
	return all, nil
}

// getOne prints the resource of one of the kinds that has the id or, if none has,
// the name.
func (c *command) getOne(ctx context.Context, kinds []string, word string) error {
	all, err := c.list(ctx, kinds)
	if err != nil {
		return err
	}
	var named []localapi.Resource
	for _, r := range all {
		if r.ID == word {
			return c.json(r)
		}
		if r.Name == word {
			named = append(named, r)
		}
	}
	switch len(named) {
	case 0:
		return fmt.Errorf("there is no %s with the id or name %s", c.args[0], word)
	case 1:
		return c.json(named[0])
	}
	ids := make([]string, 0, len(named))
	for _, r := range named {
		ids = append(ids, r.ID)
	}
	return fmt.Errorf("%d %ss are called %s; give the id: %s", len(named), strings.TrimSuffix(c.args[0], "s"), word, strings.Join(ids, ", "))
}

// columns are what the kind's plugin declares, if it does.
func (c *command) columns(ctx context.Context, kind string) []plugin.Column {
	var r wire.Resource
	var k inventory.Kind
	if c.fetch(ctx, "/v1/resources/"+inventory.KindKind+"/"+url.PathEscape(kind), &r) != nil || json.Unmarshal(r.Spec, &k) != nil {
		return nil // the table will be a general one
	}
	return k.Columns
}

// coreTable shows what we know the meaning of.
func coreTable(all []localapi.Resource, wide bool) [][]string {
	rows := [][]string{{"KIND", "NAME", "STATE", "DETAIL"}}
	if wide {
		rows[0] = append(rows[0], "ID", "SOURCE", "GENERATION", "WHY STALE")
	}
	for _, r := range all {
		state, detail := describe(r.Resource)
		row := []string{r.Kind, r.Name, marked(state, r), detail}
		if wide {
			row = append(row, r.ID, r.Source, fmt.Sprint(r.Generation), r.StaleReason)
		}
		rows = append(rows, row)
	}
	return rows
}

// marked is a state that says whether it is known to be true now, as pf9ctl says it.
func marked(state string, r localapi.Resource) string {
	if r.Stale {
		return strings.TrimSpace(state + " (stale)")
	}
	return state
}

// customTable shows resources of one kind of a plugin.
func customTable(all []localapi.Resource, declared []plugin.Column, wide bool) [][]string {
	var specs []json.RawMessage
	kind := ""
	for _, r := range all {
		kind, specs = r.Kind, append(specs, r.Spec)
	}
	columns := kindtable.Columns(kind, declared, specs)
	if !wide {
		columns = slices.DeleteFunc(columns, func(col plugin.Column) bool { return col.Wide })
	}
	head := []string{"ID", "NAME", "STATE"}
	for _, col := range columns {
		head = append(head, col.Name)
	}
	if wide {
		head = append(head, "SOURCE", "GENERATION", "WHY STALE")
	}
	rows := [][]string{head}
	for _, r := range all {
		var s struct {
			State string `json:"state"`
		}
		_ = json.Unmarshal(r.Spec, &s) // a spec without a state has none
		row := append([]string{r.ID, r.Name, marked(s.State, r)}, kindtable.Cells(r.Spec, columns, wide)...)
		if wide {
			row = append(row, r.Source, fmt.Sprint(r.Generation), r.StaleReason)
		}
		rows = append(rows, row)
	}
	return rows
}
