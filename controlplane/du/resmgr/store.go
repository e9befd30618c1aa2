package resmgr

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/sqldb"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	groupFor  = 100 * time.Millisecond // how long changes wait for company before they are written
	groupRows = 4096                   // resources in one transaction
	flushFor  = 30 * time.Second       // a transaction may take
	lastFlush = 10 * time.Second       // all of the last ones may take, at the end
)

//go:embed schema/*.sql
var files embed.FS

// Schema is the resource manager's part of the database.
func Schema() sqldb.Schema {
	sub, err := fs.Sub(files, "schema")
	if err != nil {
		panic(err) // a constant path
	}
	return sqldb.Schema{Name: "resmgr", Files: sub}
}

// A record is what the database keeps of a host besides its resources.
type record struct {
	Kind       string           `json:"kind"`
	Hostname   string           `json:"hostname"`
	Agent      string           `json:"agent"`
	Hypervisor string           `json:"hypervisor"`
	Address    string           `json:"address"`
	Cert       api.Certificate  `json:"cert"`
	FirstSeen  time.Time        `json:"first_seen"`
	Since      time.Time        `json:"since"`
	Seen       time.Time        `json:"seen"`
	Connected  bool             `json:"connected"`
	Reason     string           `json:"reason,omitempty"`
	Drift      time.Duration    `json:"drift"`
	Sources    []api.Source     `json:"sources,omitempty"`
	Usage      *inventory.Usage `json:"usage,omitempty"`
}

// Run checks resources against declared schemas, and writes the catalogue
// behind, until ctx ends, then writes what is left. Idle hosts cost it no
// statement.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { m.inspect(ctx) })
	return m.store(ctx)
}

func (m *Manager) store(ctx context.Context) error {
	if m.cfg.DB == nil {
		<-ctx.Done()
		return nil
	}
	group := time.NewTimer(groupFor)
	defer group.Stop()
	for ctx.Err() == nil {
		var waiting []*historyBatch
		select {
		case <-ctx.Done():
			continue
		case <-m.write:
		case b := <-m.history:
			waiting = append(waiting, b)
		}
		group.Reset(groupFor)
		for grouping := true; grouping && len(waiting) < 64; {
			select {
			case b := <-m.history:
				waiting = append(waiting, b)
			case <-group.C:
				grouping = false
			case <-ctx.Done():
				grouping = false
			}
		}
		err := m.flush(context.WithoutCancel(ctx), flushFor, waiting)
		m.setFailing(err)
		if err != nil {
			group.Reset(time.Second)
			select {
			case <-group.C:
			case <-ctx.Done():
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	for m.unwritten() {
		if err := m.flush(ctx, flushFor, nil); err != nil {
			return fmt.Errorf("write the catalogue at the end: %w", err)
		}
	}
	return nil
}

// setFailing says so once when writing fails, and once when it works again.
func (m *Manager) setFailing(err error) {
	before := m.failing.Load()
	switch {
	case err != nil:
		m.failing.Store(&err)
		if before == nil {
			m.log.Error("the catalogue cannot be written, trying again", "err", err)
		}
	case before != nil:
		m.failing.Store(nil)
		m.log.Info("the catalogue is written again")
	}
}

// unwritten says whether the store has something to write.
func (m *Manager) unwritten() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.dirty) > 0 || len(m.gone) > 0
}

// A work is what one transaction writes.
type work struct {
	gone  []wire.HostID
	hosts []hostWork
	rows  int
}

type hostWork struct {
	h    *host
	doc  []byte // nil: unchanged
	keys []plugin.Key
	put  []entry // by key; no text: deleted
}

// takeWork takes what is dirty, at most about groupRows rows of it.
func (m *Manager) takeWork() (*work, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := &work{gone: m.gone}
	m.gone = nil
	for len(m.dirty) > 0 && w.rows < groupRows {
		h := m.dirty[0]
		m.dirty = m.dirty[1:]
		h.queued = false
		if h.forgotten {
			h.dirty, h.dirtyKeys = false, nil
			continue
		}
		hw := hostWork{h: h}
		if h.dirty {
			var err error
			if hw.doc, err = json.Marshal(h.record()); err != nil {
				return nil, fmt.Errorf("host %s: %w", h.id, err)
			}
		}
		seen := make(map[plugin.Key]bool, len(h.dirtyKeys))
		for _, k := range h.dirtyKeys {
			if seen[k] {
				continue
			}
			seen[k] = true
			var e entry
			if l := h.list(k.Kind); l != nil {
				if at, ok := l.find(k.ID); ok {
					e = l.entries[at]
				}
			}
			hw.keys = append(hw.keys, k)
			hw.put = append(hw.put, e)
		}
		h.dirty, h.dirtyKeys = false, nil
		w.rows += len(hw.keys) + 1
		w.hosts = append(w.hosts, hw)
	}
	if len(m.dirty) == 0 {
		m.dirty = nil
	} else {
		m.poke()
	}
	return w, nil
}

// putBack queues again what could not be written.
func (m *Manager) putBack(w *work) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = append(w.gone, m.gone...)
	for _, hw := range w.hosts {
		hw.h.dirty = hw.h.dirty || hw.doc != nil
		hw.h.dirtyKeys = append(hw.h.dirtyKeys, hw.keys...)
		m.soil(hw.h)
	}
	m.poke()
}

