package actions

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
)

// errTaken says that the key is another action's.
var errTaken = errors.New("the key is taken")

const storeLimit = 10 * time.Second // for a statement, whatever becomes of the request

// newID returns an id that nobody else has.
func newID() string { return strings.ToLower(rand.Text()) }

// digestOf stands for what is asked of a host.
func digestOf(host wire.HostID, q *api.ActionRequest) string {
	b, _ := json.Marshal(q) // a struct of ours has no error
	sum := sha256.Sum256(append([]byte(string(host)+"\n"), b...))
	return hex.EncodeToString(sum[:])
}

// first returns the id of the action that was begun with the key; empty: none.
func (m *Manager) first(ctx context.Context, actor, key, digest string) (string, error) {
	var id, asked string
	err := m.cfg.DB.Read().QueryRowContext(ctx, `SELECT id, digest FROM action WHERE actor = $1 AND key = $2`, actor, key).Scan(&id, &asked)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look for an action's key: %w", err)
	case asked != digest:
		return "", httpapi.Errorf(http.StatusUnprocessableEntity, "the Idempotency-Key was used for another request: use a new key for each action")
	}
	return id, nil
}

// insert stores a new action.
func (m *Manager) insert(ctx context.Context, a *api.Action, key, digest string) error {
	doc, err := json.Marshal(a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
	defer cancel()
	return m.cfg.DB.Tx(ctx, func(tx *sql.Tx) error {
		var taken int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM action WHERE actor = $1 AND key = $2`, a.RequestedBy, key).Scan(&taken); err != nil {
			return err
		}
		if taken > 0 {
			return errTaken
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO action (id, host, actor, key, digest, requested, ended, doc) VALUES ($1, $2, $3, $4, $5, $6, 0, $7)`,
			a.ID, string(a.Host), a.RequestedBy, key, digest, a.Requested.UnixMicro(), string(doc))
		return err
	})
}

// finish stores the end of an action.
func (m *Manager) finish(ctx context.Context, a api.Action) error {
	a.Result = a.Result.WithoutSecrets()
	doc, err := json.Marshal(&a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
	defer cancel()
	return m.cfg.DB.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE action SET ended = $1, doc = $2 WHERE id = $3`, a.Ended.UnixMicro(), string(doc), a.ID)
		return err
	})
}

// load returns an action, of the host if one is given.
func (m *Manager) load(ctx context.Context, host wire.HostID, id string) (api.Action, error) {
	var a api.Action
	var doc string
	err := m.cfg.DB.Read().QueryRowContext(ctx, `SELECT doc FROM action WHERE id = $1 AND ($2 = '' OR host = $2)`, id, string(host)).Scan(&doc)
	if errors.Is(err, sql.ErrNoRows) {
		if host != "" {
			return a, fmt.Errorf("host %s has no action %.80q: %w", host, id, fs.ErrNotExist)
		}
		return a, fmt.Errorf("there is no action %.80q: %w", id, fs.ErrNotExist)
	}
	if err == nil {
		err = json.Unmarshal([]byte(doc), &a)
	}
	if err != nil {
		return a, fmt.Errorf("load action %s: %w", id, err)
	}
	return a, nil
}

// loadOpen returns what has not ended.
func (m *Manager) loadOpen(ctx context.Context) ([]api.Action, error) {
	rows, err := m.cfg.DB.Read().QueryContext(ctx, `SELECT doc FROM action WHERE ended = 0 ORDER BY id`)
	if err != nil {
		return nil, err
	}
	return scan(rows)
}

func scan(rows *sql.Rows) ([]api.Action, error) {
	defer func() { _ = rows.Close() }()
	all := []api.Action{}
	for rows.Next() {
		var doc string
		var a api.Action
		if err := rows.Scan(&doc); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(doc), &a); err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, rows.Err()
}

// trim forgets what ended long ago, and what is too many.
func (m *Manager) trim(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	old := time.Now().Add(-time.Duration(m.cfg.Limits.Days) * 24 * time.Hour).UnixMicro()
	err := m.cfg.DB.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM action WHERE ended > 0 AND (ended < $1 OR ended <= COALESCE(
			(SELECT ended FROM action WHERE ended > 0 ORDER BY ended DESC, id DESC LIMIT 1 OFFSET $2), 0))`, old, m.cfg.Limits.Kept)
		return err
	})
	if err != nil && ctx.Err() == nil {
		m.log.Warn("old actions are not forgotten", "err", err)
	}
}
