// Package kindtable shows resources of any kind in tables on a terminal, for
// pf9ctl and the agent's command line: the words that people use for kinds,
// the columns that a kind declares or else seems to want, and their cells.
// What comes from hosts never steers the terminal.
package kindtable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// short are the words for core kinds; most have a plural, too.
var short = map[string][]string{
	"host":       {inventory.KindHost},
	"node":       {inventory.KindHost},
	"vm":         {inventory.KindVM},
	"link":       {inventory.KindLink},
	"route":      {inventory.KindRoute},
	"bridge":     {inventory.KindOVSBridge},
	"filesystem": {inventory.KindFilesystem},
	"fs":         {inventory.KindFilesystem},
	"device":     {inventory.KindDevice},
	"vg":         {inventory.KindVolumeGroup},
	"pool":       {inventory.KindPool},
	"volume":     {inventory.KindVolume},
	"extension":  {inventory.KindExtension},
	"kind":       {inventory.KindKind},
	"plugin":     {inventory.KindPlugin},
	"vcenter":    {inventory.KindVCenter},
	"datacenter": {inventory.KindDatacenter},
	"cluster":    {inventory.KindCluster},
	"esxi":       {inventory.KindESXi},
	"folder":     {inventory.KindFolder},
	"datastore":  {inventory.KindDatastore, inventory.KindDatastoreCluster},
	"portgroup":  {inventory.KindPortGroup},
	"switch":     {inventory.KindSwitch},
	"tag":        {inventory.KindTag},
	"template":   {inventory.KindTemplate},
	"network":    {inventory.KindLink, inventory.KindRoute, inventory.KindNetwork, inventory.KindOVSBridge, inventory.KindPortGroup},
	"storage": {
		inventory.KindFilesystem, inventory.KindDevice, inventory.KindVolumeGroup, inventory.KindPool, inventory.KindVolume,
		inventory.KindDatastore, inventory.KindDatastoreCluster,
	},
}

// Words returns the words that Core knows, sorted.
func Words() []string { return slices.Sorted(maps.Keys(short)) }

// Core returns the core kinds behind a word, singular or plural; nil: the word
// is none of these.
func Core(word string) []string {
	if kinds := short[word]; kinds != nil {
		return kinds
	}
	for _, plural := range []string{"s", "es"} {
		if one, ok := strings.CutSuffix(word, plural); ok && short[one] != nil {
			return short[one]
		}
	}
	return nil
}

// Find returns the kinds that a word may mean: the one of this name, or those
// whose last part it is, singular or plural.
func Find(word string, kinds []string) []string {
	if slices.Contains(kinds, word) {
		return []string{word}
	}
	var found []string
	for _, k := range kinds {
		last := k[strings.LastIndexByte(k, '.')+1:]
		if last == word || last+"s" == word {
			found = append(found, k)
		}
	}
	return found
}

const (
	guessedFrom  = 20 // specs that columns are guessed from
	guessed      = 4  // columns in each table
	guessedWide  = 12 // columns in a wide one
	longestGuess = 24 // characters of a column's name

	longestCell  = 60   // characters
	longestLast  = 200  // of a cell in the last column, and of the first warning
	longestWhole = 1000 // of a cell that is shown whole
)

// Columns returns the columns of a kind for a table: those that are declared,
// else those of the core, else the plain members of some specs. State, which
// tables have anyway, is not among them, and wide columns come last.
func Columns(kind string, declared []plugin.Column, specs []json.RawMessage) []plugin.Column {
	if len(declared) == 0 {
		for _, k := range inventory.Core() {
			if k.Name == kind {
				declared = k.Columns
			}
		}
	}
	if len(declared) == 0 {
		declared = guess(specs[:min(len(specs), guessedFrom)])
	}
	columns := slices.DeleteFunc(slices.Clone(declared), func(c plugin.Column) bool { return c.Path == "state" })
	slices.SortStableFunc(columns, func(a, b plugin.Column) int {
		switch {
		case a.Wide == b.Wide:
			return 0
		case b.Wide:
			return -1
		}
		return 1
	})
	return columns
}

// guess takes the plain members of the specs by name.
func guess(specs []json.RawMessage) []plugin.Column {
	seen := make(map[string]bool)
	for _, text := range specs {
		members, _ := decode(text).(map[string]any)
		for name, v := range members {
			switch v.(type) {
			case string, json.Number, bool:
				if name != "state" && name != "name" && !strings.Contains(name, ".") {
					seen[name] = true
				}
			}
		}
	}
	var columns []plugin.Column
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if len(columns) == guessedWide {
			break
		}
		title := strings.ToUpper(strings.ReplaceAll(strings.TrimSuffix(name, "_bytes"), "_", " "))
		columns = append(columns, plugin.Column{Name: cut(Clean(title), longestGuess), Path: name, Wide: len(columns) >= guessed})
	}
	return columns
}

// Cells returns a spec's cells in the columns, cut to fit into a line or whole.
// The last column that is in each table, often a reason, is cut later, for it
// pushes nothing away. Of warnings, the array of a column whose path ends in this
// word, the first is shown with how many there are beside it, and all if cells
// are whole.
func Cells(spec json.RawMessage, columns []plugin.Column, whole bool) []string {
	last := len(columns) - 1
	for last > 0 && columns[last].Wide {
		last--
	}
	v := decode(spec)
	cells := make([]string, len(columns))
	for i, c := range columns {
		at, ok := c.In(v)
		if !ok {
			continue
		}
		longest := longestCell
		switch {
		case whole:
			longest = longestWhole
		case i == last:
			longest = longestLast
		}
		if list, isList := at.([]any); isList && (c.Path == "warnings" || strings.HasSuffix(c.Path, ".warnings")) {
			cells[i] = warnings(list, whole)
			continue
		}
		cells[i] = text(at, longest)
		if n, isNumber := at.(json.Number); isNumber && strings.HasSuffix(c.Path, "_bytes") {
			if b, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
				cells[i] = Size(b)
			}
		}
	}
	return cells
}

func decode(text json.RawMessage) any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}

// text writes a value for people.
func text(v any, longest int) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return cut(Clean(v), longest)
	case []any:
		parts := make([]string, 0, min(len(v), longest))
		for _, e := range v[:min(len(v), longest)] {
			parts = append(parts, text(e, longest))
		}
		return cut(strings.Join(parts, ","), longest)
	}
	b, _ := json.Marshal(v) // it came from JSON
	return cut(Clean(string(b)), longest)
}

func warnings(list []any, whole bool) string {
	all := make([]string, 0, min(len(list), longestWhole))
	for _, w := range list[:min(len(list), longestWhole)] {
		all = append(all, text(w, longestWhole))
	}
	return Warnings(all, whole)
}

// Warnings is a cell of warnings: the first and how many more there are, or all.
func Warnings(all []string, whole bool) string {
	switch {
	case len(all) == 0:
		return ""
	case whole:
		return cut(Clean(strings.Join(all, "; ")), longestWhole)
	case len(all) == 1:
		return cut(Clean(all[0]), longestLast)
	}
	return fmt.Sprintf("%s (and %d more)", cut(Clean(all[0]), longestLast), len(all)-1)
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-3]) + "..."
	}
	return s
}

// Clean keeps what hosts call things from steering the terminal.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// CleanLines is Clean for a text of several lines, such as an error that joins
// others: what a far side says in one may not steer the terminal either.
func CleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = Clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// Size is a number of bytes for people.
func Size(b uint64) string {
	const units = "KMGTPE"
	if b < 1024 {
		return fmt.Sprintf("%d B", b)
	}
	v, i := float64(b)/1024, 0
	for v >= 1023.95 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
