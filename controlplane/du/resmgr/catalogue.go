package resmgr

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// A host is the catalogue's record of one host. Manager.mu guards it.
type host struct {
	id         wire.HostID
	kind       string
	hostname   string
	agent      string
	hypervisor string
	address    string
	cert       api.Certificate
	firstSeen  time.Time
	since      time.Time // connected or disconnected
	seen       time.Time // last message or end of the tunnel
	reason     string    // of the disconnection
	drift      time.Duration
	sources    []api.Source
	usage      *inventory.Usage

	session  uint64 // of the tunnel; 0: disconnected
	greeted  bool   // the session has said hello
	numbered bool   // the session has sent a report, whose seq is below
	epoch    uint64
	seq      uint64

	// declared are the host's declarations of kinds, by kind; most hosts have
	// none. A host that has declarations holds a count of each variant.
	declared map[string]*variant

	lists  []*list // by kind
	count  int     // entries in lists
	size   int     // bytes in lists
	staged map[string]*stage

	// What the store has still to write.
	dirty     bool // the record itself
	dirtyKeys []plugin.Key
	queued    bool // the host is in Manager.dirty
	forgotten bool
}

// A list is all resources of one kind on one host, by id.
type list struct {
	kind    string
	entries []entry
	digest  wire.Digest
	// names holds the names between zero bytes, so that a search for one
	// passes most lists by at a glance; empty if the list is too long.
	names string
	// states and clusters have a bit for each mark among the entries, or that
	// was lately, so that a search for a rare one passes most lists by.
	states, clusters uint64
	// source is the module that all entries come from; with mixed, there is
	// more than one.
	source string
	mixed  bool
	// unlisted says that the agent has not listed the kind since it started.
	unlisted bool
	// verdicts are of the kinds with a schema; nil: nothing is at fault.
	verdicts *verdicts
}

// A stage collects the parts of a complete list until its end.
type stage struct {
	entries []entry
	size    int
}

func (h *host) connected() bool { return h.session != 0 }

func (h *host) list(kind string) *list {
	for _, l := range h.lists { // a dozen at most
		if l.kind == kind {
			return l
		}
	}
	return nil
}

// find returns where the id is or belongs.
func (l *list) find(id string) (int, bool) {
	if l == nil {
		return 0, false
	}
	lo, hi := 0, len(l.entries)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if l.entries[mid].id() < id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(l.entries) && l.entries[lo].id() == id
}

// longestNames is up to how many entries a list has its names.
const longestNames = 4096

// sumUp works out what lists look at before they look at entries.
func (l *list) sumUp() {
	l.names, l.source, l.mixed, l.states, l.clusters = "", "", false, 0, 0
	for i := range l.entries {
		l.states |= bit(l.entries[i].mark)
		l.clusters |= bit(l.entries[i].place)
		if src := l.entries[i].facet(source); i == 0 {
			l.source = src
		} else if src != l.source {
			l.mixed = true
		}
	}
	if len(l.entries) == 0 || len(l.entries) > longestNames {
		return
	}
	size := 1
	for i := range l.entries {
		size += int(l.entries[i].n[name]) + 1
	}
	var b strings.Builder
	b.Grow(size)
	b.WriteByte(0)
	for i := range l.entries {
		b.WriteString(l.entries[i].name())
		b.WriteByte(0)
	}
	l.names = b.String()
}

// A batch is what one report does to one kind: new holds the entries to put,
// by id and without doubles, gone the ids to delete, sorted. With whole, what
// new does not name is deleted too.
type batch struct {
	kind  string
	put   []entry
	gone  []string
	whole bool
}

// byID sorts entries by id; of doubles the last stays.
func byID(es []entry) []entry {
	slices.SortStableFunc(es, func(a, b entry) int { return strings.Compare(a.id(), b.id()) })
	out := es[:0]
	for i := range es {
		if i+1 < len(es) && es[i].id() == es[i+1].id() {
			continue
		}
		out = append(out, es[i])
	}
	return out
}

// growth returns by how much a batch changes the host's count and bytes.
func (h *host) growth(b *batch) (count, size int) {
	l := h.list(b.kind)
	for i := range b.put {
		count, size = count+1, size+b.put[i].bytes()
	}
	if b.whole {
		if l != nil {
			for i := range l.entries {
				count, size = count-1, size-l.entries[i].bytes()
			}
		}
		return count, size
	}
	for i := range b.put {
		if at, ok := l.find(b.put[i].id()); ok {
			count, size = count-1, size-l.entries[at].bytes()
		}
	}
	for _, id := range b.gone {
		if at, ok := l.find(id); ok {
			count, size = count-1, size-l.entries[at].bytes()
		}
	}
	return count, size
}

