package resmgr

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
)

// A historyBatch is the events of one request, on their way to the store.
type historyBatch struct {
	host   wire.HostID
	events []wire.Event
	done   chan error // gets one value
}

// A history knows what the event table holds. Only the store's goroutine uses it.
type history struct {
	last  int64               // number of the newest event
	count map[wire.HostID]int // events by host
}

// Events stores a host's history. When it returns, the events are on disk.
func (m *Manager) Events(ctx context.Context, p Peer, in *wire.Events) (wire.EventsAck, error) {
	if len(in.Events) == 0 {
		return wire.EventsAck{}, refuse(http.StatusUnprocessableEntity, "no events")
	}
	if len(in.Events) > 1000 {
		return wire.EventsAck{}, refuse(http.StatusRequestEntityTooLarge, "more than 1,000 events at once")
	}
	for i := range in.Events {
		e := &in.Events[i]
		e.Type, e.Name, e.Detail = clip(e.Type, 32), clip(e.Name, 255), clip(e.Detail, 4096)
		if len(e.About.Kind) > 64 || len(e.About.ID) > 255 {
			return wire.EventsAck{}, refuse(http.StatusUnprocessableEntity, "event %d: about has a kind of more than 64 or an id of more than 255 bytes", e.Seq)
		}
	}
	m.mu.Lock()
	h, err := m.speaking(p)
	if err == nil {
		h.seen = time.Now()
	}
	m.mu.Unlock()
	if err != nil {
		return wire.EventsAck{}, err
	}
	b := &historyBatch{host: p.Host, events: in.Events, done: make(chan error, 1)}
	select {
	case m.history <- b:
	case <-ctx.Done():
		return wire.EventsAck{}, ctx.Err()
	}
	select {
	case err = <-b.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return wire.EventsAck{}, fmt.Errorf("store events: %w", err)
	}
	last := in.Events[len(in.Events)-1]
	return wire.EventsAck{Epoch: last.Epoch, Seq: last.Seq}, nil
}

// writeHistory stores events once each, and drops the oldest of a host that
// has more than it may by a tenth.
func (m *Manager) writeHistory(ctx context.Context, tx *sql.Tx, gone []wire.HostID, waiting []*historyBatch) error {
	for _, id := range gone {
		delete(m.past.count, id)
	}
	if len(waiting) == 0 {
		return nil
	}
	put, err := tx.PrepareContext(ctx, `INSERT INTO resmgr_event
		(n, host, received, epoch, seq, time, type, kind, id, name, detail, lost)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (host, epoch, seq, time) DO NOTHING`)
	if err != nil {
		return err
	}
	defer func() { _ = put.Close() }()
	received := time.Now().UnixNano()
	for _, b := range waiting {
		for i := range b.events {
			e := &b.events[i]
			m.metrics.statements.Inc()
			m.past.last++ // numbers of a failed transaction are not used again
			res, err := put.ExecContext(ctx, m.past.last, string(b.host), received, int64(e.Epoch), int64(e.Seq),
				e.Time.UnixNano(), e.Type, e.About.Kind, e.About.ID, e.Name, e.Detail, int64(e.Lost))
			if err != nil {
				return fmt.Errorf("put event %d.%d of %s: %w", e.Epoch, e.Seq, b.host, err)
			}
			if n, err := res.RowsAffected(); err == nil && n > 0 {
				m.past.count[b.host]++
			}
		}
		if most := m.cfg.Limits.Events; m.past.count[b.host] > most+most/10 {
			if err := m.exec(ctx, tx, `DELETE FROM resmgr_event WHERE host = $1 AND n <=
				(SELECT n FROM resmgr_event WHERE host = $1 ORDER BY n DESC LIMIT 1 OFFSET $2)`,
				string(b.host), most); err != nil {
				return err
			}
			m.past.count[b.host] = most
		}
	}
	return nil
}

func (m *Manager) loadHistory(ctx context.Context) error {
	rows, err := m.cfg.DB.Read().QueryContext(ctx, "SELECT host, count(*), max(n) FROM resmgr_event GROUP BY host")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	m.past.count = map[wire.HostID]int{}
	for rows.Next() {
		var id string
		var count int
		var last int64
		if err := rows.Scan(&id, &count, &last); err != nil {
			return err
		}
		m.past.count[wire.HostID(id)] = count
		m.past.last = max(m.past.last, last)
	}
	return rows.Err()
}

// HistoryQuery selects events. Zero fields select all.
type HistoryQuery struct {
	Host     wire.HostID
	Kind, ID string // what the event is about
	Type     string
	Limit    int // 0: 100, at most 1,000
	Continue string
}

// History returns a page of events, the newest first.
func (m *Manager) History(ctx context.Context, q *HistoryQuery) (api.Events, error) {
	page := api.Events{Items: []api.Event{}}
	switch {
	case q.Limit == 0:
		q.Limit = 100
	case q.Limit < 0 || q.Limit > 1000:
		return page, refuse(http.StatusBadRequest, "limit: want 1 to 1000")
	}
	where, args := []string{"1 = 1"}, []any{}
	and := func(cond string, v any) {
		args = append(args, v)
		where = append(where, cond+" $"+strconv.Itoa(len(args)))
	}
	if q.Continue != "" {
		n, err := strconv.ParseInt(q.Continue, 36, 64)
		if err != nil {
			return page, refuse(http.StatusBadRequest, "continue: not a token of this API")
		}
		and("n <", n)
	}
	for _, c := range []struct{ column, v string }{
		{"host =", string(q.Host)}, {"kind =", q.Kind}, {"id =", q.ID}, {"type =", q.Type},
	} {
		if c.v != "" {
			and(c.column, c.v)
		}
	}
	if m.cfg.DB == nil {
		return page, nil
	}
	m.metrics.statements.Inc()
	rows, err := m.cfg.DB.Read().QueryContext(ctx, `SELECT n, host, received, epoch, seq, time, type, kind, id, name, detail, lost
		FROM resmgr_event WHERE `+strings.Join(where, " AND ")+` ORDER BY n DESC LIMIT `+strconv.Itoa(q.Limit+1), args...)
	if err != nil {
		return page, fmt.Errorf("list events: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var n int64
	for rows.Next() {
		if len(page.Items) == q.Limit {
			page.Continue = strconv.FormatInt(n, 36)
			break
		}
		var e api.Event
		var received, epoch, seq, at, lost int64
		if err := rows.Scan(&n, &e.Host, &received, &epoch, &seq, &at, &e.Type, &e.About.Kind, &e.About.ID,
			&e.Name, &e.Detail, &lost); err != nil {
			return page, fmt.Errorf("list events: %w", err)
		}
		e.Received, e.Time = time.Unix(0, received).UTC(), time.Unix(0, at).UTC()
		e.Epoch, e.Seq, e.Lost = uint64(epoch), uint64(seq), uint64(lost)
		page.Items = append(page.Items, e)
	}
	return page, rows.Err()
}
