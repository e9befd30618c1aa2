// Package resmgr is the Resource Manager of a deployment unit: the catalogue
// of its hosts and of everything that they discovered.
//
// Hosts report through their tunnels (package wire); the catalogue lives in
// memory, in the form that lists and watches read, and is written behind to
// the database in batches. What a crash loses there the next hello restores:
// the digests differ, and the host sends the kind again. Whoever is not
// connected, or whose module does not work, keeps its last known resources,
// marked stale with the reason. It neither accepts tunnels nor checks
// certificates: package du tells it who has come and gone.
package resmgr

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/sqldb"
	"github.com/openpf9/openpf9/internal/wire"
)

// Limits bound what one host may cost. Zero fields mean the default.
type Limits struct {
	Resources int // per host; 50,000
	Bytes     int // per host, of their text; 256 MiB
	Kinds     int // per host; 320, for 256 of plugins and the core's
	Events    int // per host, the oldest go; 10,000
	Changes   int // kept for watchers, of 64 MiB at most; 65,536
	Watchers  int // at once; 256
}

func (l *Limits) setDefaults() {
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&l.Resources, 50_000},
		{&l.Bytes, 256 << 20},
		{&l.Kinds, 320},
		{&l.Events, 10_000},
		{&l.Changes, 65_536},
		{&l.Watchers, 256},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
}

// Peer is who speaks through a tunnel. It comes from the certificate.
type Peer struct {
	Host        wire.HostID
	Kind        string // "host" or "gateway"
	Session     uint64 // number of the tunnel's session, never 0
	Address     string
	Certificate api.Certificate
}

// Config is what a Manager needs. PeerOf is required.
type Config struct {
	// DB keeps the catalogue; it has the tables of Schema. Without one the
	// catalogue lasts as long as the process and there is no history.
	DB *sqldb.DB
	// PeerOf returns the peer of a request that came through a tunnel.
	PeerOf func(ctx context.Context) (Peer, bool)
	// Dial reaches a service of a connected host.
	Dial func(ctx context.Context, host wire.HostID, service string) (net.Conn, error)
	// Revoke ends a host's certificates and its tunnel before it is forgotten.
	Revoke func(ctx context.Context, host wire.HostID, reason string) error
	Limits Limits
	// UsageSeconds is how often hosts send their usage; 0 means 60.
	UsageSeconds int
	Log          *slog.Logger // nil: discard
}

// Manager is the Resource Manager. Make one with New.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	boot    string // names this run in revisions
	metrics *metrics

	mu    sync.RWMutex // guards the fields below and all records of hosts
	hosts map[wire.HostID]*host
	order []*host // by id
	feed  feed
	dirty []*host       // what the store must write
	gone  []wire.HostID // what the store must forget
	// variants are all declarations of kinds, by the text of their entries.
	variants  map[string]*variant
	inspector inspector

	failing  atomic.Pointer[error] // why the store does not write; nil: it does
	write    chan struct{}         // the store has something to write
	history  chan *historyBatch    // events to store; senders wait
	watchers chan struct{}         // one token per watcher
	past     history               // used by Run only, after New
}

// timeDrift is from where on a host's clock is reported as wrong.
const timeDrift = 10 * time.Second

// New loads the catalogue from the database.
func New(ctx context.Context, cfg Config) (*Manager, error) {
	cfg.Limits.setDefaults()
	if cfg.UsageSeconds == 0 {
		cfg.UsageSeconds = 60
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{
		cfg:      cfg,
		log:      cfg.Log,
		boot:     strconv.FormatInt(time.Now().UnixMicro(), 36),
		metrics:  newMetrics(),
		hosts:    map[wire.HostID]*host{},
		feed:     newFeed(cfg.Limits.Changes),
		write:    make(chan struct{}, 1),
		history:  make(chan *historyBatch),
		watchers: make(chan struct{}, cfg.Limits.Watchers),

		variants:  map[string]*variant{},
		inspector: newInspector(),
	}
	if err := m.load(ctx); err != nil {
		return nil, fmt.Errorf("load the catalogue: %w", err)
	}
	return m, nil
}

// Connected records that a host holds a tunnel. A later session of the same
// host takes the place of an earlier one.
func (m *Manager) Connected(p Peer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[p.Host]
	now := time.Now()
	if h != nil && h.session > p.Session {
		return // the news of an older session has been overtaken
	}
	if h == nil {
		h = &host{id: p.Host, firstSeen: now}
		m.insert(h)
	}
	if !h.connected() {
		h.since = now
	}
	h.kind, h.address, h.cert = p.Kind, p.Address, p.Certificate
	h.session, h.greeted, h.numbered = p.Session, false, false
	h.seen, h.reason, h.staged = now, "", nil
	m.publishHost(h)
}

// Disconnected records that a session has ended. It does nothing if the host
// has a newer one.
func (m *Manager) Disconnected(id wire.HostID, session uint64, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[id]
	if h == nil || h.session != session {
		return
	}
	now := time.Now()
	h.session, h.greeted, h.staged = 0, false, nil
	h.since, h.seen, h.reason = now, now, reason
	m.publishHost(h)
}

// Forget revokes a host and removes it with all that is known of it.
func (m *Manager) Forget(ctx context.Context, id wire.HostID, reason string) error {
	m.mu.RLock()
	known := m.hosts[id] != nil
	m.mu.RUnlock()
	if !known {
		return refuse(http.StatusNotFound, "no host %s", id)
	}
	if m.cfg.Revoke != nil {
		if err := m.cfg.Revoke(ctx, id, reason); err != nil {
			return fmt.Errorf("revoke host %s: %w", id, err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[id]
	if h == nil {
		return nil
	}
	for _, l := range h.lists {
		for i := range l.entries {
			m.feed.add(change{op: opDeleted, host: h, kind: l.kind, e: l.entries[i]})
		}
	}
	h.forgotten = true
	m.release(h.declared)
	h.declared = nil
	h.lists, h.staged, h.dirtyKeys, h.session = nil, nil, nil, 0
	delete(m.hosts, id)
	if at, ok := m.place(id); ok {
		m.order = slices.Delete(m.order, at, at+1)
	}
	m.gone = append(m.gone, id)
	m.publishHost(h)
	return nil
}

// Healthy says why the catalogue cannot be written, nil if it can.
func (m *Manager) Healthy() error {
	if err := m.failing.Load(); err != nil {
		return *err
	}
	return nil
}

// insert adds a new host's record.
func (m *Manager) insert(h *host) {
	m.hosts[h.id] = h
	at, _ := m.place(h.id)
	m.order = slices.Insert(m.order, at, h)
}

// place returns where a host is in order, or belongs.
func (m *Manager) place(id wire.HostID) (int, bool) {
	return slices.BinarySearchFunc(m.order, id, func(h *host, id wire.HostID) int {
		return strings.Compare(string(h.id), string(id))
	})
}

// intern keeps one copy of the few words that repeat on every host.
func intern(s string) string { return unique.Make(s).Value() }

// revision is a place in the feed, as clients see it.
func (m *Manager) revision(rev uint64) string { return m.boot + "." + strconv.FormatUint(rev, 10) }

// parseRevision returns the place, or false if it is of another run.
func (m *Manager) parseRevision(s string) (uint64, bool) {
	boot, n, _ := strings.Cut(s, ".")
	rev, err := strconv.ParseUint(n, 10, 64)
	return rev, err == nil && boot == m.boot
}
