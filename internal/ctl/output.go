package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/openpf9/openpf9/internal/kindtable"
)

// table is what people read. Columns from wide on are shown by -o wide only;
// 0: all are shown always. A column from fixed on is left out where no row has
// anything in it, but not without headers: then a script counts the columns.
// 0: none is left out.
type table struct {
	title       string // of one among several
	head        []string
	fixed, wide int
	rows        [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// shown returns which columns are.
func (t *table) shown(wide, headers bool) []int {
	n := len(t.head)
	if !wide && t.wide > 0 {
		n = t.wide
	}
	var shown []int
	for i := range n {
		used := func(row []string) bool { return row[i] != "" }
		if t.fixed == 0 || i < t.fixed || !headers || len(t.rows) == 0 || slices.ContainsFunc(t.rows, used) {
			shown = append(shown, i)
		}
	}
	return shown
}

// machine says whether programs read the output.
func (a *app) machine() bool { return a.output == "json" || a.output == "yaml" }

// done says what was done, to people.
func (a *app) done(format string, args ...any) error {
	if a.machine() {
		return nil
	}
	_, err := fmt.Fprintln(a.out, kindtable.Clean(fmt.Sprintf(format, args...)))
	return err
}

// print writes v for programs or the tables for people, as -o says. Of several
// tables those without rows are left out.
func (a *app) print(v any, tables ...table) error {
	switch a.output {
	case "json":
		e := json.NewEncoder(kindtable.JSON(a.out))
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "yaml":
		return writeYAML(a.out, v)
	}
	if len(tables) == 1 {
		err := a.write(&tables[0])
		if err == nil && len(tables[0].rows) == 0 && !a.noHeaders {
			fmt.Fprintln(a.errs, "There are none.")
		}
		return err
	}
	between := ""
	for i := range tables {
		t := &tables[i]
		if len(t.rows) == 0 {
			continue
		}
		if !a.noHeaders {
			fmt.Fprintf(a.out, "%s%s\n", between, kindtable.Clean(t.title))
		}
		if err := a.write(t); err != nil {
			return err
		}
		between = "\n"
	}
	if between == "" {
		fmt.Fprintln(a.errs, "There are none.")
	}
	return nil
}

func (a *app) write(t *table) error {
	shown := t.shown(a.output == "wide", !a.noHeaders)
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	line := func(cells []string) {
		safe := make([]string, 0, len(shown))
		for _, i := range shown {
			c := kindtable.Clean(cells[i])
			if c == "" {
				c = "-"
			}
			safe = append(safe, c)
		}
		fmt.Fprintln(w, strings.Join(safe, "\t"))
	}
	if !a.noHeaders {
		line(t.head)
	}
	for _, r := range t.rows {
		line(r)
	}
	return w.Flush()
}

// age is how long ago something was, in one or two units.
func age(t time.Time, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 0:
		return "in " + span(-d)
	}
	return span(d)
}

func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// writeYAML writes v, which encoding/json must be able to, as YAML.
func writeYAML(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return err
	}
	var out bytes.Buffer
	yamlNode(&out, tree, 0)
	_, err = kindtable.JSON(w).Write(bytes.TrimPrefix(out.Bytes(), []byte("\n"))) // strings are JSON's
	return err
}

// yamlNode writes what comes after "key:" or "-", with the end of the line.
func yamlNode(out *bytes.Buffer, v any, depth int) {
	pad := strings.Repeat("  ", depth)
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			break
		}
		out.WriteByte('\n')
		for _, k := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(out, "%s%s:", pad, yamlString(k))
			yamlNode(out, v[k], depth+1)
		}
		return
	case []any:
		if len(v) == 0 {
			break
		}
		out.WriteByte('\n')
		for _, e := range v {
			out.WriteString(pad + "-")
			yamlNode(out, e, depth+1)
		}
		return
	case string:
		fmt.Fprintf(out, " %s\n", yamlString(v))
		return
	}
	text, _ := json.Marshal(v) // it came from JSON
	fmt.Fprintf(out, " %s\n", text)
}

// yamlPlain is what every reader of YAML takes for a string without quotes.
var yamlPlain = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_./-]*$`)

// yamlWord is what some reader of YAML takes for something else.
var yamlWord = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|nan|inf)$`)

func yamlString(s string) string {
	if yamlPlain.MatchString(s) && !yamlWord.MatchString(s) {
		return s
	}
	b, _ := json.Marshal(s) // a JSON string is a YAML string
	return string(b)
}
