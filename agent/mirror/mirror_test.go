package mirror_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

type spec struct {
	State  string `json:"state"`
	Reason string `json:"state_reason,omitempty"`
	N      int    `json:"n"`
}

func vm(id string, s spec) plugin.Resource {
	return plugin.Resource{Key: plugin.Key{Kind: "vm", ID: id}, Name: "n" + id, Spec: s}
}

func many(n int) (rs []plugin.Resource) {
	for i := range n {
		rs = append(rs, vm(fmt.Sprint(i), spec{State: "running"}))
	}
	return rs
}

func status(name, state string) wire.SourceStatus { return wire.SourceStatus{Name: name, State: state} }

func TestOnlyDifferencesAreMarked(t *testing.T) {
	m := mirror.New(mirror.Options{})
	w := m.Watch()
	defer w.Close()
	m.Listed("libvirt", []string{"vm"}, many(3))
	c := w.Take(1 << 20)
	if len(c.Upserts) != 3 || c.Digests["vm"].Count != 3 {
		t.Fatalf("first list: %d upserts, digest %v", len(c.Upserts), c.Digests)
	}
	m.Listed("libvirt", []string{"vm"}, many(3))
	if c := w.Take(1 << 20); len(c.Upserts)+len(c.Deletes) > 0 {
		t.Errorf("an unchanged list marks %v", c)
	}
	rs := many(3)[:2]
	rs[0].Spec = spec{State: "paused"}
	m.Listed("libvirt", []string{"vm"}, rs)
	c = w.Take(1 << 20)
	if len(c.Upserts) != 1 || c.Upserts[0].Generation != 2 || len(c.Deletes) != 1 || c.Deletes[0].ID != "2" {
		t.Errorf("one changed, one gone: %+v", c)
	}
	w.Return(c)
	if again := w.Take(1 << 20); len(again.Upserts) != 1 || len(again.Deletes) != 1 {
		t.Errorf("what was returned: %+v", again)
	}
}

func TestChangeIsSeenWhereverItIs(t *testing.T) {
	type inner struct{ A []string }
	live := &spec{N: 1}
	base := func() plugin.Resource {
		return plugin.Resource{Key: plugin.Key{Kind: "vm", ID: "1"}, Name: "n", Spec: struct{ In *inner }{&inner{[]string{"a"}}}}
	}
	for name, test := range map[string]struct {
		change func(*plugin.Resource)
		seen   bool
	}{
		"nothing":              {func(*plugin.Resource) {}, false},
		"a name":               {func(r *plugin.Resource) { r.Name = "m" }, true},
		"a parent":             {func(r *plugin.Resource) { r.Parent = plugin.Key{Kind: "host", ID: "h"} }, true},
		"ext":                  {func(r *plugin.Resource) { r.Ext = map[string]any{"d/a": 1} }, true},
		"deep":                 {func(r *plugin.Resource) { r.Spec = struct{ In *inner }{&inner{[]string{"b"}}} }, true},
		"the type alone":       {func(r *plugin.Resource) { r.Spec = map[string]any{"In": inner{[]string{"a"}}} }, false},
		"a spec behind itself": {func(r *plugin.Resource) { r.Spec = live }, true},
	} {
		m := mirror.New(mirror.Options{})
		list := func(r plugin.Resource) uint64 {
			m.Listed("a", []string{"vm"}, []plugin.Resource{r})
			got, _ := m.Get(r.Key)
			return got.Generation
		}
		list(base())
		r := base()
		test.change(&r)
		if g := list(r); (g == 2) != test.seen || list(r) != g {
			t.Errorf("%s: generation %d after a change, %d when listed again", name, g, list(r))
		}
		if r.Spec == live {
			live.N++
			if g := list(r); g != 3 {
				t.Errorf("what is behind a pointer changed: generation %d, want 3", g)
			}
		}
		if g := list(base()); (g == 1) == test.seen {
			t.Errorf("%s: generation %d after a change back", name, g)
		}
	}
}

