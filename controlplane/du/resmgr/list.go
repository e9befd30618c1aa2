package resmgr

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// A Query selects resources. Zero fields select all.
type Query struct {
	Kind  string
	Host  wire.HostID
	ID    string
	Name  string // glob: * and ?
	State string
	// Cluster is the name of the cluster that the spec names.
	Cluster string
	Source  string // module
	Stale   *bool
	// Invalid selects what does not fit its declared schema, or what does.
	Invalid *bool
	Limit   int // 0: 100, at most 1,000
	// Continue is from the page before: the list goes on behind its last
	// resource, whatever has changed since.
	Continue string
}

// lockedHosts is how many hosts a list looks at before it lets writers in.
const lockedHosts = 256

// A cursor is where a list stands: behind a resource of a host.
type cursor struct {
	host wire.HostID
	id   string
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(string(c.host) + "/" + c.id))
}

func parseCursor(s string) (cursor, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	host, id, ok := strings.Cut(string(b), "/")
	if err != nil || !ok && s != "" {
		return cursor{}, refuse(http.StatusBadRequest, "continue: not a token of this API")
	}
	return cursor{wire.HostID(host), id}, nil
}

// List returns a page of resources in the order of host and id. It is no
// snapshot: what changes between or within pages may be seen or not.
func (m *Manager) List(q *Query) (api.Resources, error) {
	page := api.Resources{Items: []api.Resource{}}
	switch {
	case q.Limit == 0:
		q.Limit = 100
	case q.Limit < 0 || q.Limit > 1000:
		return page, refuse(http.StatusBadRequest, "limit: want 1 to 1000")
	}
	at, err := parseCursor(q.Continue)
	if err != nil {
		return page, err
	}
	f := newFilter(q)
	m.mu.RLock()
	page.Revision = m.revision(m.feed.rev)
	m.mu.RUnlock()
	for more := true; more; {
		at, more = m.walk(at, f, q.Limit+1, func(h *host, l *list, e *entry) bool {
			if len(page.Items) == q.Limit {
				last := &page.Items[q.Limit-1]
				page.Continue = cursor{last.Host, last.ID}.String()
				return false
			}
			page.Items = append(page.Items, present(h, l, e))
			return true
		})
	}
	return page, nil
}

// walk gives visit what the filter matches behind the cursor, of at most
// lockedHosts hosts or most resources, under the read lock. It returns where
// to go on, and false if nothing is left or visit wants no more.
func (m *Manager) walk(at cursor, f *filter, most int, visit func(*host, *list, *entry) bool) (cursor, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, found := m.place(at.host)
	if found && at.id == "" && at.host != "" {
		i++ // the host is done
	}
	n := 0
	for hosts := 0; i < len(m.order); i, hosts = i+1, hosts+1 {
		h := m.order[i]
		if f.host != "" && f.host != h.id {
			if h.id > f.host {
				return at, false
			}
			j, ok := m.place(f.host)
			if !ok {
				return at, false
			}
			i, h = j, m.order[j]
		}
		if hosts == lockedHosts {
			return at, true
		}
		for _, l := range h.lists {
			if !f.may(l) {
				continue
			}
			after := ""
			if h.id == at.host {
				after = at.id
			}
			from, to := l.span(after, f.id)
			match := f.on(h, l)
			for k := from; k < to; k++ {
				e := &l.entries[k]
				if !match(e) {
					continue
				}
				if !visit(h, l, e) {
					return at, false
				}
				if n++; n >= most && f.kind != "" {
					return cursor{h.id, e.id()}, true
				}
			}
		}
		if at = (cursor{host: h.id}); n >= most {
			return at, true
		}
	}
	return at, false
}

// span returns which entries are behind an id, and if only is not empty, those
// of them with that id. Zero after: all are behind it.
func (l *list) span(after, only string) (from, to int) {
	if after != "" {
		var same bool
		if from, same = l.find(after); same {
			from++
		}
	}
	if only == "" {
		return from, len(l.entries)
	}
	at, ok := l.find(only)
	if !ok {
		return 0, 0
	}
	return max(from, at), at + 1
}

// Get returns one resource.
func (m *Manager) Get(id wire.HostID, k plugin.Key) (api.Resource, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	h := m.hosts[id]
	if h == nil {
		return api.Resource{}, refuse(http.StatusNotFound, "no host %s", id)
	}
	l := h.list(k.Kind)
	at, ok := l.find(k.ID)
	if !ok {
		return api.Resource{}, refuse(http.StatusNotFound, "host %s has no %s %s", id, k.Kind, k.ID)
	}
	return present(h, l, &l.entries[at]), nil
}

// present writes an entry out for clients. Manager.mu is held.
func present(h *host, l *list, e *entry) api.Resource {
	since, why := h.staleness(l, e.facet(source))
	spec, ext := e.bodies()
	r := api.Resource{
		Host:        h.id,
		Hostname:    h.hostname,
		Key:         plugin.Key{Kind: l.kind, ID: e.id()},
		Name:        e.name(),
		State:       e.state(),
		Parent:      plugin.Key{Kind: e.facet(parentKind), ID: e.facet(parentID)},
		Source:      e.facet(source),
		Revision:    e.rev,
		Generation:  e.gen,
		Stale:       why != "",
		StaleSince:  since,
		StaleReason: why,
		Invalid:     h.fault(l, e.id()),
		Spec:        json.RawMessage(spec),
	}
	if ext != "" {
		r.Ext = json.RawMessage(ext)
	}
	return r
}

