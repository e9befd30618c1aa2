// Package audit keeps who did what, when, from where, and with what outcome:
// every change through the API, every certificate given, every refusal. Entries
// are added and never changed.
//
// It knows nothing of what it records; whoever acts hands it an [api.AuditEntry].
package audit

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/sqldb"
)

//go:embed schema/*.sql
var files embed.FS

// Schema is the package's tables.
func Schema() sqldb.Schema {
	sub, err := fs.Sub(files, "schema")
	if err != nil {
		panic(err) // the embedded tree is ours
	}
	return sqldb.Schema{Name: "audit", Files: sub}
}

// The outcomes of an action.
const (
	Done    = "done"
	Refused = "refused"
	Failed  = "failed"
)

const (
	queue    = 1024                   // entries waiting; when full, Record blocks
	patience = 5 * time.Second        // for a full queue; then the entry goes to the log
	gather   = 200 * time.Millisecond // how long refusals wait for their like
	maxText  = 512                    // bytes kept of each text
)

// Log is the audit log. Make one with New and run it.
type Log struct {
	db    *sqldb.DB
	log   *slog.Logger
	queue chan api.AuditEntry
}

// New returns the log on a database that has the package's tables.
func New(db *sqldb.DB, log *slog.Logger) *Log {
	return &Log{db: db, log: log, queue: make(chan api.AuditEntry, queue)}
}

// Record adds an entry; Time and ID are set by the log. It returns before the
// entry is on disk. When the database does not keep up for five seconds the
// entry goes to the process's log, as an error.
func (l *Log) Record(ctx context.Context, e api.AuditEntry) {
	e.Time = time.Now().UTC()
	e.Times = 1
	for _, s := range []*string{&e.Actor, &e.Action, &e.Object, &e.Reason, &e.Remote} {
		*s = (*s)[:min(len(*s), maxText)]
	}
	select {
	case l.queue <- e:
		return
	default:
	}
	full := time.NewTimer(patience)
	defer full.Stop()
	select {
	case l.queue <- e:
	case <-full.C:
		l.log.Error("audit entry not stored", "actor", e.Actor, "action", e.Action, "object", e.Object, "outcome", e.Outcome, "reason", e.Reason, "remote", e.Remote)
	}
}

// Run writes entries until ctx ends, and then what is still queued.
func (l *Log) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return l.drain()
		case e := <-l.queue:
			l.write(l.batch(ctx, e))
		}
	}
}

// batch waits a moment for more entries and folds equal refusals into one.
func (l *Log) batch(ctx context.Context, first api.AuditEntry) []api.AuditEntry {
	entries := []api.AuditEntry{first}
	wait := time.NewTimer(gather)
	defer wait.Stop()
	for len(entries) < queue {
		select {
		case e := <-l.queue:
			entries = fold(entries, e)
		case <-wait.C:
			return entries
		case <-ctx.Done():
			return entries
		}
	}
	return entries
}

func fold(entries []api.AuditEntry, e api.AuditEntry) []api.AuditEntry {
	if e.Outcome == Refused {
		for i := range entries {
			o := &entries[i]
			if o.Outcome == e.Outcome && o.Remote == e.Remote && o.Action == e.Action && o.Actor == e.Actor && o.Object == e.Object && o.Reason == e.Reason {
				o.Times++
				return entries
			}
		}
	}
	return append(entries, e)
}

func (l *Log) drain() error {
	var entries []api.AuditEntry
	for {
		select {
		case e := <-l.queue:
			entries = fold(entries, e)
		default:
			l.write(entries)
			return nil
		}
	}
}

// write stores entries; what cannot be stored is logged, never lost silently.
func (l *Log) write(entries []api.AuditEntry) {
	if len(entries) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := l.db.Tx(ctx, func(tx *sql.Tx) error {
		for _, e := range entries {
			if _, err := tx.ExecContext(ctx, `INSERT INTO audit (at, actor, action, object, outcome, reason, remote, times) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
				e.Time.Format(time.RFC3339Nano), e.Actor, e.Action, e.Object, e.Outcome, e.Reason, e.Remote, e.Times); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.log.Error("audit entries not stored", "count", len(entries), "first", entries[0].Action, "err", err)
	}
}

// Query selects entries. Zero fields select everything.
type Query struct {
	Actor, Action, Object string
	Before                int64 // only entries with a smaller id
	Limit                 int   // at most; 0 means 100
}

// List returns entries, newest first. What was recorded within the last
// fraction of a second may be missing.
func (l *Log) List(ctx context.Context, q Query) (api.Audit, error) {
	if q.Limit <= 0 || q.Limit > 1000 {
		q.Limit = 100
	}
	if q.Before <= 0 {
		q.Before = 1<<62 - 1
	}
	rows, err := l.db.Read().QueryContext(ctx, `SELECT id, at, actor, action, object, outcome, reason, remote, times FROM audit
		WHERE id < $1 AND ($2 = '' OR actor = $2) AND ($3 = '' OR action = $3) AND ($4 = '' OR object = $4)
		ORDER BY id DESC LIMIT $5`, q.Before, q.Actor, q.Action, q.Object, q.Limit+1)
	if err != nil {
		return api.Audit{}, fmt.Errorf("list audit entries: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := api.Audit{Entries: []api.AuditEntry{}}
	for rows.Next() {
		var e api.AuditEntry
		var at string
		if err := rows.Scan(&e.ID, &at, &e.Actor, &e.Action, &e.Object, &e.Outcome, &e.Reason, &e.Remote, &e.Times); err != nil {
			return api.Audit{}, err
		}
		if e.Time, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return api.Audit{}, err
		}
		if len(out.Entries) == q.Limit {
			out.Before = out.Entries[q.Limit-1].ID
			break
		}
		out.Entries = append(out.Entries, e)
	}
	return out, rows.Err()
}

// Routes is the package's part of the API.
func (l *Log) Routes() []httpapi.Route {
	return []httpapi.Route{{
		Pattern: "GET /api/v1/audit", Access: httpapi.Operator, Summary: "Who did what, newest first.", Response: api.Audit{},
		Query: []httpapi.Param{
			{Name: "actor", Summary: "Only of this actor."},
			{Name: "action", Summary: "Only this action."},
			{Name: "object", Summary: "Only on this object."},
			{Name: "before", Summary: "Only entries older than this id."},
			{Name: "limit", Summary: "At most this many, 1 to 1000; 100 if absent."},
		},
		Do: func(w http.ResponseWriter, r *http.Request) error {
			v := r.URL.Query()
			q := Query{Actor: v.Get("actor"), Action: v.Get("action"), Object: v.Get("object")}
			var err error
			if s := v.Get("before"); s != "" {
				if q.Before, err = strconv.ParseInt(s, 10, 64); err != nil || q.Before < 1 {
					return httpapi.Errorf(http.StatusBadRequest, "before=%.40s is not an id", s)
				}
			}
			if s := v.Get("limit"); s != "" {
				if q.Limit, err = strconv.Atoi(s); err != nil || q.Limit < 1 || q.Limit > 1000 {
					return httpapi.Errorf(http.StatusBadRequest, "limit=%.40s is not a number from 1 to 1000", s)
				}
			}
			list, err := l.List(r.Context(), q)
			if err != nil {
				return err
			}
			return httpapi.WriteJSON(w, http.StatusOK, list)
		},
	}}
}