// flush writes one transaction of what is dirty and of the events that wait.
func (m *Manager) flush(ctx context.Context, most time.Duration, waiting []*historyBatch) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	w, err := m.takeWork()
	if err == nil {
		if err = m.cfg.DB.Tx(ctx, func(tx *sql.Tx) error {
			if err := m.writeWork(ctx, tx, w); err != nil {
				return err
			}
			return m.writeHistory(ctx, tx, w.gone, waiting)
		}); err != nil {
			m.putBack(w)
		} else {
			m.metrics.transactions.Inc()
		}
	}
	for _, b := range waiting {
		b.done <- err // has room
	}
	return err
}

func (m *Manager) writeWork(ctx context.Context, tx *sql.Tx, w *work) error {
	for _, id := range w.gone {
		for _, table := range []string{"resmgr_host", "resmgr_resource", "resmgr_event"} {
			if err := m.exec(ctx, tx, "DELETE FROM "+table+" WHERE host = $1", string(id)); err != nil {
				return err
			}
		}
	}
	if len(w.hosts) == 0 {
		return nil
	}
	put, err := tx.PrepareContext(ctx, `INSERT INTO resmgr_resource
		(host, kind, id, name, parent_kind, parent_id, source, generation, hash, spec, ext)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (host, kind, id) DO UPDATE SET name = excluded.name, parent_kind = excluded.parent_kind,
		parent_id = excluded.parent_id, source = excluded.source, generation = excluded.generation,
		hash = excluded.hash, spec = excluded.spec, ext = excluded.ext`)
	if err != nil {
		return err
	}
	defer func() { _ = put.Close() }()
	del, err := tx.PrepareContext(ctx, `DELETE FROM resmgr_resource WHERE host = $1 AND kind = $2 AND id = $3`)
	if err != nil {
		return err
	}
	defer func() { _ = del.Close() }()
	for i := range w.hosts {
		hw := &w.hosts[i]
		host := string(hw.h.id)
		if hw.doc != nil {
			if err := m.exec(ctx, tx, `INSERT INTO resmgr_host (host, doc) VALUES ($1, $2)
				ON CONFLICT (host) DO UPDATE SET doc = excluded.doc`, host, string(hw.doc)); err != nil {
				return err
			}
		}
		for j, k := range hw.keys {
			m.metrics.statements.Inc()
			e := &hw.put[j]
			if e.text == "" {
				if _, err := del.ExecContext(ctx, host, k.Kind, k.ID); err != nil {
					return fmt.Errorf("delete %s %s of %s: %w", k.Kind, k.ID, host, err)
				}
				continue
			}
			spec, ext := e.bodies()
			if _, err := put.ExecContext(ctx, host, k.Kind, k.ID, e.name(), e.facet(parentKind), e.facet(parentID),
				e.facet(source), int64(e.gen), int64(e.hash), spec, ext); err != nil {
				return fmt.Errorf("put %s %s of %s: %w", k.Kind, k.ID, host, err)
			}
		}
	}
	return nil
}

