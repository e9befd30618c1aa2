package resmgr

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// Hello opens the conversation of a session: it says which kinds differ.
func (m *Manager) Hello(p Peer, hello *wire.Hello) (wire.Welcome, error) {
	if err := hello.Validate(); err != nil {
		return wire.Welcome{}, refuse(http.StatusUnprocessableEntity, "%w", err)
	}
	if len(hello.Digests) > m.cfg.Limits.Kinds {
		return wire.Welcome{}, refuse(http.StatusRequestEntityTooLarge, "more than %d kinds", m.cfg.Limits.Kinds)
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	h, err := m.speaking(p)
	if err != nil {
		return wire.Welcome{}, err
	}
	changed := !h.greeted || h.hostname != hello.Hostname || h.agent != hello.Agent || h.hypervisor != hello.Hypervisor
	drifted := h.drift.Abs() >= timeDrift
	h.greeted, h.numbered, h.staged = true, false, nil
	h.epoch = hello.Epoch
	h.hostname, h.agent, h.hypervisor = hello.Hostname, intern(hello.Agent), intern(hello.Hypervisor)
	h.seen = now
	h.drift = 0
	if !hello.Time.IsZero() {
		h.drift = hello.Time.Sub(now).Round(time.Millisecond)
	}
	if h.setSources(hello.Sources, now) || changed || drifted != (h.drift.Abs() >= timeDrift) {
		m.publishHost(h) // else a host that only asks again costs no write
	}
	if hello.Usage != nil {
		h.usage = hello.Usage
	}
	for _, l := range h.lists {
		_, listed := hello.Digests[l.kind]
		l.unlisted = !listed
	}
	return wire.Welcome{
		Encodings:    []string{wire.EncodingGzip},
		Version:      min(hello.Version, wire.Version),
		Need:         h.differing(hello.Digests),
		UsageSeconds: m.cfg.UsageSeconds,
		Time:         now,
	}, nil
}

// Report applies a report as a whole, or refuses it and changes nothing.
func (m *Manager) Report(p Peer, r *wire.Report) (wire.Ack, error) {
	batches, err := split(r)
	if err != nil {
		return wire.Ack{}, refuse(http.StatusUnprocessableEntity, "%w", err)
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	h, err := m.speaking(p)
	switch {
	case err != nil:
		return wire.Ack{}, err
	case !h.greeted:
		return wire.Ack{}, refuse(http.StatusConflict, "say hello first: this session has not yet")
	case r.Epoch != h.epoch:
		return wire.Ack{}, refuse(http.StatusConflict, "report of epoch %d, but the hello was of epoch %d", r.Epoch, h.epoch)
	}
	h.seen = now
	ack := wire.Ack{Epoch: r.Epoch, Seq: r.Seq}
	// The first report after a hello says where the numbers stand: an agent
	// that lost its state begins again.
	if h.numbered && r.Seq <= h.seq {
		if r.Seq == h.seq {
			ack.Need = h.differing(r.Digests)
		}
		return ack, nil
	}
	if r.Full != "" {
		var restart bool
		if restart, err = m.stagePart(h, r, batches); restart {
			ack.Need = append(ack.Need, r.Full)
		}
	} else {
		err = m.applyAll(h, batches)
	}
	if err != nil {
		return wire.Ack{}, err
	}
	h.numbered, h.seq = true, r.Seq
	if r.Usage != nil {
		h.usage = r.Usage
	}
	if r.Sources != nil && h.setSources(r.Sources, now) {
		m.publishHost(h)
	}
	for _, l := range h.lists {
		if _, ok := r.Digests[l.kind]; ok {
			l.unlisted = false
		}
	}
	for _, k := range h.differing(r.Digests) {
		if !slices.Contains(ack.Need, k) {
			ack.Need = append(ack.Need, k)
		}
	}
	return ack, nil
}

// speaking returns the peer's record if its session is the host's newest.
func (m *Manager) speaking(p Peer) (*host, error) {
	h := m.hosts[p.Host]
	if h == nil || h.session != p.Session || p.Session == 0 {
		return nil, refuse(http.StatusConflict, "this session of host %s is not the current one", p.Host)
	}
	return h, nil
}

// differing names the kinds whose digest is not the catalogue's, sorted.
func (h *host) differing(digests map[string]wire.Digest) []string {
	need := []string{}
	for k, d := range digests {
		var ours wire.Digest
		if l := h.list(k); l != nil {
			ours = l.digest
		}
		if ours != d {
			need = append(need, k)
		}
	}
	slices.Sort(need)
	return need
}

// applyAll applies changes of several kinds, if the host's limits allow all.
func (m *Manager) applyAll(h *host, batches []*batch) error {
	var count, size, kinds int
	for _, b := range batches {
		if h.list(b.kind) == nil && len(b.put) > 0 {
			kinds++
		}
		c, s := h.growth(b)
		count, size = count+c, size+s
	}
	if err := m.roomForKinds(h, kinds); err != nil {
		return err
	}
	if err := h.fits(&m.cfg.Limits, count, size); err != nil {
		return err
	}
	for _, b := range batches {
		m.apply(h, b)
		if st := h.staged[b.kind]; st != nil { // a list is on its way, it must not undo this
			st.drop(b.gone)
			st.add(b.put)
		}
	}
	return nil
}

// roomForKinds says whether the host may have n kinds more. Kinds that it has
// nothing of any more give way.
func (m *Manager) roomForKinds(h *host, n int) error {
	if n > 0 && len(h.lists)+n > m.cfg.Limits.Kinds {
		h.lists = slices.DeleteFunc(h.lists, func(l *list) bool { return len(l.entries) == 0 })
	}
	if n > 0 && len(h.lists)+n > m.cfg.Limits.Kinds {
		return refuse(http.StatusRequestEntityTooLarge, "the host would have more than %d kinds of resources", m.cfg.Limits.Kinds)
	}
	return nil
}

// stagePart keeps a part of a complete list and puts the list in force with
// its last part. It asks for a restart if it knows of no beginning.
func (m *Manager) stagePart(h *host, r *wire.Report, batches []*batch) (restart bool, err error) {
	if len(r.Deletes) > 0 {
		return false, refuse(http.StatusUnprocessableEntity, "part of a complete list of %s with deletes", r.Full)
	}
	part := &batch{kind: r.Full}
	for _, b := range batches {
		if b.kind != r.Full {
			return false, refuse(http.StatusUnprocessableEntity, "complete list of %s names a %s", r.Full, b.kind)
		}
		part = b
	}
	st := h.staged[r.Full]
	if r.Begin {
		st = &stage{}
	}
	if st == nil {
		return true, nil
	}
	count, size := len(part.put), part.size()
	for k, s := range h.staged {
		if k != r.Full || !r.Begin {
			count, size = count+len(s.entries), size+s.size
		}
	}
	if lim := &m.cfg.Limits; count > lim.Resources || size > lim.Bytes {
		delete(h.staged, r.Full)
		return false, refuse(http.StatusRequestEntityTooLarge, "the list of %s exceeds %d resources or %d bytes", r.Full, lim.Resources, lim.Bytes)
	}
	st.add(part.put)
	if !r.End {
		if h.staged == nil {
			h.staged = map[string]*stage{}
		}
		h.staged[r.Full] = st
		return false, nil
	}
	whole := &batch{kind: r.Full, put: byID(st.entries), whole: true}
	delete(h.staged, r.Full)
	if len(h.staged) == 0 {
		h.staged = nil
	}
	if h.list(r.Full) == nil && len(whole.put) > 0 {
		if err := m.roomForKinds(h, 1); err != nil {
			return false, err
		}
	}
	count, size = h.growth(whole)
	if err := h.fits(&m.cfg.Limits, count, size); err != nil {
		return false, err
	}
	m.apply(h, whole)
	return false, nil
}

func (s *stage) add(es []entry) {
	for i := range es {
		s.size += es[i].bytes()
	}
	s.entries = append(s.entries, es...)
}

func (s *stage) drop(ids []string) {
	if len(ids) == 0 {
		return
	}
	s.entries = slices.DeleteFunc(s.entries, func(e entry) bool {
		_, gone := slices.BinarySearch(ids, e.id())
		if gone {
			s.size -= e.bytes()
		}
		return gone
	})
}

func (b *batch) size() int {
	n := 0
	for i := range b.put {
		n += b.put[i].bytes()
	}
	return n
}

// maxKinds bounds the kinds in one report.
const maxKinds = 1024

var errManyKinds = fmt.Errorf("a report of more than %d kinds", maxKinds)

// split checks and packs a report's resources, by kind.
func split(r *wire.Report) ([]*batch, error) {
	var out []*batch
	of := func(kind string) *batch {
		for _, b := range out {
			if b.kind == kind {
				return b
			}
		}
		if len(out) == maxKinds {
			return nil
		}
		b := &batch{kind: kind}
		out = append(out, b)
		return b
	}
	if len(r.Full) > 64 {
		return nil, errors.New("full: a kind has at most 64 bytes")
	}
	for i := range r.Upserts {
		e, err := pack(&r.Upserts[i])
		if err != nil {
			return nil, err
		}
		b := of(r.Upserts[i].Kind)
		if b == nil {
			return nil, errManyKinds
		}
		b.put = append(b.put, e)
	}
	for _, k := range r.Deletes {
		b := of(k.Kind)
		if b == nil {
			return nil, errManyKinds
		}
		b.gone = append(b.gone, k.ID)
	}
	for _, b := range out {
		b.put = byID(b.put)
		slices.Sort(b.gone)
		// What is both put and deleted is put.
		b.gone = slices.DeleteFunc(slices.Compact(b.gone), func(id string) bool {
			_, put := slices.BinarySearchFunc(b.put, id, func(e entry, id string) int { return strings.Compare(e.id(), id) })
			return put
		})
	}
	return out, nil
}

// setSources takes over the modules' status and says whether it changed in
// more than when and how much was listed. Its times are ours.
func (h *host) setSources(in []wire.SourceStatus, now time.Time) bool {
	changed := len(in) != len(h.sources)
	out := make([]api.Source, 0, len(in))
	for _, s := range in[:min(len(in), 256)] {
		n := api.Source{
			Name: intern(clip(s.Name, 255)), State: intern(clip(s.State, 32)), Reason: clip(s.Reason, 4096),
			Since: now, Listed: s.Listed, Count: s.Count, Kinds: make([]string, 0, min(len(s.Kinds), plugin.MaxKinds)),
		}
		for _, k := range s.Kinds[:min(len(s.Kinds), plugin.MaxKinds)] {
			n.Kinds = append(n.Kinds, intern(clip(k, 64)))
		}
		i := slices.IndexFunc(h.sources, func(o api.Source) bool { return o.Name == n.Name })
		if i >= 0 && h.sources[i].State == n.State {
			n.Since = h.sources[i].Since
		}
		if i < 0 || h.sources[i].State != n.State || h.sources[i].Reason != n.Reason || !slices.Equal(h.sources[i].Kinds, n.Kinds) {
			changed = true
		}
		out = append(out, n)
	}
	h.sources = out
	return changed
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}
