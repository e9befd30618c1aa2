package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// column is a column of a table: figures of one stack joined by a slash.
type column struct {
	head    string
	metrics []string
	formats []string
}

// table is a table of the report.
type table struct {
	title   string
	columns []column
}

func tables() []table {
	bulk := func(head, m string) column {
		return column{head, []string{m, m + ".cpu"}, []string{"%.0f", "%.2f"}}
	}
	ping := func(head, m string) column {
		return column{head, []string{m + ".p50", m + ".p99", m + ".carried"}, []string{"%.0f", "%.0f", "%.0f"}}
	}
	one := func(head, m, f string) column { return column{head, []string{m}, []string{f}} }
	return []table{
		{"Bulk on loopback: MB/s / CPU s per GB of both ends", []column{
			bulk("1 down", "down1"), bulk("1 up", "up1"), bulk("8 down", "down8"), bulk("8 up", "up8"),
		}},
		{"Ping of 1 KiB: p50 µs / p99 µs / MB/s carried beside it", []column{
			{"idle", []string{"ping0.p50", "ping0.p99"}, []string{"%.0f", "%.0f"}},
			ping("beside 1", "ping1"), ping("beside 8", "ping8"),
		}},
		{"Streams: open + 1 KiB echo + close; 16 that nobody reads; full duplex echo", []column{
			{"open/s / CPU µs", []string{"open", "open.cpu"}, []string{"%.0f", "%.0f"}},
			one("stalled: taken MB", "stall.taken", "%.1f"), one("far MiB", "stall.mem", "%.1f"),
			one("ping p99 µs", "stall.p99", "%.0f"), one("bulk keeps %", "stall.keep", "%.0f"),
			one("duplex MB/s", "duplex", "%.0f"), one("longest gap ms", "duplex.gap", "%.1f"),
		}},
		{"1,000 sessions, at the DU after a forced collection; all brought up again", []column{
			one("RSS KiB each", "idle.rss", "%.1f"), one("heap+stack KiB", "idle.heap", "%.1f"),
			one("goroutines", "idle.goroutines", "%.2f"),
			one("reconnect s", "reconnect", "%.2f"), one("CPU ms each, both ends", "reconnect.cpu", "%.2f"),
		}},
		{"Through a 50 ms round trip: MB/s (raw-tls: a connection per stream)", []column{
			one("1 down", "far.down1", "%.1f"), one("1 up", "far.up1", "%.1f"),
			one("8 down", "far.down8", "%.1f"), one("8 up", "far.up8", "%.1f"),
		}},
	}
}

func printTables(w io.Writer, r results, stacks []named) {
	for _, t := range tables() {
		if !t.measured(r) {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", t.title)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprint(tw, "stack")
		for _, c := range t.columns {
			fmt.Fprint(tw, "\t", c.head)
		}
		fmt.Fprintln(tw)
		for _, s := range stacks {
			fmt.Fprint(tw, s.name)
			for _, c := range t.columns {
				fmt.Fprint(tw, "\t", c.text(r, s.name))
			}
			fmt.Fprintln(tw)
		}
		tw.Flush()
	}
	if errs := r.errors(); len(errs) > 0 {
		fmt.Fprintf(w, "\nWhat did not finish:\n  %s\n", strings.Join(errs, "\n  "))
	}
}

func (t table) measured(r results) bool {
	for _, c := range t.columns {
		for s := range r {
			if r[s][c.metrics[0]] != nil {
				return true
			}
		}
	}
	return false
}

func (c column) text(r results, stack string) string {
	parts := make([]string, len(c.metrics))
	same := true
	for i, m := range c.metrics {
		parts[i] = r.text(stack, m, c.formats[i])
		same = same && parts[i] == parts[0]
	}
	if same {
		return parts[0]
	}
	return strings.Join(parts, " / ")
}
