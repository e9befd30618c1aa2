package mirror

import (
	"maps"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// Watch gathers which resources have changed, for one consumer. It holds keys,
// not changes: however slow the consumer is, it holds no more than there are
// resources, and each is taken in its newest state.
type Watch struct {
	C chan struct{} // has one when there is something to take
	m *Mirror

	compares bool // the consumer compares digests

	// The mirror's mu guards what follows.
	keys     map[plugin.Key]struct{}
	statuses bool
	compare  bool // a kind is listed now that was not
}

// Changes is what a consumer takes at once.
type Changes struct {
	Upserts []wire.Resource
	Deletes []plugin.Key
	Sources []wire.SourceStatus // nil: unchanged
	// Digests are of the kinds that changed, if nothing is left to take.
	Digests map[string]wire.Digest
	// Compare asks to compare digests, and there is nothing else then: kinds have
	// been listed for the first time, and the far side may know all of it.
	Compare bool
}

// Empty says whether there is nothing in it.
func (c *Changes) Empty() bool {
	return len(c.Upserts) == 0 && len(c.Deletes) == 0 && c.Sources == nil && !c.Compare
}

// Watch begins to gather. The caller ends it with Close.
func (m *Mirror) Watch() *Watch { return m.watch(false) }

// Compare is Watch for a consumer whose far side knows an earlier state, and who
// compares digests with it.
func (m *Mirror) Compare() *Watch { return m.watch(true) }

func (m *Mirror) watch(compares bool) *Watch {
	w := &Watch{C: make(chan struct{}, 1), m: m, compares: compares, keys: make(map[plugin.Key]struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watches[w] = struct{}{}
	for k := range m.resources {
		if !m.kinds[k.Kind].listed { // no digest will tell that it is missing
			w.keys[k] = struct{}{}
		}
	}
	if w.some() {
		w.signal()
	}
	return w
}

// compare tells those who compare that a kind is listed now.
func (m *Mirror) compare(kind string) {
	for w := range m.watches {
		if w.compares {
			w.compare = true
			maps.DeleteFunc(w.keys, func(k plugin.Key, _ struct{}) bool { return k.Kind == kind })
		}
	}
}

// waits says whether what is new of a kind is not to be taken yet.
func (w *Watch) waits(kind string) bool { return w.compares && w.m.kind(kind).starting }

// some says whether there are keys to take.
func (w *Watch) some() bool {
	for k := range w.keys {
		if !w.waits(k.Kind) {
			return true
		}
	}
	return false
}

// Close ends the gathering.
func (w *Watch) Close() {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	delete(w.m.watches, w)
}

// mark notes a changed key for everybody; wake follows.
func (m *Mirror) mark(k plugin.Key) {
	for w := range m.watches {
		w.keys[k] = struct{}{}
	}
}

func (m *Mirror) wake(statuses bool) {
	for w := range m.watches {
		w.statuses = w.statuses || statuses
		if w.compare || w.statuses || w.some() {
			w.signal()
		}
	}
}

func (w *Watch) signal() {
	select {
	case w.C <- struct{}{}:
	default:
	}
}

// Take takes changes of about size bytes at most, but at least one.
func (w *Watch) Take(size int) Changes {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	var c Changes
	if w.compare {
		w.compare, w.statuses = false, false // a hello has them too
		if w.some() {
			w.signal()
		}
		return Changes{Compare: true}
	}
	kinds := make(map[string]struct{})
	for k := range w.keys {
		if size <= 0 {
			break
		}
		if w.waits(k.Kind) {
			continue
		}
		delete(w.keys, k)
		kinds[k.Kind] = struct{}{}
		if r := w.m.resources[k]; r != nil {
			c.Upserts = append(c.Upserts, r.Resource)
			size -= len(r.Spec) + len(r.Ext) + 300
		} else {
			c.Deletes = append(c.Deletes, k)
			size -= 300
		}
	}
	if w.statuses {
		c.Sources, w.statuses = w.m.statuses(), false
	}
	if w.some() {
		w.signal()
		return c
	}
	for k := range kinds {
		if s := w.m.kinds[k]; s.listed {
			if c.Digests == nil {
				c.Digests = make(map[string]wire.Digest)
			}
			c.Digests[k] = s.digest
		}
	}
	return c
}

// TakeKind takes all resources of a kind, changed or not.
func (w *Watch) TakeKind(name string) ([]wire.Resource, wire.Digest) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for k := range w.keys {
		if k.Kind == name {
			delete(w.keys, k)
		}
	}
	return w.m.all(name), w.m.kind(name).digest
}

// Return puts back what was taken and could not be used.
func (w *Watch) Return(c Changes) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for i := range c.Upserts {
		w.keys[c.Upserts[i].Key] = struct{}{}
	}
	for _, k := range c.Deletes {
		w.keys[k] = struct{}{}
	}
	w.statuses = w.statuses || c.Sources != nil
	w.compare = w.compare || c.Compare
	w.signal()
}
