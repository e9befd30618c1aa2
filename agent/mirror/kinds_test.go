package mirror_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const lun, tape = "com.acme.lun", "com.acme.tape"

// declared are the declarations that a mirror lists, by kind.
func declared(t *testing.T, m *mirror.Mirror) map[string]inventory.Kind {
	t.Helper()
	out := make(map[string]inventory.Kind)
	for _, r := range m.Kind(inventory.KindKind) {
		var k inventory.Kind
		if err := json.Unmarshal(r.Spec, &k); err != nil {
			t.Fatal(err)
		}
		out[r.ID] = k
	}
	return out
}

func TestDeclarationsComeAndGoWithTheirModules(t *testing.T) {
	m := mirror.New(mirror.Options{})
	v1 := plugin.Kind{Name: lun, Version: 1, Columns: []plugin.Column{{Name: "SIZE", Path: "size_bytes"}}}
	v2 := plugin.Kind{Name: lun, Version: 2, Schema: json.RawMessage(`{"type":"object"}`)}
	m.Declared("array-a", []string{lun, tape}, []plugin.Kind{v1, {Name: tape, Version: 1}})
	m.Declared("array-b", []string{lun}, []plugin.Kind{v2})
	want := map[string]inventory.Kind{
		lun:  {Version: 2, Schema: v2.Schema, Modules: []string{"array-a", "array-b"}},
		tape: {Version: 1, Modules: []string{"array-a"}},
	}
	if d := cmp.Diff(want, declared(t, m)); d != "" {
		t.Errorf("two modules (-want +got):\n%s", d)
	}
	w := m.Watch()
	defer w.Close()
	for c := w.Take(1 << 20); !c.Empty(); c = w.Take(1 << 20) {
	}
	m.Declared("array-b", []string{lun}, []plugin.Kind{v2})
	if c := w.Take(1 << 20); len(c.Upserts) > 0 {
		t.Errorf("the same declaration again is a change: %v", c.Upserts)
	}
	m.Removed("array-b")
	if k := declared(t, m)[lun]; k.Version != 1 || len(k.Columns) != 1 || !slices.Equal(k.Modules, []string{"array-a"}) {
		t.Errorf("after the other module went: %+v", k)
	}
	m.Declared("array-a", []string{lun, tape}, nil)
	if c := w.Take(1 << 20); len(declared(t, m)) > 0 || len(c.Deletes) != 2 {
		t.Errorf("a module that declares nothing more leaves %v, deleted %v", declared(t, m), c.Deletes)
	}
}

func TestDeclarationsAreBounded(t *testing.T) {
	m := mirror.New(mirror.Options{})
	var kinds []plugin.Kind
	names := []string{lun, inventory.KindVM}
	for i := range plugin.MaxKinds + 10 {
		kinds = append(kinds, plugin.Kind{Name: fmt.Sprintf("com.acme.k%03d", i), Version: 1})
		names = append(names, kinds[i].Name)
	}
	large := json.RawMessage(`{"x":"` + strings.Repeat("x", plugin.MaxKindBytes) + `"}`)
	m.Declared("a", names, []plugin.Kind{{Name: lun, Version: 1, Schema: large}, {Name: inventory.KindVM, Version: 9}, {Name: tape, Version: 1}})
	got := declared(t, m)
	if k := got[lun]; len(got) != 1 || k.Schema != nil || !strings.Contains(k.Problem, "64 KiB") {
		t.Errorf("declared: %v", got)
	}
	grows := json.RawMessage(`{"":"` + strings.Repeat("<", plugin.MaxKindBytes-7) + `"}`)
	m.Declared("a", names, []plugin.Kind{{Name: lun, Version: 1, Schema: grows}})
	if k := declared(t, m)[lun]; k.Schema != nil || !strings.Contains(k.Problem, "256 KiB") {
		t.Errorf("declared: %.200v", k)
	}
	m.Declared("b", names, kinds)
	if got := declared(t, m); len(got) != plugin.MaxKinds {
		t.Errorf("%d kinds are declared", len(got))
	}
	m.Listed("b", []string{inventory.KindKind}, []plugin.Resource{{Key: plugin.Key{Kind: inventory.KindKind, ID: lun}, Spec: 1}})
	if k := declared(t, m)[lun]; !slices.Equal(k.Modules, []string{"a"}) {
		t.Errorf("a module lists a declaration as its own: %+v", k)
	}
}

// After a start of the agent the plugins come one by one. What they declared
// before must not be taken for gone at the far side meanwhile.
func TestDeclarationsAreWholeWhenAllHaveListed(t *testing.T) {
	m := mirror.New(mirror.Options{})
	for name, kind := range map[string]string{"host": inventory.KindHost, "a": lun, "b": tape} {
		m.Status(wire.SourceStatus{Name: name, State: "starting", Kinds: []string{kind}})
	}
	whole := func() bool { _, ok := m.Digests()[inventory.KindKind]; return ok }
	m.Listed("host", []string{inventory.KindHost}, nil)
	m.Listed("a", []string{lun}, nil)
	m.Declared("a", []string{lun}, []plugin.Kind{{Name: lun, Version: 1}})
	if whole() {
		t.Error("the declarations are whole before one module has listed")
	}
	w := m.Watch() // of a new connection, which hears of them without a digest
	defer w.Close()
	if c := w.Take(1 << 20); len(c.Upserts) != 1 || len(c.Digests) > 0 {
		t.Errorf("a new watch takes %v with digests %v", c.Upserts, c.Digests)
	}
	m.Listed("b", []string{tape}, nil)
	if !whole() {
		t.Error("the declarations are not whole when all modules have listed")
	}
	if c := w.Take(1 << 20); c.Digests[inventory.KindKind].Count != 1 {
		t.Errorf("the digest is not told: %v", c.Digests)
	}
	again := m.Watch()
	defer again.Close()
	if c := again.Take(1 << 20); !c.Empty() {
		t.Errorf("a watch of what digests sum up begins with %v", c.Upserts)
	}
}
