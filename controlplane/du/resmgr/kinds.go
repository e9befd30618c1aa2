package resmgr

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// A variant is one declaration of a kind, the same text from however many
// hosts. Manager.mu guards it. The inspector reads it; until then it says
// nothing.
type variant struct {
	kind  string
	text  string // of the entry, shared by all hosts
	spec  string // part of text
	hosts int    // that declare it

	read        bool
	version     int
	columns     []plugin.Column
	modules     []string
	schemaBytes int
	checks      bool   // there is a schema that specs are checked against
	problem     string // what of the declaration is not used, and why
}

// surplus stands for the declarations of a host that has too many.
var surplus = &variant{read: true, problem: "the host declares too many kinds; this declaration is not used"}

// declare takes over what a host declares now, from its resources of the kind
// agent.kind. Declarations that are new are left to the inspector.
func (m *Manager) declare(h *host) {
	old := h.declared
	h.declared = nil
	if l := h.list(inventory.KindKind); l != nil && len(l.entries) > 0 {
		h.declared = make(map[string]*variant, len(l.entries))
		for i := range l.entries {
			e := &l.entries[i]
			if i >= plugin.MaxKinds {
				h.declared[e.id()] = surplus
				continue
			}
			v := m.variants[e.text]
			if v == nil {
				spec, _ := e.bodies()
				v = &variant{kind: e.id(), text: e.text, spec: spec}
				m.variants[e.text] = v
				m.inspector.read(v)
			}
			e.text = v.text
			v.hosts++
			h.declared[v.kind] = v
		}
	}
	m.release(old)
	for kind, v := range h.declared {
		if old[kind] != v {
			m.recheck(h, kind)
		}
	}
	for kind := range old {
		if h.declared[kind] == nil {
			m.recheck(h, kind)
		}
	}
}

// release lets go of the variants of a host.
func (m *Manager) release(declared map[string]*variant) {
	for _, v := range declared {
		if v == surplus {
			continue
		}
		if v.hosts--; v.hosts == 0 {
			delete(m.variants, v.text)
			delete(m.inspector.unread, v)
		}
	}
}

// fault says why a resource does not fit what its host declares of the kind;
// empty: it does, or it is not known yet. Of a declaration it says what is
// wrong with that itself. Manager.mu is held.
func (h *host) fault(l *list, id string) string {
	if l.kind == inventory.KindKind {
		if v := h.declared[id]; v != nil {
			return v.problem
		}
	}
	if l.verdicts == nil {
		return ""
	}
	return l.verdicts.faults[id]
}

const (
	maxSchemas      = 8 << 20 // bytes of the schemas in one list of kinds
	maxDeclarations = 64      // shown of one kind
)

// Kinds sums up the catalogue, if wished with the schemas of kinds.
func (m *Manager) Kinds(schemas bool) api.Kinds {
	m.mu.RLock()
	out, texts := m.kindsLocked("")
	m.mu.RUnlock()
	room := maxSchemas
	for i := range out {
		if k := &out[i]; schemas && k.SchemaBytes <= room {
			room -= k.SchemaBytes
			k.Schema = schemaIn(texts[k.Kind])
		}
	}
	return api.Kinds{Items: out}
}

// Kind sums up one kind, which some host has or declares, or which is of the
// core.
func (m *Manager) Kind(name string) (api.Kind, error) {
	m.mu.RLock()
	out, texts := m.kindsLocked(name)
	m.mu.RUnlock()
	switch {
	case len(out) > 0:
		out[0].Schema = schemaIn(texts[name])
		return out[0], nil
	case inventory.IsCore(name):
		k := api.Kind{Kind: name}
		describeCore(&k)
		return k, nil
	}
	return api.Kind{}, refuse(http.StatusNotFound, "no host has or declares the kind %s", name)
}

// schemaIn is the schema of a declaration.
func schemaIn(spec string) json.RawMessage {
	var k inventory.Kind
	if json.Unmarshal([]byte(spec), &k) != nil {
		return nil // it has none, or none that is used
	}
	return k.Schema
}

// kindsLocked sums up all kinds or only one, by name, and returns the texts of
// the declarations that count, by kind.
func (m *Manager) kindsLocked(only string) ([]api.Kind, map[string]string) {
	sums := map[string]*api.Kind{}
	of := func(kind string) *api.Kind {
		if only != "" && kind != only {
			return nil
		}
		if sums[kind] == nil {
			sums[kind] = &api.Kind{Kind: kind}
		}
		return sums[kind]
	}
	for _, h := range m.order {
		for _, l := range h.lists {
			s := of(l.kind)
			if s == nil {
				continue
			}
			s.Resources += len(l.entries)
			if len(l.entries) > 0 {
				s.Hosts++
			}
			if l.verdicts != nil {
				s.Invalid += len(l.verdicts.faults)
			}
		}
	}
	texts := map[string]string{}
	for _, v := range slices.SortedFunc(maps.Values(m.variants), newestFirst) {
		s := of(v.kind)
		if s == nil || !v.read {
			continue
		}
		if len(s.Declarations) == 0 {
			s.Version, s.Columns, s.SchemaBytes = v.version, v.columns, v.schemaBytes
			texts[v.kind] = v.spec
		}
		if len(s.Declarations) < maxDeclarations {
			s.Declarations = append(s.Declarations, api.Declaration{
				Version: v.version, Hosts: v.hosts, Modules: v.modules, Checked: v.checks, Problem: v.problem,
			})
		}
	}
	out := []api.Kind{}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		describeCore(sums[name])
		out = append(out, *sums[name])
	}
	return out, texts
}

// newestFirst orders declarations as they count.
func newestFirst(a, b *variant) int {
	return cmp.Or(cmp.Compare(b.version, a.version), cmp.Compare(b.hosts, a.hosts), strings.Compare(a.text, b.text))
}

// describeCore adds what a core kind has without being declared.
func describeCore(k *api.Kind) {
	for _, c := range inventory.Core() {
		if c.Name == k.Kind {
			k.Version, k.Columns, k.Core = c.Version, c.Columns, true
		}
	}
}
