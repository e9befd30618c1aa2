package mirror

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Declared takes all kinds that a module declares. They are put together with
// those of other modules and listed as resources of the kind agent.kind.
func (m *Mirror) Declared(module string, kinds []string, declared []plugin.Kind) {
	var good []plugin.Kind
	for _, k := range declared {
		if inventory.IsCore(k.Name) || !slices.Contains(kinds, k.Name) {
			m.log.Warn("declaration left out: the module may not list this kind", "module", module, "kind", k.Name)
			continue
		}
		good = append(good, k)
	}
	m.change(func() {
		m.source(module).declared = good
		m.redeclare()
		m.wake(false)
	})
}

// redeclare makes the resources of the kind agent.kind what the modules declare
// now. Of several declarations of a kind the highest version counts, and of
// equals that of the module whose name comes first.
func (m *Mirror) redeclare() {
	merged := make(map[string]*inventory.Kind)
	for _, module := range slices.Sorted(maps.Keys(m.sources)) {
		for _, k := range m.sources[module].declared {
			old := merged[k.Name]
			if old == nil && len(merged) == plugin.MaxKinds {
				m.log.Warn("declaration left out: there are too many", "module", module, "kind", k.Name, "most", plugin.MaxKinds)
				continue
			}
			modules := []string{module}
			if old != nil {
				modules = append(old.Modules, module)
			}
			if old == nil || k.Version > old.Version {
				merged[k.Name] = describe(k)
			}
			merged[k.Name].Modules = slices.Compact(modules)
		}
	}
	for name, k := range merged {
		w, err := declaration(name, k)
		if err != nil {
			m.log.Warn("declaration left out", "kind", name, "err", err)
			delete(merged, name)
			continue
		}
		m.put(w, false)
	}
	for k := range m.resources {
		if k.Kind == inventory.KindKind && merged[k.ID] == nil {
			m.remove(k, false)
		}
	}
	m.sumUpKinds()
}

// describe keeps of a declaration what is well formed.
func describe(k plugin.Kind) *inventory.Kind {
	d := &inventory.Kind{Version: max(k.Version, 1), Schema: k.Schema, Columns: k.Columns}
	if err := k.Validate(); err != nil {
		bare(d, err)
	}
	return d
}

// bare leaves out what can be large or malformed, and says why.
func bare(k *inventory.Kind, why error) {
	k.Schema, k.Columns, k.Problem = nil, nil, "schema and columns are left out: "+why.Error()
}

// declaration makes the resource of a declaration. JSON grows as it is encoded,
// so it may be too large only now.
func declaration(name string, k *inventory.Kind) (*item, error) {
	w := &item{Resource: wire.Resource{Key: plugin.Key{Kind: inventory.KindKind, ID: name}, Name: name}}
	for {
		var err error
		if w.Spec, err = json.Marshal(k); err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
		if err = w.Validate(); err == nil || k.Schema == nil {
			w.hash = w.Hash()
			return w, err
		}
		bare(k, err)
	}
}

// sumUp says of each kind whether it is listed. Of one that nobody may list any
// more it stays as it was, so that a far side still learns that it is empty.
func (m *Mirror) sumUp() {
	for name, k := range m.kinds {
		if name == inventory.KindKind {
			continue
		}
		some, all, starting := false, true, false
		for _, s := range m.sources {
			if !slices.Contains(s.kinds, name) {
				continue
			}
			some = true
			all = all && s.listed
			starting = starting || !s.listed && (s.status.State == "" || s.status.State == discovery.Starting)
		}
		if !some {
			continue
		}
		if all && !k.listed {
			m.compare(name)
		}
		k.listed, k.starting = all, starting
	}
}

// sumUpKinds lets the declarations count as complete, once, as soon as every
// module that lists other kinds than the core's has listed: before, those that
// are missing may only be late. Until then they travel as changes.
func (m *Mirror) sumUpKinds() {
	sum := m.kind(inventory.KindKind)
	if sum.listed {
		return
	}
	for _, s := range m.sources {
		custom := func(k string) bool { return !inventory.IsCore(k) }
		if !s.listed && slices.ContainsFunc(s.status.Kinds, custom) {
			return
		}
	}
	sum.listed = true
	for k := range m.resources {
		if k.Kind == inventory.KindKind { // the far side learns the digest with them
			m.mark(k)
		}
	}
}
