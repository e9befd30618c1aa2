package resmgr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/kindschema"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	inspectBatch   = 256                    // resources in one turn of a list
	inspectFor     = 100 * time.Millisecond // a turn may take, and one resource more
	compiledValues = 1 << 16                // of schemas that are kept ready, in values of their JSON
	maxFaults      = 1000                   // in a list with a reason of their own
)

// The inspector reads declarations and checks resources against them, apart
// from the reports that bring them: one goroutine, whatever hosts send, and
// lists take turns. It works from the state: a list knows what of it is
// unchecked.
type inspector struct {
	wake chan struct{}

	// Manager.mu guards these. Both are bounded by what is in the catalogue.
	unread map[*variant]struct{}
	lists  []place // with something unchecked, each once

	compiled map[*variant]*kindschema.Schema // of the goroutine
	size     int                             // values in compiled
}

// A place is a list of a host.
type place struct {
	h *host
	l *list
}

// verdicts are what the inspector knows of a list.
type verdicts struct {
	faults map[string]string   // by id
	todo   map[string]struct{} // ids that have changed since they were checked
	sweep  bool                // everything behind the id at is to be checked
	at     string
	queued bool
}

func newInspector() inspector {
	return inspector{wake: make(chan struct{}, 1), unread: map[*variant]struct{}{}, compiled: map[*variant]*kindschema.Schema{}}
}

func (in *inspector) poke() {
	select {
	case in.wake <- struct{}{}:
	default: // it knows already
	}
}

func (in *inspector) read(v *variant) {
	in.unread[v] = struct{}{}
	in.poke()
}

func (in *inspector) check(h *host, l *list) {
	if !l.verdicts.queued {
		l.verdicts.queued = true
		in.lists = append(in.lists, place{h, l})
	}
	in.poke()
}

// recheck has all resources of a kind on a host checked again, because what
// the host declares is another. Where there is no schema nothing is at fault.
func (m *Manager) recheck(h *host, kind string) {
	l := h.list(kind)
	v := h.declared[kind]
	switch {
	case l == nil || v != nil && !v.read:
		return // the inspector comes back
	case v != nil && v.checks:
		if l.verdicts == nil {
			l.verdicts = &verdicts{faults: map[string]string{}, todo: map[string]struct{}{}}
		}
		clear(l.verdicts.todo)
		l.verdicts.sweep, l.verdicts.at = true, ""
		m.inspector.check(h, l)
	case l.verdicts != nil:
		faults := l.verdicts.faults
		l.verdicts = nil
		for id := range faults {
			m.republish(h, l, id)
		}
	}
}

// changed has a resource checked that is about to be another. It is part of
// publish.
func (m *Manager) changed(h *host, kind string, op uint8, id string) {
	l := h.list(kind)
	if l == nil {
		return
	}
	if op == opDeleted {
		if l.verdicts != nil {
			delete(l.verdicts.faults, id)
			delete(l.verdicts.todo, id)
		}
		return
	}
	if v := h.declared[kind]; v != nil && v.checks {
		if l.verdicts == nil {
			l.verdicts = &verdicts{faults: map[string]string{}, todo: map[string]struct{}{}}
		}
		l.verdicts.todo[id] = struct{}{}
		m.inspector.check(h, l)
	}
}

// republish tells watchers that a resource is looked at in another light. The
// database has nothing of it.
func (m *Manager) republish(h *host, l *list, id string) {
	if at, ok := l.find(id); ok {
		l.entries[at].rev = m.feed.next()
		m.feed.add(change{op: opModified, host: h, kind: l.kind, e: l.entries[at]})
	}
}

// inspect works until ctx ends.
func (m *Manager) inspect(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.inspector.wake:
		}
		for more := true; more && ctx.Err() == nil; {
			more = m.inspectDeclaration()
			more = m.inspectList() || more
		}
	}
}

