package certrepo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pki"
)

const (
	tokenLife    = 24 * time.Hour
	tokenMaxLife = 366 * 24 * time.Hour
	tokenMaxUses = 100_000
)

// CreateToken makes a join token.
func (r *Repository) CreateToken(ctx context.Context, q api.JoinTokenRequest, by string) (api.NewJoinToken, error) {
	if q.Kind == "" {
		q.Kind = pki.KindHost
	}
	if q.TTLSeconds == 0 {
		q.TTLSeconds = int64(tokenLife / time.Second)
	}
	if q.Uses == 0 {
		q.Uses = 1
	}
	switch {
	case q.Kind != pki.KindHost && q.Kind != pki.KindGateway && q.Kind != api.AnyKind:
		return api.NewJoinToken{}, httpapi.Errorf(http.StatusBadRequest, "kind %.40q: want host, gateway or any", q.Kind)
	case q.TTLSeconds < 0 || q.TTLSeconds > int64(tokenMaxLife/time.Second):
		return api.NewJoinToken{}, httpapi.Errorf(http.StatusBadRequest, "ttl_seconds %d: want at most a year", q.TTLSeconds)
	case q.Uses < 0 || q.Uses > tokenMaxUses:
		return api.NewJoinToken{}, httpapi.Errorf(http.StatusBadRequest, "uses %d: want 1 to %d", q.Uses, tokenMaxUses)
	case len(q.Description) > 200:
		return api.NewJoinToken{}, httpapi.Errorf(http.StatusBadRequest, "the description has more than 200 bytes")
	}
	if q.Host != "" {
		if err := q.Host.Validate(); err != nil {
			return api.NewJoinToken{}, httpapi.Errorf(http.StatusBadRequest, "%v", err)
		}
	}
	secret := pki.NewToken(pki.JoinToken, r.Pin())
	now := time.Now().UTC().Truncate(time.Second)
	t := api.JoinToken{
		ID: secret.ID, Kind: q.Kind, Host: q.Host, Description: q.Description, Created: now, CreatedBy: by,
		Expires: now.Add(time.Duration(q.TTLSeconds) * time.Second), Uses: q.Uses, UsesLeft: q.Uses,
	}
	err := r.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO join_token (id, hash, kind, host, description, created, created_by, expires, uses, left_uses, revoked) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0)`,
			t.ID, secret.Hash(), t.Kind, string(t.Host), t.Description, stamp(t.Created), t.CreatedBy, stamp(t.Expires), t.Uses, t.UsesLeft)
		return err
	})
	if err != nil {
		return api.NewJoinToken{}, fmt.Errorf("store join token: %w", err)
	}
	return api.NewJoinToken{JoinToken: t, Secret: secret.String()}, nil
}

// RevokeToken ends a join token. Hosts that used it stay.
func (r *Repository) RevokeToken(ctx context.Context, id string) error {
	return r.db.Tx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE join_token SET revoked = 1 WHERE id = $1`, id)
		if err != nil {
			return fmt.Errorf("revoke join token: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fmt.Errorf("join token %.40q: %w", id, fs.ErrNotExist))
		}
		return nil
	})
}

// Tokens lists the join tokens that ended no more than 30 days ago, newest first.
func (r *Repository) Tokens(ctx context.Context) (api.JoinTokens, error) {
	rows, err := r.db.Read().QueryContext(ctx, selectToken+` WHERE expires > $1 ORDER BY created DESC, id`, stamp(time.Now().Add(-30*24*time.Hour)))
	if err != nil {
		return api.JoinTokens{}, fmt.Errorf("list join tokens: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := api.JoinTokens{Tokens: []api.JoinToken{}}
	for rows.Next() {
		t, _, err := scanToken(rows.Scan)
		if err != nil {
			return api.JoinTokens{}, fmt.Errorf("list join tokens: %w", err)
		}
		out.Tokens = append(out.Tokens, t)
	}
	return out, rows.Err()
}

const selectToken = `SELECT id, hash, kind, host, description, created, created_by, expires, uses, left_uses, revoked FROM join_token`

func readToken(ctx context.Context, tx *sql.Tx, id string) (api.JoinToken, string, error) {
	t, hash, err := scanToken(tx.QueryRowContext(ctx, selectToken+` WHERE id = $1`, strings.ToLower(id)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return t, "", fs.ErrNotExist
	}
	return t, hash, err
}

func scanToken(scan func(...any) error) (t api.JoinToken, hash string, err error) {
	var created, expires string
	if err := scan(&t.ID, &hash, &t.Kind, &t.Host, &t.Description, &created, &t.CreatedBy, &expires, &t.Uses, &t.UsesLeft, &t.Revoked); err != nil {
		return t, "", err
	}
	if t.Created, err = time.Parse(time.RFC3339, created); err != nil {
		return t, "", err
	}
	t.Expires, err = time.Parse(time.RFC3339, expires)
	return t, hash, err
}
