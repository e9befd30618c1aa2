package resmgr

import (
	"sync/atomic"

	"github.com/openpf9/openpf9/plugin"
)

// The ops of a change.
const (
	opAdded uint8 = iota
	opModified
	opDeleted
	opHost
)

// A change is one step of the catalogue from a revision to the next.
type change struct {
	op   uint8
	host *host
	kind string
	e    entry
}

// A feed keeps the last changes for the watchers, each of which reads it at
// its own pace: it is every watcher's queue. When it is full, by number or by
// bytes, the oldest changes go; a watcher that has not read them yet starts
// again with a snapshot. Manager.mu guards it.
type feed struct {
	limit int
	bytes int      // of the entries' text that is kept
	ring  []change // change r is at (r-1) % limit
	first uint64   // revision of the oldest change that is kept
	rev   uint64   // of the newest change; the first ever is 1
	wake  chan struct{}
	dozed atomic.Bool // somebody waits for wake
}

// feedBytes is how much text the feed may hold. The text of what has not
// changed since is the catalogue's own.
const feedBytes = 64 << 20

func newFeed(limit int) feed { return feed{limit: limit, first: 1, wake: make(chan struct{})} }

// next is the revision that the next change will have.
func (f *feed) next() uint64 { return f.rev + 1 }

func (f *feed) at(rev uint64) *change { return &f.ring[(rev-1)%uint64(f.limit)] }

func (f *feed) add(c change) {
	f.bytes += len(c.e.text)
	for f.first <= f.rev && (f.rev-f.first+1 >= uint64(f.limit) || f.bytes > feedBytes) {
		old := f.at(f.first)
		f.bytes -= len(old.e.text)
		*old = change{}
		f.first++
	}
	f.rev++
	if len(f.ring) < f.limit {
		f.ring = append(f.ring, c)
	} else {
		*f.at(f.rev) = c
	}
	if f.dozed.Swap(false) {
		close(f.wake)
		f.wake = make(chan struct{})
	}
}

// publish records a change of a resource for watchers and for the store.
func (m *Manager) publish(h *host, kind string, op uint8, e entry) {
	m.feed.add(change{op: op, host: h, kind: kind, e: e})
	h.dirtyKeys = append(h.dirtyKeys, plugin.Key{Kind: kind, ID: e.id()})
	if len(h.declared) > 0 {
		m.changed(h, kind, op, e.id())
	}
	m.soil(h)
}

// publishHost records a change of a host's own record.
func (m *Manager) publishHost(h *host) {
	m.feed.add(change{op: opHost, host: h})
	h.dirty = true
	m.soil(h)
}

// soil queues a host for the store.
func (m *Manager) soil(h *host) {
	if !h.queued {
		h.queued = true
		m.dirty = append(m.dirty, h)
	}
	m.poke()
}

// poke tells the store that there is something to write.
func (m *Manager) poke() {
	select {
	case m.write <- struct{}{}:
	default: // it knows already
	}
}

// wait returns a channel that is closed at the next change.
func (f *feed) wait() <-chan struct{} {
	f.dozed.Store(true)
	return f.wake
}