// inspectDeclaration reads one declaration; false: there is none to read.
func (m *Manager) inspectDeclaration() bool {
	in := &m.inspector
	var v *variant
	m.mu.Lock()
	for v = range in.unread {
		delete(in.unread, v)
		break
	}
	m.mu.Unlock()
	if v == nil {
		return false
	}

	r := readDeclaration(v.kind, v.spec)
	if r.schema != nil {
		in.keep(v, r.schema)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	v.read, v.version, v.columns, v.modules = true, r.kind.Version, r.kind.Columns, r.kind.Modules
	v.schemaBytes, v.checks, v.problem = len(r.kind.Schema), r.schema != nil, strings.Join(r.problems, "; ")
	m.settle(v)
	return true
}

// settle lets what is known of a declaration take effect on its hosts.
func (m *Manager) settle(v *variant) {
	for _, h := range m.order {
		if v.hosts == 0 {
			return // nobody declares it any more
		}
		if h.declared[v.kind] != v {
			continue
		}
		m.recheck(h, v.kind)
		if l := h.list(inventory.KindKind); l != nil && v.problem != "" {
			m.republish(h, l, v.kind)
		}
	}
}

// keep keeps a schema ready. When there are too many all go, and are compiled
// again as they are needed.
func (in *inspector) keep(v *variant, s *kindschema.Schema) {
	if in.size+s.Size() > compiledValues {
		clear(in.compiled)
		in.size = 0
	}
	in.compiled[v] = s
	in.size += s.Size()
}

// reading is what can be made of a declaration.
type reading struct {
	kind     inventory.Kind
	schema   *kindschema.Schema
	problems []string
}

// readDeclaration keeps of a declaration what is good, and says what is not.
func readDeclaration(name, spec string) (r reading) {
	bad := func(format string, args ...any) { r.problems = append(r.problems, fmt.Sprintf(format, args...)) }
	var raw struct {
		Version int             `json:"version"`
		Schema  json.RawMessage `json:"schema"`
		Columns json.RawMessage `json:"columns"`
		Modules []string        `json:"modules"`
		Problem string          `json:"problem"`
	}
	if err := json.Unmarshal([]byte(spec), &raw); err != nil {
		bad("not a declaration: %v", err)
		return r
	}
	if raw.Problem != "" {
		bad("%s", clip(raw.Problem, 1024))
	}
	if inventory.IsCore(name) {
		bad("%s is a core kind, which is not for plugins to declare", name)
		return r
	}
	bare := plugin.Kind{Name: name, Version: raw.Version}
	if err := bare.Validate(); err != nil {
		bad("%v", err)
		return r
	}
	if raw.Version == 0 { // an agent fills it in
		bad("kind %s: version 0: want 1 or more", name)
		return r
	}
	r.kind.Version = raw.Version
	for _, module := range raw.Modules[:min(len(raw.Modules), 16)] {
		r.kind.Modules = append(r.kind.Modules, clip(module, 255))
	}
	var columns []plugin.Column
	if len(raw.Columns) > 0 {
		err := json.Unmarshal(raw.Columns, &columns)
		if err == nil {
			err = (&plugin.Kind{Name: name, Version: raw.Version, Columns: columns}).Validate()
		}
		if err != nil {
			columns = nil
			bad("the columns are not used: %v", err)
		}
	}
	r.kind.Columns = columns
	if len(raw.Schema) > 0 && string(raw.Schema) != "null" {
		var err error
		if r.schema, err = kindschema.Compile(raw.Schema); err != nil {
			bad("the schema is not used: %v", err)
		} else {
			r.kind.Schema = raw.Schema
		}
	}
	return r
}

// inspectList checks a few resources of one list; false: there is nothing to
// check.
func (m *Manager) inspectList() bool {
	in := &m.inspector
	m.mu.Lock()
	if len(in.lists) == 0 {
		m.mu.Unlock()
		return false
	}
	p := in.lists[0]
	in.lists = in.lists[1:]
	v := p.h.declared[p.l.kind]
	var es []entry
	if p.l.verdicts != nil {
		p.l.verdicts.queued = false
		if v != nil && v.checks {
			es = p.l.unchecked(inspectBatch)
		}
	}
	m.mu.Unlock()
	if len(es) == 0 {
		return true
	}

	faults, err := in.judge(v, es)

	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		v.checks = false
		v.problem = strings.TrimPrefix(v.problem+"; the schema is not used any more: "+err.Error(), "; ")
		m.log.Warn("a schema is not used any more", "kind", v.kind, "host", p.h.id, "err", err)
		m.settle(v)
		return true
	}
	if p.h.list(p.l.kind) != p.l || p.h.declared[p.l.kind] != v || p.l.verdicts == nil {
		return true // all is checked anew, or gone
	}
	for i := range es {
		if i < len(faults) {
			m.setFault(p.h, p.l, &es[i], faults[i])
		} else {
			p.l.verdicts.todo[es[i].id()] = struct{}{}
		}
	}
	if p.l.verdicts.sweep || len(p.l.verdicts.todo) > 0 {
		in.check(p.h, p.l)
	}
	return true
}

// judge checks entries for as long as a turn may take. An error is the
// schema's.
func (in *inspector) judge(v *variant, es []entry) ([]string, error) {
	schema := in.compiled[v]
	if schema == nil {
		if schema = readDeclaration(v.kind, v.spec).schema; schema == nil {
			return nil, errors.New("it does not compile")
		}
		in.keep(v, schema)
	}
	var faults []string
	for began := time.Now(); len(faults) < len(es) && time.Since(began) < inspectFor; {
		spec, _ := es[len(faults)].bodies()
		fault, err := schema.Check([]byte(spec))
		if err != nil {
			return nil, err
		}
		faults = append(faults, fault)
	}
	return faults, nil
}

// setFault notes what was found of an entry that is still the same.
func (m *Manager) setFault(h *host, l *list, e *entry, fault string) {
	at, ok := l.find(e.id())
	if !ok || l.entries[at].hash != e.hash || l.verdicts.faults[e.id()] == fault {
		return
	}
	known := l.verdicts.faults
	switch {
	case fault == "":
		delete(known, e.id())
	case len(known) >= maxFaults && known[e.id()] == "":
		known[strings.Clone(e.id())] = "it does not fit the schema, like many others"
	default:
		known[strings.Clone(e.id())] = fault // the entry's text must not be kept for its id
	}
	m.republish(h, l, e.id())
}

// unchecked takes up to n entries that are to be checked.
func (l *list) unchecked(n int) []entry {
	var es []entry
	v := l.verdicts
	for id := range v.todo {
		if len(es) == n {
			return es
		}
		delete(v.todo, id)
		if at, ok := l.find(id); ok {
			es = append(es, l.entries[at])
		}
	}
	if !v.sweep {
		return es
	}
	at, found := l.find(v.at)
	if found && v.at != "" {
		at++
	}
	for ; at < len(l.entries) && len(es) < n; at++ {
		es = append(es, l.entries[at])
		v.at = l.entries[at].id()
	}
	v.sweep = at < len(l.entries)
	return es
}
