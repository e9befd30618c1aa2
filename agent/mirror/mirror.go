// Package mirror is the agent's copy of its host's inventory. It compares what
// modules list with what it has, counts changes, sums up each kind, and tells
// its watchers which resources to look at again. It sends nothing itself.
//
// It is a discovery.Sink.
package mirror

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/openpf9/openpf9/internal/atomicfile"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// When more than this many, and more than half, of a source's resources vanish
// from one list, they are kept for one more: a libvirtd that has just started
// answers before it knows its guests.
const suspiciousLoss = 10

// Options are what a mirror needs.
type Options struct {
	// Event is told of history; may be nil. What one module does is told in
	// order, and the mirror is not locked meanwhile.
	Event func(kind string, e wire.Event)
	Log   *slog.Logger // nil discards
}

// Mirror is the inventory. Make it with New.
type Mirror struct {
	event func(string, wire.Event)
	log   *slog.Logger

	mu        sync.RWMutex // guards the fields below
	resources map[plugin.Key]*item
	kinds     map[string]*kind
	sources   map[string]*source
	watches   map[*Watch]struct{}
	untold    []told // history that change tells when it has unlocked
}

// item is a resource and what it was made from. But for spec it is replaced,
// never changed.
type item struct {
	wire.Resource
	hash wire.Hash
	// spec is what was listed; nil: nothing that could be compared, such as a
	// pointer. Of equal ones it is the newest: an older one may be cut from a
	// file's text and keep that. Only the module's own calls use it.
	spec any
}

// told is an entry of history and the kind that it is about.
type told struct {
	kind  string
	event wire.Event
}

// change runs f under the lock, and tells what it noted afterwards: who is told
// may wait for a disk.
func (m *Mirror) change(f func()) {
	m.mu.Lock()
	f()
	untold := m.untold
	m.untold = nil
	m.mu.Unlock()
	for _, t := range untold {
		m.event(t.kind, t.event)
	}
}

// kind sums up one kind.
type kind struct {
	digest wire.Digest
	// listed: all sources that may list it have done so since the agent started,
	// so that its digest says what there is. Before, a far side that compared
	// would take what one of them has not listed yet for gone.
	listed bool
	// starting: it is not listed, and a source of it has not answered yet. What is
	// new of it waits: when the source answers, comparing may show it is known.
	starting bool
}

// source is one module's part.
type source struct {
	status   wire.SourceStatus
	listed   bool     // at least once
	kinds    []string // that it may list, as it or its last list said
	suspect  string   // why the last list is not believed; empty: it is
	declared []plugin.Kind
	history  history
}

// New returns an empty mirror.
func New(o Options) *Mirror {
	if o.Event == nil {
		o.Event = func(string, wire.Event) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Mirror{
		event: o.Event, log: o.Log, resources: make(map[plugin.Key]*item),
		kinds: make(map[string]*kind), sources: make(map[string]*source), watches: make(map[*Watch]struct{}),
	}
}

// encode makes a resource as it travels. A resource that cannot be encoded or
// breaks a limit is left out, and said.
func encode(module string, r plugin.Resource) (*item, error) {
	it := &item{Resource: wire.Resource{Key: r.Key, Name: r.Name, Parent: r.Parent, Source: module}}
	var err error
	if it.Spec, err = json.Marshal(r.Spec); err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Kind, r.ID, err)
	}
	if len(r.Ext) > 0 {
		if it.Ext, err = json.Marshal(r.Ext); err != nil {
			return nil, fmt.Errorf("%s %s: %w", r.Kind, r.ID, err)
		}
	} else if t := reflect.TypeOf(r.Spec); t != nil && t.Kind() == reflect.Struct {
		it.spec = r.Spec
	}
	it.Spec = slices.Clip(it.Spec)
	it.hash = it.Hash()
	return it, it.Validate()
}

// same says whether r is what it was made from. That spares the encoding, and
// costs nearly nothing where a source shows the same slices and strings again.
func (it *item) same(module string, r plugin.Resource) bool {
	return it != nil && it.Source == module && it.spec != nil && it.Name == r.Name && it.Parent == r.Parent &&
		len(r.Ext) == 0 && reflect.DeepEqual(it.spec, r.Spec)
}

