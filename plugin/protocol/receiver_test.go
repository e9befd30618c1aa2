package protocol

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var testKinds = []Kind{{Name: "test.a"}, {Name: "test.b"}}

func TestReceiverHoldsDeltasToTheRules(t *testing.T) {
	const first = `{"seq":1,"begin":true,"end":true,"count":1,"upserts":[{"kind":"test.a","id":"1","spec":{}}]}`
	tests := []struct {
		name   string
		deltas []string
		want   Rule // of the last one
	}{
		{"a snapshot", []string{first}, ""},
		{"an empty one", []string{`{"seq":1,"begin":true,"end":true}`}, ""},
		{"one in parts", []string{`{"seq":1,"begin":true}`, `{"seq":2,"upserts":[{"kind":"test.b","id":"1","spec":{}}]}`, `{"seq":3,"end":true,"count":1}`}, ""},
		{"one begun anew", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"1","spec":{}}]}`, `{"seq":2,"begin":true,"end":true,"count":1,"upserts":[{"kind":"test.a","id":"1","spec":{}}]}`}, ""},
		{"changes", []string{first, `{"seq":2,"upserts":[{"kind":"test.a","id":"2","spec":{}}],"deletes":[{"kind":"test.a","id":"1"}]}`}, ""},
		{"a delete of what is not there", []string{first, `{"seq":2,"deletes":[{"kind":"test.a","id":"9"}]}`}, ""},
		{"the first number is 0", []string{`{"seq":0,"begin":true,"end":true}`}, RuleSeq},
		{"a gap", []string{first, `{"seq":3}`}, RuleSeq},
		{"a repeated number", []string{first, `{"seq":1}`}, RuleSeq},
		{"changes first", []string{`{"seq":1}`}, RuleSnapshot},
		{"an end without a begin", []string{first, `{"seq":2,"end":true}`}, RuleSnapshot},
		{"deletes in a snapshot", []string{`{"seq":1,"begin":true,"deletes":[{"kind":"test.a","id":"1"}]}`}, RuleSnapshot},
		{"a wrong count", []string{`{"seq":1,"begin":true,"end":true,"count":2}`}, RuleCount},
		{"twice in a part", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"1","spec":{}},{"kind":"test.a","id":"1","spec":{"x":1}}]}`}, RuleUnique},
		{"twice in two parts", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"1","spec":{}}]}`, `{"seq":2,"upserts":[{"kind":"test.a","id":"1","spec":{}}]}`}, RuleUnique},
		{"changed and deleted", []string{first, `{"seq":2,"upserts":[{"kind":"test.a","id":"1","spec":{}}],"deletes":[{"kind":"test.a","id":"1"}]}`}, RuleUnique},
		{"one id of two kinds", []string{`{"seq":1,"begin":true,"end":true,"count":2,"upserts":[{"kind":"test.a","id":"1","spec":{}},{"kind":"test.b","id":"1","spec":{}}]}`}, ""},
		{"an undeclared kind", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.c","id":"1","spec":{}}]}`}, RuleKinds},
		{"a delete of an undeclared kind", []string{first, `{"seq":2,"deletes":[{"kind":"test.c","id":"1"}]}`}, RuleKinds},
		{"no id", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","spec":{}}]}`}, RuleResource},
		{"no spec", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"1"}]}`}, RuleResource},
		{"a spec that is a list", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"1","spec":[]}]}`}, RuleResource},
		{"half a parent", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"1","spec":{},"parent":{"kind":"test.b","id":""}}]}`}, RuleResource},
		{"a parent of no kind", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"1","spec":{},"parent":{"kind":"rack","id":"1"}}]}`}, RuleResource},
		{"an empty parent is none", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"1","spec":{},"parent":{"kind":"","id":""}}]}`}, ""},
		{"a delete without an id", []string{first, `{"seq":2,"deletes":[{"kind":"test.a"}]}`}, RuleResource},
		{"a long id", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"` + strings.Repeat("x", 256) + `","spec":{}}]}`}, RuleResource},
		{"a large spec", []string{`{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"1","spec":{"x":"` + strings.Repeat("x", maxSpec) + `"}}]}`}, RuleResource},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := NewReceiver(testKinds, Limits{})
			for i, text := range test.deltas {
				_, _, err := r.Delta(parseDelta(t, text))
				want := Rule("")
				if i == len(test.deltas)-1 {
					want = test.want
				}
				if got := ruleOf(err); got != want || (err != nil) != (want != "") {
					t.Errorf("delta %d: %v, want rule %q", i+1, err, want)
				}
			}
		})
	}
}

func TestReceiverHandsOverWholeSnapshotsOnly(t *testing.T) {
	r := NewReceiver(testKinds, Limits{})
	for seq := uint64(1); seq <= 2; seq++ {
		if _, complete, err := r.Delta(&Delta{Seq: seq, Begin: seq == 1, Upserts: resources(int(seq)*10, 3)}); complete || err != nil {
			t.Fatalf("part %d: complete %v, %v", seq, complete, err)
		}
	}
	b, complete, err := r.Delta(&Delta{Seq: 3, End: true, Count: 6})
	if err != nil || !complete || !b.Whole || len(b.Upserts) != 6 {
		t.Fatalf("the end: %d resources, whole %v, complete %v, %v", len(b.Upserts), b.Whole, complete, err)
	}
	b, complete, err = r.Delta(&Delta{Seq: 4, Deletes: []Key{{"test.a", "10"}}})
	if err != nil || !complete || b.Whole || !slices.Equal(b.Deletes, []Key{{"test.a", "10"}}) {
		t.Fatalf("changes: %+v, complete %v, %v", b, complete, err)
	}
}

