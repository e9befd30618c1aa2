package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/wire"
)

// watchKind shows the resources of a kind and then each change as a row.
func (a *app) watchKind(ctx context.Context, c *client.Client, k api.Kind, host, id string) error {
	query := url.Values{"kind": {k.Kind}}
	if host != "" {
		query.Set("host", host)
	}
	f := &follower{app: a, kind: k, id: id, hosts: make(map[wire.HostID]string), turning: turning{kind: k.Kind}}
	each := f.take
	if a.output == "json" {
		each = f.takeJSON
	}
	return c.Watch(ctx, query, each, func(err error) {
		fmt.Fprintln(a.errs, "pf9ctl: interrupted, trying again:", kindtable.Clean(fmt.Sprint(err)))
	})
}

// A follower prints the events of a watch of one kind as a table that goes on, and
// in it whether the sources of the kind turn stale or back.
type follower struct {
	app    *app
	kind   api.Kind
	id     string // or name, of what to show; empty: all
	hosts  map[wire.HostID]string
	known  []api.Resource // until the snapshot is complete
	turned []sourceTurn   // likewise
	turning
	synced bool
	sheet  sheet
	widths []int // of the columns; nil: the head is not written yet
}

func (f *follower) take(e client.Event) {
	switch e.Type {
	case api.Reset:
		f.known, f.turned, f.synced, f.widths = nil, nil, false, nil
	case api.HostSeen:
		var h api.Host
		if json.Unmarshal(e.Data, &h) == nil && h.Hostname != "" {
			f.hosts[h.ID] = h.Hostname
			f.turned = append(f.turned, f.seen(&h)...)
		}
		if f.synced {
			f.tell()
		}
	case api.Synced:
		f.synced = true
		if len(f.known) > 0 {
			f.begin()
		}
		for _, r := range f.known {
			f.line(append([]string{"known"}, f.sheet.row(r)...))
		}
		f.known = nil
		f.tell()
	case api.Added, api.Modified, api.Deleted:
		f.changed(e)
	}
}

// tell prints what has turned.
func (f *follower) tell() {
	for _, t := range f.turned {
		fmt.Fprintf(f.app.out, "%-*s  %s\n", len(api.Modified), t.Word(), kindtable.Clean(t.line()))
	}
	f.turned = nil
}

// takeJSON prints an event as a line, and after a host's one of the type "source"
// for each of its sources that has turned.
func (f *follower) takeJSON(e client.Event) {
	out := kindtable.JSON(f.app.out)
	fmt.Fprintf(out, "{\"event\":%q,\"data\":%s}\n", e.Type, e.Data)
	var h api.Host
	if e.Type != api.HostSeen || json.Unmarshal(e.Data, &h) != nil || h.Hostname == "" {
		return
	}
	for _, t := range f.seen(&h) {
		if b, err := json.Marshal(t); err == nil { // it always is: they are strings and a time
			fmt.Fprintf(out, "{\"event\":\"source\",\"data\":%s}\n", b)
		}
	}
}

func (f *follower) changed(e client.Event) {
	var r api.Resource // Gone has the same names
	if json.Unmarshal(e.Data, &r) != nil || f.id != "" && r.ID != f.id && r.Name != f.id {
		return
	}
	if !f.synced {
		f.known = append(f.known, r)
		return
	}
	if f.widths == nil {
		f.known = []api.Resource{r}
		f.begin()
		f.known = nil
	}
	if r.Hostname == "" {
		r.Hostname = f.hosts[r.Host]
	}
	f.line(append([]string{e.Type}, f.sheet.row(r)...))
}

// begin sizes the columns for what is known, and writes the head.
func (f *follower) begin() {
	f.sheet = f.app.sheetFor(f.kind, f.known)
	head := append([]string{"EVENT"}, f.sheet.head...)
	f.widths = make([]int, len(head))
	widen := func(cells []string) {
		for i, c := range cells {
			f.widths[i] = max(f.widths[i], utf8.RuneCountInString(kindtable.Clean(c)))
		}
	}
	widen(head)
	widen([]string{api.Modified})
	for _, r := range f.known {
		widen(append([]string{""}, f.sheet.row(r)...))
	}
	if !f.app.noHeaders {
		f.line(head)
	}
}

func (f *follower) line(cells []string) {
	if f.app.output != "wide" {
		cells = cells[:1+f.sheet.wide]
	}
	var b strings.Builder
	for i, c := range cells {
		if c = kindtable.Clean(c); c == "" {
			c = "-"
		}
		b.WriteString(c)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", max(f.widths[i]-utf8.RuneCountInString(c), 0)+2))
		}
	}
	fmt.Fprintln(f.app.out, b.String())
}
