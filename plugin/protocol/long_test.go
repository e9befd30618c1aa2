package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// deltaLine is a line with n resources whose specs have about size bytes each.
func deltaLine(t *testing.T, n, size int) []byte {
	t.Helper()
	rs := resources(0, n)
	for i := range rs {
		rs[i].Spec = json.RawMessage(`{"x":"` + strings.Repeat("x", size) + `"}`)
	}
	b, err := json.Marshal(Frame{Delta: &Delta{Seq: 7, Begin: true, End: true, Count: n, Upserts: rs, Deletes: []Key{{"a.b", "1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func TestLongDeltasAreReadResourceByResource(t *testing.T) {
	line := deltaLine(t, 3000, 1000)
	if len(line) < 3_000_000 {
		t.Fatalf("the line has only %d bytes", len(line))
	}
	for name, src := range map[string]io.Reader{
		"at once": bytes.NewReader(append(line, "{\"ping\":{\"nonce\":1}}\n"...)),
		"in bits": iotest.HalfReader(bytes.NewReader(append(line, "{\"ping\":{\"nonce\":1}}\n"...))),
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(src, 0)
			f, err := r.Frame()
			if err != nil || f.Delta == nil {
				t.Fatalf("%+v, %v, want a delta", f, err)
			}
			d := f.Delta
			if d.Seq != 7 || !d.Begin || !d.End || d.Count != 3000 || len(d.Upserts) != 3000 || len(d.Deletes) != 1 || d.Upserts[2999].ID != "2999" {
				t.Errorf("delta %d has %d upserts and %d deletes", d.Seq, len(d.Upserts), len(d.Deletes))
			}
			if r.line != len(line) {
				t.Errorf("the line counts %d bytes, want %d", r.line, len(line))
			}
			if len(r.buf) > 2*MaxShort {
				t.Errorf("the buffer has %d bytes", len(r.buf))
			}
			if f, err := r.Frame(); err != nil || f.Ping == nil {
				t.Errorf("the next line: %+v, %v, want a ping", f, err)
			}
		})
	}
}

func TestLongLinesAreHeldToTheRules(t *testing.T) {
	pad := strings.Repeat(" ", MaxShort)
	big := strings.Repeat("x", MaxShort)
	tests := []struct {
		name, line string
		want       Rule // "": read
		delta      bool
	}{
		{"a delta", `{` + pad + `"delta":{"seq":1,"later":[{}],"upserts":null}, "trace":"x"}`, "", true},
		{"of a later time", `{"rumour":"` + big + `"}`, "", false},
		{"no delta", `{"status":{"text":"` + big + `"}}`, RuleLineSize, false},
		{"two messages", `{"delta":{"seq":1}` + pad + `,"ping":{"nonce":1}}`, RuleJSON, false},
		{"no object", `[` + pad + `]`, RuleJSON, false},
		{"no JSON", big, RuleJSON, false},
		{"more than an object", `{"delta":{"seq":1}}` + pad + `{}`, RuleJSON, false},
		{"a wrong type", `{"delta":{"seq":"1"` + pad + `}}`, RuleJSON, false},
		{"upserts that are no list", `{"delta":{"seq":1,"upserts":{` + pad + `}}}`, RuleJSON, false},
		{"a line beyond the limit", `{"delta":{"upserts":[` + strings.Repeat(`{"id":"1"},`+pad, 17), RuleLineSize, false},
		{"later and beyond the limit", `{"rumour":"` + strings.Repeat(big, 17), RuleLineSize, false},
		{"a resource beyond all limits", `{"delta":{"seq":1,"upserts":[{"kind":"a.b","id":"1","spec":{"x":"` + strings.Repeat(big, 3) + `"}}]}}`, RuleResource, false},
		{"more resources than a delta has", `{"delta":{"seq":1,"upserts":[` + pad + strings.Repeat("{},", MaxElements) + `{}]}}`, RuleSize, false},
		{"more keys than a delta has", `{"delta":{"seq":1,"upserts":[{}],"deletes":[` + pad + strings.Repeat("{},", MaxElements-1) + `{}]}}`, RuleSize, false},
		{"many in a short line", `{"delta":{"seq":1,"upserts":[` + strings.Repeat("{},", MaxElements*2) + `{}]}}`, RuleSize, false},
		{"many kinds", `{"hello":{"kinds":[` + strings.Repeat("{},", MaxElements*2) + `{}]}}`, RuleSize, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := NewReader(strings.NewReader(test.line+"\n"), 0).Frame()
			if got := ruleOf(err); got != test.want || (err != nil) != (test.want != "") {
				t.Errorf("%v, want rule %q", err, test.want)
			}
			if (f.Delta != nil) != test.delta {
				t.Errorf("a delta: %v, want %v", f.Delta != nil, test.delta)
			}
		})
	}
	t.Run("half a line", func(t *testing.T) {
		line := deltaLine(t, 1000, 1000)
		if _, err := NewReader(bytes.NewReader(line[:len(line)/2]), 0).Frame(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v, want io.ErrUnexpectedEOF", err)
		}
	})
}

func TestAListOfNothingTakesNoMemory(t *testing.T) {
	line := []byte(`{"delta":{"seq":1,"upserts":[` + strings.Repeat("{},", 1_000_000) + "{}]}}\n")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := NewReader(bytes.NewReader(line), 0).Frame()
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; ruleOf(err) != RuleSize || allocated > 16<<20 {
		t.Errorf("a line of %d bytes: %v after %d bytes, want rule %s after less", len(line), err, allocated, RuleSize)
	}
}

// FuzzLong wants a long line to be read as a short one would.
func FuzzLong(f *testing.F) {
	f.Add([]byte(`{"delta":{"seq":1,"begin":true,"upserts":[{"kind":"a.b","id":"1","spec":{}}]}}`))
	f.Add([]byte(`{"delta":{"seq":2,"deletes":[{"kind":"a.b","id":"1"}],"x":[1]},"y":{}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		line = append(bytes.ReplaceAll(line, []byte("\n"), nil), '\n')
		long, err := NewReader(bytes.NewReader(line), 0).long()
		if err != nil {
			return
		}
		short, err := ParseFrame(line)
		if long.Delta == nil { // skipped unread
			return
		}
		if err != nil {
			t.Fatalf("as a long line it is read, as a short one: %v", err)
		}
		if a, b := fmt.Sprintf("%+v", *long.Delta), fmt.Sprintf("%+v", *short.Delta); a != b && !reflect.DeepEqual(long.Delta, short.Delta) {
			t.Fatalf("as a long line %s\nas a short one %s", a, b)
		}
	})
}