func TestReceiverBoundsWhatIsInForce(t *testing.T) {
	whole := func(n int) *Delta {
		return &Delta{Seq: 1, Begin: true, End: true, Count: n, Upserts: resources(0, n)}
	}
	t.Run("number", func(t *testing.T) {
		r := NewReceiver(testKinds, Limits{MaxResources: 10})
		if _, _, err := r.Delta(whole(10)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Delta(&Delta{Seq: 2, Upserts: resources(100, 1), Deletes: []Key{{"test.a", "0"}}}); err != nil {
			t.Fatalf("one comes and one goes: %v", err)
		}
		if _, _, err := r.Delta(&Delta{Seq: 3, Upserts: resources(200, 1)}); ruleOf(err) != RuleSize {
			t.Errorf("one too many: %v, want rule %s", err, RuleSize)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		r := NewReceiver(testKinds, Limits{MaxBytes: 10 * (ResourceOverhead + 16)})
		if _, _, err := r.Delta(whole(10)); err != nil {
			t.Fatal(err)
		}
		for seq := uint64(2); seq < 50; seq++ { // the same again counts once
			if _, _, err := r.Delta(&Delta{Seq: seq, Upserts: resources(0, 10)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := r.Delta(&Delta{Seq: 50, Upserts: resources(100, 1)}); ruleOf(err) != RuleSize {
			t.Errorf("too many bytes: %v, want rule %s", err, RuleSize)
		}
	})
	t.Run("an unfinished snapshot", func(t *testing.T) {
		r := NewReceiver(testKinds, Limits{MaxResources: 10})
		if _, _, err := r.Delta(&Delta{Seq: 1, Begin: true, Upserts: resources(0, 11)}); ruleOf(err) != RuleSize {
			t.Errorf("it may grow beyond the limit: %v", err)
		}
	})
}

func TestChooseSaysWhoMustUpgrade(t *testing.T) {
	tests := []struct {
		name      string
		protocols []int
		want      int
		text      string
	}{
		{"equal", []int{1}, 1, ""},
		{"newer that speaks the old", []int{1, 2}, 1, ""},
		{"newer", []int{2, 3}, 0, "plugin acme 1.2 speaks protocol 2 3, pf9-hostagent 0.1.0 speaks 1: upgrade pf9-hostagent 0.1.0"},
		{"older", []int{0}, 0, "plugin acme 1.2 speaks protocol 0, pf9-hostagent 0.1.0 speaks 1: upgrade the plugin acme"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Choose(&Hello{Name: "acme", Version: "1.2", Protocols: test.protocols}, "pf9-hostagent 0.1.0")
			if got != test.want || (err == nil) != (test.text == "") || err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("Choose = %d, %v, want %d, %q", got, err, test.want, test.text)
			}
		})
	}
}

func TestHelloIsComplete(t *testing.T) {
	good := func() Hello {
		return Hello{Protocols: []int{1}, Name: "acme", Version: "1", Kinds: []Kind{{Name: "com.acme.lun"}}}
	}
	tests := map[string]func(*Hello){
		"no protocols":            func(h *Hello) { h.Protocols = nil },
		"no name":                 func(h *Hello) { h.Name = "" },
		"a name in capitals":      func(h *Hello) { h.Name = "Acme" },
		"no version":              func(h *Hello) { h.Version = "" },
		"no kinds":                func(h *Hello) { h.Kinds = nil },
		"a kind twice":            func(h *Hello) { h.Kinds = append(h.Kinds, h.Kinds[0]) },
		"a kind without a dot":    func(h *Hello) { h.Kinds[0].Name = "lun" },
		"a schema that is a list": func(h *Hello) { h.ConfigSchema = json.RawMessage(`[]`) },
	}
	h := good()
	if err := h.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			h := good()
			spoil(&h)
			if err := h.Validate(); ruleOf(err) != RuleHello {
				t.Errorf("Validate: %v, want rule %s", err, RuleHello)
			}
		})
	}
}

func FuzzReceiver(f *testing.F) {
	f.Add([]byte(`{"delta":{"seq":1,"begin":true,"upserts":[{"kind":"test.a","id":"1","spec":{}}]}}` + "\n" + `{"delta":{"seq":2,"end":true,"count":1}}`))
	f.Add([]byte(`{"delta":{"seq":1,"begin":true,"end":true}}` + "\n" + `{"delta":{"seq":2,"deletes":[{"kind":"test.a","id":"1"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := NewReceiver(testKinds, Limits{MaxResources: 3, MaxBytes: 2000})
		held := make(map[Key]bool)
		for line := range strings.Lines(string(text)) {
			frame, err := ParseFrame([]byte(line))
			if err != nil || frame.Delta == nil {
				continue
			}
			b, complete, err := r.Delta(frame.Delta)
			if err != nil {
				return
			}
			if !complete {
				continue
			}
			if b.Whole {
				clear(held)
			}
			for _, u := range b.Upserts {
				held[u.Key] = true
			}
			for _, k := range b.Deletes {
				delete(held, k)
			}
			if len(held) > 3 || len(held) != len(r.inForce.sizes) {
				t.Fatalf("%d resources are in force, the receiver counts %d, the limit is 3", len(held), len(r.inForce.sizes))
			}
		}
	})
}

// resources are n of kind test.a with ids from first on.
func resources(first, n int) []Resource {
	var rs []Resource
	for i := range n {
		rs = append(rs, Resource{Key: Key{"test.a", fmt.Sprint(first + i)}, Spec: json.RawMessage(`{}`)})
	}
	return rs
}

func parseDelta(t *testing.T, text string) *Delta {
	t.Helper()
	f, err := ParseFrame([]byte(`{"delta":` + text + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return f.Delta
}