// A filter is a query made ready.
type filter struct {
	kind        string
	state       string
	cluster     string
	source      string
	host        wire.HostID
	name        string
	glob        *glob  // nil: name as it is
	literal     string // found in the names of each list with a match
	mark, place uint16 // of state and cluster
	id          string
	stale       *bool
	invalid     *bool
}

func newFilter(q *Query) *filter {
	f := &filter{
		kind: q.Kind, host: q.Host, id: q.ID, name: q.Name, glob: newGlob(q.Name), state: q.State, mark: mark(q.State),
		cluster: q.Cluster, place: mark(q.Cluster), source: q.Source, stale: q.Stale, invalid: q.Invalid,
	}
	if f.glob != nil {
		f.literal = f.glob.literal
	} else if f.name != "" {
		f.literal = "\x00" + f.name + "\x00"
	}
	return f
}

// may says whether a look at the list's entries is worth it.
func (f *filter) may(l *list) bool {
	switch {
	case f.kind != "" && l.kind != f.kind,
		f.state != "" && l.states&bit(f.mark) == 0,
		f.cluster != "" && l.clusters&bit(f.place) == 0,
		f.source != "" && !l.mixed && l.source != f.source,
		f.literal != "" && l.names != "" && !strings.Contains(l.names, f.literal):
		return false
	}
	return true
}

// on returns the test for entries of a list. Staleness is worked out once per
// source, not per entry.
func (f *filter) on(h *host, l *list) func(e *entry) bool {
	stale := f.stale
	if stale != nil && !l.mixed {
		if _, why := h.staleness(l, l.source); *stale != (why != "") {
			return func(*entry) bool { return false }
		}
		stale = nil
	}
	src, why, asked := "", "", false
	return func(e *entry) bool {
		if f.state != "" && (e.mark != f.mark || e.state() != f.state) ||
			f.cluster != "" && (e.place != f.place || e.cluster() != f.cluster) ||
			f.source != "" && l.mixed && e.facet(source) != f.source {
			return false
		}
		if f.glob != nil {
			if !f.glob.match(e.name()) {
				return false
			}
		} else if f.name != "" && e.name() != f.name {
			return false
		}
		if f.invalid != nil && *f.invalid != (h.fault(l, e.id()) != "") {
			return false
		}
		if stale == nil {
			return true
		}
		if s := e.facet(source); !asked || s != src {
			src, asked = s, true
			_, why = h.staleness(l, s)
		}
		return *stale == (why != "")
	}
}

// Hosts returns a page of hosts by id.
func (m *Manager) Hosts(limit int, after string, keep func(*host) bool) (api.Hosts, error) {
	page := api.Hosts{Items: []api.Host{}}
	at, err := parseCursor(after)
	if err != nil {
		return page, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, found := m.place(at.host)
	if found {
		i++
	}
	for ; i < len(m.order); i++ {
		h := m.order[i]
		if keep != nil && !keep(h) {
			continue
		}
		if limit > 0 && len(page.Items) == limit {
			page.Continue = cursor{host: page.Items[limit-1].ID}.String()
			break
		}
		page.Items = append(page.Items, h.view())
	}
	return page, nil
}

// Host returns one host.
func (m *Manager) Host(id wire.HostID) (api.Host, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	h := m.hosts[id]
	if h == nil {
		return api.Host{}, refuse(http.StatusNotFound, "no host %s", id)
	}
	return h.view(), nil
}

// view writes a host out for clients. Manager.mu is held.
func (h *host) view() api.Host {
	v := api.Host{
		ID: h.id, Kind: h.kind, Hostname: h.hostname, Agent: h.agent, Hypervisor: h.hypervisor,
		Connected: h.connected(), Since: h.since.UTC(), Reason: h.reason,
		FirstSeen: h.firstSeen.UTC(), LastSeen: h.seen.UTC(), Address: h.address,
		ClockDriftSeconds: h.drift.Seconds(),
		Roles:             []string{},
		Sources:           h.sources,
		Usage:             h.usage,
		Counts:            make(map[string]int, len(h.lists)),
	}
	if v.Sources == nil {
		v.Sources = []api.Source{}
	}
	if h.cert.Serial != "" {
		own := h.cert // the host's changes with its next session
		v.Certificate = &own
	}
	for _, l := range h.lists {
		v.Counts[l.kind] = len(l.entries)
	}
	if h.drift.Abs() >= timeDrift {
		v.Warnings = append(v.Warnings, api.Warning{
			Code:    api.WarnTimeDrift,
			Message: "the host's clock differs from the deployment unit's by " + h.drift.Round(100*time.Millisecond).String(),
		})
	}
	return v
}
