package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// printTables prints what was listed, in order of its kinds: each kind that
// declares columns in a table of its own, and before these one table of all
// others, with whole specs. Of an empty list there are the headings.
func printTables(w io.Writer, kinds []protocol.Kind, rs []protocol.Resource, wide bool) error {
	columns := make(map[string][]Column)
	var tables [][][]string
	for _, k := range kinds {
		if len(k.Columns) == 0 {
			continue
		}
		columns[k.Name] = shown(k.Columns, wide)
		if len(rs) == 0 {
			tables = append(tables, [][]string{heading(columns[k.Name])})
		}
	}
	plain := [][]string{{"KIND", "ID", "NAME", "SPEC"}}
	for i, r := range rs {
		cols, declared := columns[r.Kind]
		row := []string{r.Kind, r.ID, r.Name}
		if !declared {
			plain = append(plain, append(row, string(r.Spec)))
			continue
		}
		if i == 0 || rs[i-1].Kind != r.Kind {
			tables = append(tables, [][]string{heading(cols)})
		}
		last := &tables[len(tables)-1]
		*last = append(*last, append(row, cells(r.Spec, cols)...))
	}
	if len(plain) > 1 || len(tables) == 0 {
		tables = append([][][]string{plain}, tables...)
	}
	for i, rows := range tables {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := printTable(w, rows); err != nil {
			return err
		}
	}
	return nil
}

func heading(columns []Column) []string {
	head := []string{"KIND", "ID", "NAME", "STATE"}
	for _, c := range columns {
		head = append(head, c.Name)
	}
	return head
}

// shown are a kind's columns without that of the state, which is always there,
// and without the wide ones or with these last.
func shown(all []Column, wide bool) []Column {
	var narrow, more []Column
	for _, c := range all {
		switch {
		case c.Path == "state":
		case !c.Wide:
			narrow = append(narrow, c)
		case wide:
			more = append(more, c)
		}
	}
	return append(narrow, more...)
}

func printTable(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// cells are a spec's state and its values in the columns.
func cells(spec json.RawMessage, columns []Column) []string {
	dec := json.NewDecoder(bytes.NewReader(spec))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil
	}
	all := make([]string, 0, 1+len(columns))
	for _, c := range append([]Column{{Path: "state"}}, columns...) {
		value, _ := c.In(v)
		text := cell(value)
		if n, ok := value.(json.Number); ok && strings.HasSuffix(c.Path, "_bytes") {
			text = size(n)
		}
		all = append(all, text)
	}
	return all
}

func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			parts = append(parts, cell(e))
		}
		return strings.Join(parts, ",")
	}
	b, _ := json.Marshal(v) // it came from JSON
	return string(b)
}

// size is a number of bytes for people, if it is one.
func size(n json.Number) string {
	b, err := strconv.ParseUint(n.String(), 10, 64)
	switch {
	case err != nil:
		return n.String()
	case b < 1024:
		return n.String() + " B"
	}
	v, i := float64(b)/1024, 0
	for ; v >= 1023.95 && i < len("KMGTP"); i++ {
		v /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[i])
}

// printable keeps control characters, which may come from anywhere, off a
// terminal, and what is long short.
func printable(s string) string {
	const most = 80
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
	if rs := []rune(s); len(rs) > most {
		return string(rs[:most-1]) + "…"
	}
	return s
}
