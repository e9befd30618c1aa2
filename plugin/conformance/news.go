package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// news says what differs from what was listed before, or the first of it.
func (c *child) news(before map[protocol.Key]protocol.Resource) string {
	for _, key := range sorted(c.state) {
		now, name := c.state[key], key.Kind+" "+key.ID
		was, known := before[key]
		if !known {
			return name + " is new"
		}
		if what := changed(was, now); what != "" {
			return name + ": " + what
		}
	}
	for _, key := range sorted(before) {
		if _, still := c.state[key]; !still {
			return key.Kind + " " + key.ID + " is gone"
		}
	}
	return "all that is in it is the same as before"
}

func sorted(all map[protocol.Key]protocol.Resource) []protocol.Key {
	return slices.SortedFunc(maps.Keys(all), func(a, b protocol.Key) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
}

// changed names the member of a resource that differs, with both values.
func changed(was, now protocol.Resource) string {
	for _, part := range []struct {
		name     string
		was, now []byte
	}{
		{"name", encoded(was.Name), encoded(now.Name)},
		{"parent", encoded(was.Parent), encoded(now.Parent)},
		{"spec", was.Spec, now.Spec},
		{"ext", was.Ext, now.Ext},
	} {
		if bytes.Equal(part.was, part.now) {
			continue
		}
		path, a, b := differing(part.name, decoded(part.was), decoded(part.now))
		if path == "" {
			return part.name + " has the same values, written otherwise: the order of members or the form of numbers changes"
		}
		a, b = apart(a, b)
		return fmt.Sprintf("%s was %s and is %s", path, a, b)
	}
	return ""
}

// differing returns the path of the first value that differs, with both as they
// stand in JSON; "" if none does.
func differing(path string, was, now any) (at, a, b string) {
	switch was := was.(type) {
	case map[string]any:
		now, same := now.(map[string]any)
		if !same {
			break
		}
		names := maps.Clone(was)
		maps.Copy(names, now)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			x, had := was[name]
			y, has := now[name]
			if had != has {
				return path + "." + name, existing(x, had), existing(y, has)
			}
			if at, a, b := differing(path+"."+name, x, y); at != "" {
				return at, a, b
			}
		}
		return "", "", ""
	case []any:
		now, same := now.([]any)
		if !same || len(was) != len(now) {
			break
		}
		for i := range was {
			if at, a, b := differing(fmt.Sprintf("%s[%d]", path, i), was[i], now[i]); at != "" {
				return at, a, b
			}
		}
		return "", "", ""
	}
	if reflect.DeepEqual(was, now) {
		return "", "", ""
	}
	return path, string(encoded(was)), string(encoded(now))
}

func existing(v any, is bool) string {
	if !is {
		return "not there"
	}
	return string(encoded(v))
}

// apart cuts two texts so that where they differ is to be seen.
func apart(a, b string) (string, string) {
	const before, most = 20, 100
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	cut := func(s string) string {
		from := 0
		if len(s) > most {
			from = max(0, same-before)
		}
		part := s[from:min(len(s), from+most)]
		if from > 0 {
			part = "…" + part
		}
		if from+most < len(s) {
			part += "…"
		}
		return part
	}
	return cut(a), cut(b)
}

func encoded(v any) []byte {
	b, _ := json.Marshal(v) // it came from JSON
	return b
}

func decoded(b []byte) any {
	var v any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	_ = dec.Decode(&v) // it was decoded before; nothing: nil
	return v
}