func TestSourcesOwnTheirResources(t *testing.T) {
	m := mirror.New(mirror.Options{})
	m.Listed("a", []string{"vm"}, many(2))
	m.Listed("b", []string{"vm"}, []plugin.Resource{vm("x", spec{})})
	if n := len(m.Kind("vm")); n != 3 {
		t.Errorf("%d resources, want both sources'", n)
	}
	m.Status(status("b", "ok"))
	m.Removed("b")
	if n := len(m.Kind("vm")); n != 2 {
		t.Errorf("%d resources after a source was removed", n)
	}
}

func TestMassDisappearanceIsHeldForOneList(t *testing.T) {
	m := mirror.New(mirror.Options{})
	m.Listed("libvirt", []string{"vm"}, many(30))
	m.Status(status("libvirt", "ok"))
	m.Listed("libvirt", []string{"vm"}, many(2))
	if n, st := m.Kinds()["vm"], m.Statuses()[0]; n != 30 || st.State != "degraded" {
		t.Errorf("after one short list: %d VMs, module %s", n, st.State)
	}
	m.Listed("libvirt", []string{"vm"}, many(2))
	if n, st := m.Kinds()["vm"], m.Statuses()[0]; n != 2 || st.State != "ok" {
		t.Errorf("after two: %d VMs, module %s (%s)", n, st.State, st.Reason)
	}
	m.Listed("libvirt", []string{"vm"}, many(30))
	m.Listed("libvirt", []string{"vm"}, nil)
	m.Listed("libvirt", []string{"vm"}, many(30))
	if n, st := m.Kinds()["vm"], m.Statuses()[0]; n != 30 || st.State != "ok" {
		t.Errorf("after a short list that was wrong: %d VMs, module %s", n, st.State)
	}
}

func TestHistoryTellsWhatHappenedNotWhatWasThere(t *testing.T) {
	var got []string
	m := mirror.New(mirror.Options{Event: func(_ string, e wire.Event) {
		got = append(got, e.Type+" "+e.Name+" "+e.Detail)
	}})
	m.Listed("libvirt", []string{"vm"}, many(2)) // was there before
	m.Got("libvirt", plugin.Key{Kind: "vm", ID: "1"}, vm("1", spec{State: "shut_off", Reason: "crashed"}), true)
	m.Got("libvirt", plugin.Key{Kind: "vm", ID: "1"}, vm("1", spec{State: "shut_off", Reason: "crashed", N: 7}), true)
	m.Got("libvirt", plugin.Key{Kind: "vm", ID: "0"}, plugin.Resource{}, false)
	m.Listed("libvirt", []string{"vm"}, []plugin.Resource{vm("1", spec{State: "shut_off", Reason: "crashed", N: 7}), vm("9", spec{State: "running"})})
	want := []string{"state n1 running -> shut_off (crashed)", "deleted n0 ", "created n9 running"}
	if !slices.Equal(got, want) {
		t.Errorf("history %q, want %q", got, want)
	}
}

func TestBadResourcesAreLeftOut(t *testing.T) {
	m := mirror.New(mirror.Options{})
	m.Listed("x", []string{"vm"}, []plugin.Resource{
		vm("good", spec{}), vm("", spec{}),
		{Key: plugin.Key{Kind: "other", ID: "1"}, Spec: spec{}},
		{Key: plugin.Key{Kind: "vm", ID: "func"}, Spec: func() {}},
	})
	if rs := m.Kind("vm"); len(rs) != 1 || rs[0].ID != "good" || m.Kinds()["other"] > 0 {
		t.Errorf("mirror holds %v of %v", rs, m.Kinds())
	}
}

