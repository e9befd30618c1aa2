package ctl

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	mostWhys = 10  // lines below a table
	longWhy  = 400 // characters of one, which ends with the remedy
)

// A why is the cause of rows of a table, which would be too long in each of them.
type why struct {
	where  string
	since  time.Time
	reason string
}

// tell writes causes below a table, one a line, where they are in no script's way;
// without headers it is a script that reads.
func (a *app) tell(whys []why) {
	if a.noHeaders {
		return
	}
	for i, w := range whys {
		if i == mostWhys {
			fmt.Fprintf(a.errs, "... and %d more; -o wide says why of each\n", len(whys)-i)
			return
		}
		text := w.where
		if !w.since.IsZero() && !strings.Contains(w.reason, " since ") { // a gateway says it itself
			text += " since " + clock(w.since)
		}
		text += ": " + w.reason
		if utf8.RuneCountInString(text) > longWhy {
			text = string([]rune(text)[:longWhy]) + "..."
		}
		fmt.Fprintln(a.errs, kindtable.Clean(text))
	}
}

// printAll prints resources, and below the table why some are stale. A wide one
// says it in the rows.
func (a *app) printAll(all []api.Resource, tables ...table) error {
	err := a.print(all, tables...)
	if err == nil && a.output == "table" {
		a.tell(staleWhys(all))
	}
	return err
}

// staleWhys returns the causes why some resources are stale, each once for its
// host.
func staleWhys(all []api.Resource) []why {
	type cause struct {
		host   wire.HostID
		reason string
	}
	var whys []why
	told := make(map[cause]bool)
	for _, r := range all {
		c := cause{r.Host, r.StaleReason}
		if !r.Stale || r.StaleReason == "" || told[c] {
			continue
		}
		told[c] = true
		whys = append(whys, why{"stale on " + r.Hostname, r.StaleSince, r.StaleReason})
	}
	return whys
}

// sourceWhys returns why sources of hosts are not well. Sources of a host with
// one cause share a line.
func sourceWhys(hosts []api.Host) []why {
	var whys []why
	for _, h := range hosts {
		if !h.Connected { // its row says why, and the rest is old
			continue
		}
		at := make(map[string]int)
		for _, s := range h.Sources {
			if s.State == "ok" || s.Reason == "" {
				continue
			}
			cause := s.State + " " + s.Reason
			if i, told := at[cause]; told {
				whys[i].where = strings.TrimSuffix(whys[i].where, " "+s.State) + ", " + s.Name + " " + s.State
				continue
			}
			at[cause] = len(whys)
			whys = append(whys, why{h.Hostname + ": " + s.Name + " " + s.State, s.Since, s.Reason})
		}
	}
	return whys
}