func (m *Manager) exec(ctx context.Context, tx *sql.Tx, query string, args ...any) error {
	m.metrics.statements.Inc()
	if _, err := tx.ExecContext(ctx, query, args...); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(strings.Fields(query)[:3], " "), err)
	}
	return nil
}

func (h *host) record() *record {
	return &record{
		Kind: h.kind, Hostname: h.hostname, Agent: h.agent, Hypervisor: h.hypervisor, Address: h.address,
		Cert: h.cert, FirstSeen: h.firstSeen, Since: h.since, Seen: h.seen, Connected: h.connected(),
		Reason: h.reason, Drift: h.drift, Sources: h.sources, Usage: h.usage,
	}
}

// load fills the catalogue. A resource whose hash is not what its text says is
// left out: the host will send it again.
func (m *Manager) load(ctx context.Context) error {
	if m.cfg.DB == nil {
		return nil
	}
	if err := m.loadHosts(ctx); err != nil {
		return fmt.Errorf("hosts: %w", err)
	}
	if err := m.loadResources(ctx); err != nil {
		return fmt.Errorf("resources: %w", err)
	}
	for _, h := range m.order {
		m.declare(h)
	}
	if err := m.loadHistory(ctx); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	return nil
}

func (m *Manager) loadHosts(ctx context.Context) error {
	rows, err := m.cfg.DB.Read().QueryContext(ctx, "SELECT host, doc FROM resmgr_host ORDER BY host")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	now := time.Now()
	for rows.Next() {
		var id, doc string
		var r record
		if err := rows.Scan(&id, &doc); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(doc), &r); err != nil {
			return fmt.Errorf("host %s: %w", id, err)
		}
		h := &host{
			id: wire.HostID(id), kind: intern(r.Kind), hostname: r.Hostname, agent: intern(r.Agent),
			hypervisor: intern(r.Hypervisor), address: r.Address, cert: r.Cert, firstSeen: r.FirstSeen,
			since: r.Since, seen: r.Seen, reason: r.Reason, drift: r.Drift, sources: r.Sources, usage: r.Usage,
		}
		if r.Connected {
			h.since, h.reason = now, "control plane restarted"
		}
		for i := range h.sources {
			s := &h.sources[i]
			s.Name, s.State = intern(s.Name), intern(s.State)
			for k := range s.Kinds {
				s.Kinds[k] = intern(s.Kinds[k])
			}
		}
		m.insert(h)
	}
	return rows.Err()
}

func (m *Manager) loadResources(ctx context.Context) error {
	rows, err := m.cfg.DB.Read().QueryContext(ctx, `SELECT host, kind, id, name, parent_kind, parent_id, source,
		generation, hash, spec, ext FROM resmgr_resource ORDER BY host, kind, id`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var h *host
	var pending []entry
	var kind string
	done := func() { // entries of one kind of one host are complete
		if h != nil && len(pending) > 0 {
			l := &list{kind: intern(kind), entries: append(make([]entry, 0, len(pending)), pending...)}
			for i := range l.entries {
				l.digest.Add(l.entries[i].hash)
				h.size += l.entries[i].bytes()
			}
			h.count += len(l.entries)
			l.sumUp()
			h.lists = append(h.lists, l)
		}
		pending = pending[:0]
	}
	bad := 0
	for rows.Next() {
		var id, spec, ext string
		var gen, hash int64
		var r wire.Resource
		if err := rows.Scan(&id, &r.Kind, &r.ID, &r.Name, &r.Parent.Kind, &r.Parent.ID, &r.Source, &gen, &hash, &spec, &ext); err != nil {
			return err
		}
		if h == nil || string(h.id) != id || kind != r.Kind {
			done()
			h, kind = m.hosts[wire.HostID(id)], r.Kind
		}
		r.Spec, r.Ext, r.Generation = json.RawMessage(spec), json.RawMessage(ext), uint64(gen)
		e, err := pack(&r)
		if err != nil || e.hash != wire.Hash(hash) || h == nil {
			bad++
			continue
		}
		pending = append(pending, e)
	}
	done()
	if bad > 0 {
		m.log.Warn("resources in the database were damaged and are left out until their hosts send them again", "count", bad)
	}
	return rows.Err()
}