// fits says whether the host may grow by that much.
func (h *host) fits(lim *Limits, count, size int) error {
	switch {
	case count > 0 && h.count+count > lim.Resources:
		return refuse(http.StatusRequestEntityTooLarge, "the host would have more than %d resources", lim.Resources)
	case size > 0 && h.size+size > lim.Bytes:
		return refuse(http.StatusRequestEntityTooLarge, "the host's resources would take more than %d bytes", lim.Bytes)
	}
	return nil
}

// apply puts a batch in force and publishes what it changed.
func (m *Manager) apply(h *host, b *batch) {
	m.put(h, b)
	if b.kind == inventory.KindKind {
		m.declare(h)
	}
}

func (m *Manager) put(h *host, b *batch) {
	l := h.list(b.kind)
	if l == nil {
		if len(b.put) == 0 {
			return
		}
		l = &list{kind: intern(b.kind)}
		at, _ := slices.BinarySearchFunc(h.lists, l.kind, func(l *list, k string) int { return strings.Compare(l.kind, k) })
		h.lists = slices.Insert(h.lists, at, l)
	}
	if b.whole {
		m.merge(h, l, b.put, func(id string) bool { return true })
		return
	}
	grows, stale := false, false // stale: sumUp is
	for i := range b.put {
		if at, ok := l.find(b.put[i].id()); ok {
			stale = stale || l.entries[at].name() != b.put[i].name() || l.entries[at].facet(source) != b.put[i].facet(source)
			m.replace(h, l, &l.entries[at], b.put[i])
		} else {
			grows = true
		}
	}
	if grows || len(b.gone) > 0 {
		m.merge(h, l, b.put, func(id string) bool { _, ok := slices.BinarySearch(b.gone, id); return ok })
	} else if stale {
		l.sumUp()
	}
}

// replace puts e in the place of old if it differs.
func (m *Manager) replace(h *host, l *list, old *entry, e entry) {
	if old.hash == e.hash && old.facet(source) == e.facet(source) {
		old.gen = e.gen
		return
	}
	l.digest.Remove(old.hash)
	l.digest.Add(e.hash)
	l.states |= bit(e.mark)
	l.clusters |= bit(e.place)
	h.size += e.bytes() - old.bytes()
	e.rev = m.feed.next()
	*old = e
	m.publish(h, l.kind, opModified, e)
}

// merge walks the old and the new entries side by side. An old entry that is
// not in put is deleted if drop says so.
func (m *Manager) merge(h *host, l *list, put []entry, drop func(id string) bool) {
	out := make([]entry, 0, m.mergedLen(l, put, drop))
	old := l.entries
	for len(old) > 0 || len(put) > 0 {
		switch {
		case len(put) == 0 || len(old) > 0 && old[0].id() < put[0].id():
			if e := old[0]; drop(e.id()) {
				l.digest.Remove(e.hash)
				h.count--
				h.size -= e.bytes()
				m.publish(h, l.kind, opDeleted, e)
			} else {
				out = append(out, e)
			}
			old = old[1:]
		case len(old) == 0 || put[0].id() < old[0].id():
			e := put[0]
			e.rev = m.feed.next()
			l.digest.Add(e.hash)
			h.count++
			h.size += e.bytes()
			out = append(out, e)
			m.publish(h, l.kind, opAdded, e)
			put = put[1:]
		default:
			e := old[0]
			m.replace(h, l, &e, put[0])
			out = append(out, e)
			old, put = old[1:], put[1:]
		}
	}
	l.entries = out
	l.sumUp()
}

// mergedLen counts what merge will leave, so that lists carry no spare room.
func (m *Manager) mergedLen(l *list, put []entry, drop func(id string) bool) int {
	n := len(put)
	for i := range l.entries {
		id := l.entries[i].id()
		_, again := slices.BinarySearchFunc(put, id, func(e entry, id string) int { return strings.Compare(e.id(), id) })
		if !again && !drop(id) {
			n++
		}
	}
	return n
}

// staleness says whether resources of the kind from the source are known to
// be current, and if not, since when and why.
func (h *host) staleness(l *list, src string) (since time.Time, why string) {
	if !h.connected() {
		return h.since, "host is disconnected: " + h.reason
	}
	if !h.greeted {
		return h.since, "host has connected but not yet reported"
	}
	found := false
	for i := range h.sources {
		s := &h.sources[i]
		if s.Name != src && (src != "" || !slices.Contains(s.Kinds, l.kind)) {
			continue
		}
		if s.State != "ok" {
			return s.Since, strings.TrimSuffix(fmt.Sprintf("module %s is %s: %s", s.Name, s.State, s.Reason), ": ")
		}
		found = true
	}
	switch {
	case !found && src != "":
		return h.since, fmt.Sprintf("the agent has no module %s any more", src)
	case l.unlisted:
		return h.since, "not listed yet since the agent started"
	}
	return time.Time{}, ""
}