// items returns a module's list as it travels.
func (m *Mirror) items(module string, kinds []string, rs []plugin.Resource) map[plugin.Key]*item {
	old := make([]*item, len(rs))
	m.mu.RLock()
	for i, r := range rs {
		old[i] = m.resources[r.Key]
	}
	m.mu.RUnlock()
	out := make(map[plugin.Key]*item, len(rs))
	for i, r := range rs {
		it, err := old[i], error(nil)
		if it.same(module, r) {
			it.spec = r.Spec
		} else {
			it, err = encode(module, r)
		}
		if err == nil && (!slices.Contains(kinds, r.Kind) || r.Kind == inventory.KindKind) {
			err = fmt.Errorf("%s %s: the module may not list this kind", r.Kind, r.ID)
		}
		if err != nil {
			m.log.Warn("resource left out", "module", module, "err", err)
			continue
		}
		out[r.Key] = it
	}
	return out
}

// Listed takes a module's complete list.
func (m *Mirror) Listed(module string, kinds []string, rs []plugin.Resource) {
	fresh := m.items(module, kinds, rs)
	m.change(func() { m.replace(module, kinds, fresh) })
}

// replace puts a module's complete list in the place of its last.
func (m *Mirror) replace(module string, kinds []string, fresh map[plugin.Key]*item) {
	s := m.source(module)
	var gone []plugin.Key
	have := 0
	for k, r := range m.resources {
		if r.Source != module {
			continue
		}
		have++
		if fresh[k] == nil && slices.Contains(kinds, k.Kind) {
			gone = append(gone, k)
		}
	}
	held := len(gone) > suspiciousLoss && 2*len(gone) > have && s.suspect == ""
	s.suspect = ""
	if held {
		s.suspect = doubt(len(gone), have)
		m.log.Warn("list not believed yet", "module", module, "gone", len(gone), "of", have)
		gone = nil
	}
	m.putAll(module, fresh, s.listed)
	for _, k := range gone {
		m.remove(k, s.listed)
	}
	s.listed, s.kinds = true, kinds
	for _, k := range kinds {
		m.kind(k) // which may be empty
	}
	m.sumUp()
	m.sumUpKinds()
	m.wake(true)
}

// putAll puts a module's resources, but for what another module lists.
func (m *Mirror) putAll(module string, fresh map[plugin.Key]*item, known bool) {
	foreign := 0
	for k, it := range fresh {
		if old := m.resources[k]; old != nil && old.Source != module {
			foreign++
			continue
		}
		m.put(it, known)
	}
	if foreign > 0 {
		m.log.Warn("resources left out: they are another module's", "module", module, "count", foreign)
	}
}

// Got takes one resource that was looked at alone.
func (m *Mirror) Got(module string, k plugin.Key, r plugin.Resource, found bool) {
	var it *item
	if found {
		var err error
		if it, err = encode(module, r); err != nil || it.Key != k {
			m.log.Warn("resource left out", "module", module, "key", k, "err", err)
			return
		}
	}
	m.change(func() {
		switch old := m.resources[k]; {
		case old != nil && old.Source != module:
			m.log.Warn("resource left out: it is another module's", "module", module, "key", k, "of", old.Source)
			return
		case it != nil:
			m.put(it, true)
		default:
			m.remove(k, true)
		}
		m.wake(false)
	})
}

// Status takes a module's health.
func (m *Mirror) Status(st wire.SourceStatus) {
	m.change(func() {
		s := m.source(st.Name)
		first := s.status.State == "" || s.status.State == "starting" && st.State == "ok" // all is as it should be
		turned := !first && s.status.State != st.State
		s.status = st
		if len(st.Kinds) > 0 {
			s.kinds = st.Kinds
		}
		m.sumUp()
		m.wake(true)
		if turned {
			m.note(st.Name, "", wire.Event{Type: "source", Name: st.Name, Detail: strings.TrimSuffix(st.State+": "+st.Reason, ": ")})
		}
	})
}

// Removed drops a module's resources: nobody watches over them any more.
func (m *Mirror) Removed(module string) {
	m.change(func() {
		delete(m.sources, module)
		for k, r := range m.resources {
			if r.Source == module {
				m.remove(k, true)
			}
		}
		m.redeclare()
		m.sumUp()
		m.wake(true)
	})
}

func (m *Mirror) source(name string) *source {
	s := m.sources[name]
	if s == nil {
		s = &source{}
		m.sources[name] = s
	}
	return s
}

func (m *Mirror) kind(name string) *kind {
	k := m.kinds[name]
	if k == nil {
		k = &kind{}
		m.kinds[name] = k
	}
	return k
}