// Whatever is done, a consumer that applies what it takes has what the mirror
// has, and the digests agree.
func TestConsumersConverge(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := mirror.New(mirror.Options{})
		w := m.Watch()
		have := make(map[plugin.Key]wire.Resource)
		apply := func(c mirror.Changes) {
			for _, u := range c.Upserts {
				have[u.Key] = u
			}
			for _, k := range c.Deletes {
				delete(have, k)
			}
			for kind, d := range c.Digests {
				var mine wire.Digest
				for k, h := range have {
					if k.Kind == kind {
						mine.Add(h.Hash())
					}
				}
				if mine != d {
					t.Fatalf("seed %d: digest %v, want %v", seed, mine, d)
				}
			}
		}
		for range 100 {
			switch r.IntN(5) {
			case 0:
				rs := many(r.IntN(8))
				for i := range rs {
					rs[i].Spec = spec{N: r.IntN(3)}
				}
				m.Listed("a", []string{"vm"}, rs)
			case 1, 2:
				id := fmt.Sprint(r.IntN(8))
				m.Got("a", plugin.Key{Kind: "vm", ID: id}, vm(id, spec{N: r.IntN(3)}), r.IntN(3) > 0)
			case 3:
				apply(w.Take(r.IntN(2000)))
			case 4:
				c := w.Take(1 << 20)
				w.Return(c)
			}
		}
		apply(w.Take(1 << 20))
		if len(have) != len(m.Kind("vm")) {
			t.Fatalf("seed %d: consumer has %d, mirror %d", seed, len(have), len(m.Kind("vm")))
		}
		w.Close()
	}
}

func TestEpochGrowsWithEachStart(t *testing.T) {
	dir := t.TempDir()
	for want := uint64(1); want <= 3; want++ {
		if got, err := mirror.NextEpoch(dir); err != nil || got != want {
			t.Fatalf("epoch %d, %v, want %d", got, err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "epoch"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := mirror.NextEpoch(dir); err == nil {
		t.Errorf("epoch %d from rubbish: an epoch must never go back", got)
	}
}

// BenchmarkUnchangedList is what a host at rest does each minute.
func BenchmarkUnchangedList(b *testing.B) {
	m := mirror.New(mirror.Options{})
	rs := many(1000)
	m.Listed("libvirt", []string{"vm"}, rs)
	b.ReportAllocs()
	for b.Loop() {
		m.Listed("libvirt", []string{"vm"}, rs)
	}
}

// Two modules list one kind, as two vCenters do VMs. Until both have, nobody may
// take what one has not listed yet for gone.
func TestKindOfTwoModulesIsListedWhenBothHave(t *testing.T) {
	m := mirror.New(mirror.Options{})
	kinds := []string{inventory.KindVM}
	for _, name := range []string{"vcenter-a", "vcenter-b"} {
		m.Status(wire.SourceStatus{Name: name, State: discovery.Starting, Kinds: kinds})
	}
	w := m.Compare()
	defer w.Close()
	_ = w.Take(1 << 20) // the statuses
	m.Listed("vcenter-a", kinds, []plugin.Resource{{Key: plugin.Key{Kind: inventory.KindVM, ID: "a/1"}, Spec: inventory.VM{}}})
	if d, ok := m.Digests()[inventory.KindVM]; ok {
		t.Errorf("the kind has the digest %v while a module is starting", d)
	}
	if c := w.Take(1 << 20); c.Compare || len(c.Upserts) > 0 {
		t.Errorf("while a module is starting there is %+v to take", c)
	}

	t.Run("one fails", func(t *testing.T) {
		m.Status(wire.SourceStatus{Name: "vcenter-b", State: discovery.Failed, Reason: "refused", Kinds: kinds})
		if c := w.Take(1 << 20); len(c.Upserts) != 1 || len(c.Digests) > 0 {
			t.Errorf("after the other has failed there is %+v to take", c)
		}
		if _, ok := m.Digests()[inventory.KindVM]; ok {
			t.Error("the kind has a digest though one of its modules has listed nothing")
		}
	})

	m.Listed("vcenter-b", kinds, []plugin.Resource{{Key: plugin.Key{Kind: inventory.KindVM, ID: "b/1"}, Spec: inventory.VM{}}})
	if c := w.Take(1 << 20); !c.Compare || len(c.Upserts) > 0 {
		t.Errorf("when both have listed there is %+v to take", c)
	}
	if d := m.Digests()[inventory.KindVM]; d.Count != 2 {
		t.Errorf("the digest is %v", d)
	}
	m.Got("vcenter-b", plugin.Key{Kind: inventory.KindVM, ID: "b/1"}, plugin.Resource{}, false)
	if c := w.Take(1 << 20); len(c.Deletes) != 1 || c.Digests[inventory.KindVM].Count != 1 {
		t.Errorf("after a deletion there is %+v to take", c)
	}
}
