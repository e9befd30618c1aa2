package resmgr

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/wire"
)

// Whatever a host sends, the catalogue stays whole and sums up what it holds.
func FuzzReport(f *testing.F) {
	r := vm(1, "web", "running")
	good, err := json.Marshal(&wire.Report{Epoch: 1, Seq: 1, Upserts: []wire.Resource{r}, Digests: map[string]wire.Digest{r.Kind: {}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"epoch":1,"seq":2,"full":"k","begin":true,"end":true,"upserts":[{"kind":"k","id":"1","spec": {"state" : 5}}]}`))
	f.Add([]byte(`{"epoch":1,"seq":2,"deletes":[{"kind":"k","id":"1"}],"sources":[{"name":"x","kinds":["k"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var rep wire.Report
		if json.Unmarshal(data, &rep) != nil {
			return
		}
		m := newManager(t, Limits{Resources: 8, Bytes: 4096, Kinds: 3})
		a := newAgent(1)
		a.connect(t, m)
		rep.Epoch = 1
		ok := false
		for range 2 { // once more, as a new report
			_, err := m.Report(a.p, &rep)
			ok = ok || err == nil
			rep.Seq++
		}
		h := m.hosts[a.p.Host]
		for _, l := range h.lists {
			for i := range l.entries {
				v := l.entries[i].resource(l.kind)
				a.mirror[v.Key] = v
				if v.Hash() != l.entries[i].hash {
					t.Fatalf("hash of %v", v.Key)
				}
			}
		}
		a.same(t, m)
		if !ok && len(a.mirror) > 0 {
			t.Fatal("a refused report left resources")
		}
		if len(a.mirror) > 8 || len(h.lists) > 3 {
			t.Fatalf("%d resources of %d kinds exceed the limits", len(a.mirror), len(h.lists))
		}
		if _, err := m.List(&Query{Kind: rep.Full}); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b?", "axxbc")
	f.Add("*?*", "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		g := newGlob(pattern)
		if g == nil || len(pattern) > 50 || len(s) > 50 {
			return
		}
		var re strings.Builder // of bytes, written as code points
		latin := func(s string) string {
			var b strings.Builder
			for i := range len(s) {
				b.WriteRune(rune(s[i]))
			}
			return b.String()
		}
		for i := range len(pattern) {
			switch c := pattern[i]; c {
			case '*':
				re.WriteString(".*")
			case '?':
				re.WriteString(".")
			default:
				re.WriteString(regexp.QuoteMeta(string(rune(c))))
			}
		}
		want := regexp.MustCompile(`(?s)\A(?:` + re.String() + `)\z`).MatchString(latin(s))
		if got := g.match(s); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, s, got, want)
		}
		if want && !strings.Contains(s, g.literal) {
			t.Fatalf("%q matches %q without its literal %q", pattern, s, g.literal)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("", "k")
	f.Add(cursor{hostID(1), "x/y"}.String(), "k")
	m := newManager(f, Limits{})
	fill(f, m, 3, 3)
	f.Fuzz(func(t *testing.T, token, revision string) {
		m.parseRevision(revision)
		if _, err := m.List(&Query{Kind: "compute.vm", Continue: token}); err != nil && statusOf(err) != 400 {
			t.Fatal(err)
		}
		if c, err := parseCursor(token); err == nil && token != "" {
			if d, err := parseCursor(c.String()); err != nil || d != c {
				t.Fatalf("%+v became %+v, %v", c, d, err)
			}
		}
	})
}