// put adds or replaces a resource. known: what is new now has really come now.
func (m *Mirror) put(it *item, known bool) {
	old := m.resources[it.Key]
	if it == old {
		return
	}
	fresh := *it
	fresh.Generation = 0
	d := &m.kind(it.Kind).digest
	switch {
	case old == nil && known:
		m.note(it.Source, it.Kind, wire.Event{Type: "created", About: it.Key, Name: it.Name, Detail: stateOf(it.Spec).String()})
	case old == nil:
	case old.hash == it.hash && old.Source == it.Source:
		same := *old
		same.spec = it.spec // compared the next time, and the old one let go
		m.resources[it.Key] = &same
		return
	default:
		d.Remove(old.hash)
		fresh.Generation = old.Generation
		m.tellChange(&old.Resource, &fresh.Resource)
	}
	fresh.Generation++
	d.Add(it.hash)
	m.resources[it.Key] = &fresh
	m.mark(it.Key)
}

func (m *Mirror) remove(k plugin.Key, known bool) {
	old := m.resources[k]
	if old == nil {
		return
	}
	m.kind(k.Kind).digest.Remove(old.hash)
	delete(m.resources, k)
	m.mark(k)
	if known {
		m.note(old.Source, k.Kind, wire.Event{Type: "deleted", About: k, Name: old.Name})
	}
}

// tellChange records what people ask about later: states. Numbers that move
// all the time are not history.
func (m *Mirror) tellChange(old, fresh *wire.Resource) {
	a, b := stateOf(old.Spec), stateOf(fresh.Spec)
	switch {
	case a.State != b.State:
		m.note(fresh.Source, fresh.Kind, wire.Event{Type: "state", About: fresh.Key, Name: fresh.Name, Detail: a.State + " -> " + b.String()})
	case old.Name != fresh.Name:
		m.note(fresh.Source, fresh.Kind, wire.Event{Type: "changed", About: fresh.Key, Name: fresh.Name, Detail: "renamed from " + old.Name})
	}
}

type state struct {
	State  string `json:"state"`
	Reason string `json:"state_reason"`
}

func (s state) String() string {
	if s.Reason == "" {
		return s.State
	}
	return s.State + " (" + s.Reason + ")"
}

func stateOf(spec json.RawMessage) (s state) {
	_ = json.Unmarshal(spec, &s) // a spec without a state has none
	return s
}

// Digests returns the digests of all kinds that have been listed.
func (m *Mirror) Digests() map[string]wire.Digest {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make(map[string]wire.Digest)
	for name, k := range m.kinds {
		if k.listed {
			out[name] = k.digest
		}
	}
	return out
}

// Statuses returns the health of all modules, by name.
func (m *Mirror) Statuses() []wire.SourceStatus {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.statuses()
}

func (m *Mirror) statuses() []wire.SourceStatus {
	out := make([]wire.SourceStatus, 0, len(m.sources))
	for _, s := range m.sources {
		st := s.status
		if s.suspect != "" && st.State == "ok" {
			st.State, st.Reason = "degraded", s.suspect
		}
		if st.Name != "" {
			out = append(out, st)
		}
	}
	slices.SortFunc(out, func(a, b wire.SourceStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Kind returns all resources of a kind, by id.
func (m *Mirror) Kind(name string) []wire.Resource {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.all(name)
}

func (m *Mirror) all(name string) []wire.Resource {
	var out []wire.Resource
	for k, r := range m.resources {
		if k.Kind == name {
			out = append(out, r.Resource)
		}
	}
	slices.SortFunc(out, func(a, b wire.Resource) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Kinds counts the resources of each kind.
func (m *Mirror) Kinds() map[string]int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make(map[string]int)
	for name, k := range m.kinds {
		out[name] = k.digest.Count
	}
	return out
}

// Get returns one resource.
func (m *Mirror) Get(k plugin.Key) (wire.Resource, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if r := m.resources[k]; r != nil {
		return r.Resource, true
	}
	return wire.Resource{}, false
}

// NextEpoch counts the agent's starts in a file of the state directory. An epoch
// with an error is good for this start, but could not be kept: the disk is full.
func NextEpoch(dir string) (uint64, error) {
	file := filepath.Join(dir, "epoch")
	b, err := os.ReadFile(file)
	var last uint64
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, fmt.Errorf("read epoch: %w", err)
	default:
		if last, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err != nil {
			return 0, fmt.Errorf("read epoch from %s: %w; if the file is lost, write a number into it that is larger than any before", file, err)
		}
	}
	if err := atomicfile.Write(file, fmt.Appendf(nil, "%d\n", last+1), 0o644); err != nil {
		return last + 1, fmt.Errorf("write epoch: %w", err)
	}
	return last + 1, nil
}
