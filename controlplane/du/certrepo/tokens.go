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

	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

// JoinToken is a join token as lists show it.
type JoinToken struct {
	ID          string      `json:"id"`
	Kind        string      `json:"kind"`           // "host" or "gateway"
	Host        wire.HostID `json:"host,omitempty"` // empty: any host that is new
	Description string      `json:"description,omitempty"`
	Created     time.Time   `json:"created"`
	CreatedBy   string      `json:"created_by"`
	Expires     time.Time   `json:"expires"`
	Uses        int         `json:"uses"`
	UsesLeft    int         `json:"uses_left"`
	Revoked     bool        `json:"revoked,omitempty"`
}

// NewJoinToken is a token just made: the only time that its secret is shown.
type NewJoinToken struct {
	JoinToken
	Secret string `json:"secret"` // the whole token, "pf9j1...."
}

// JoinTokenRequest asks for a join token. Its zero value is a good default.
type JoinTokenRequest struct {
	Kind        string      `json:"kind,omitempty"`        // empty: "host"
	Host        wire.HostID `json:"host,omitempty"`        // only this one, also if it was enrolled before
	Description string      `json:"description,omitempty"` // at most 200 bytes
	TTLSeconds  int64       `json:"ttl_seconds,omitempty"` // 0: 24 hours
	Uses        int         `json:"uses,omitempty"`        // 0: 1; at most 100,000
}

// JoinTokens is what the API answers.
type JoinTokens struct {
	Tokens []JoinToken `json:"tokens"`
}

const (
	tokenLife    = 24 * time.Hour
	tokenMaxLife = 366 * 24 * time.Hour
	tokenMaxUses = 100_000
)

// CreateToken makes a join token.
func (r *Repository) CreateToken(ctx context.Context, q JoinTokenRequest, by string) (NewJoinToken, error) {
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
	case q.Kind != pki.KindHost && q.Kind != pki.KindGateway:
		return NewJoinToken{}, httpapi.Errorf(http.StatusBadRequest, "kind %.40q: want host or gateway", q.Kind)
	case q.TTLSeconds < 0 || q.TTLSeconds > int64(tokenMaxLife/time.Second):
		return NewJoinToken{}, httpapi.Errorf(http.StatusBadRequest, "ttl_seconds %d: want at most a year", q.TTLSeconds)
	case q.Uses < 0 || q.Uses > tokenMaxUses:
		return NewJoinToken{}, httpapi.Errorf(http.StatusBadRequest, "uses %d: want 1 to %d", q.Uses, tokenMaxUses)
	case len(q.Description) > 200:
		return NewJoinToken{}, httpapi.Errorf(http.StatusBadRequest, "the description has more than 200 bytes")
	}
	if q.Host != "" {
		if err := q.Host.Validate(); err != nil {
			return NewJoinToken{}, httpapi.Errorf(http.StatusBadRequest, "%v", err)
		}
	}
	secret := pki.NewToken(pki.JoinToken, r.Pin())
	now := time.Now().UTC().Truncate(time.Second)
	t := JoinToken{
		ID: secret.ID, Kind: q.Kind, Host: q.Host, Description: q.Description, Created: now, CreatedBy: by,
		Expires: now.Add(time.Duration(q.TTLSeconds) * time.Second), Uses: q.Uses, UsesLeft: q.Uses,
	}
	err := r.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO join_token (id, hash, kind, host, description, created, created_by, expires, uses, left_uses, revoked) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0)`,
			t.ID, secret.Hash(), t.Kind, string(t.Host), t.Description, stamp(t.Created), t.CreatedBy, stamp(t.Expires), t.Uses, t.UsesLeft)
		return err
	})
	if err != nil {
		return NewJoinToken{}, fmt.Errorf("store join token: %w", err)
	}
	return NewJoinToken{t, secret.String()}, nil
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
func (r *Repository) Tokens(ctx context.Context) (JoinTokens, error) {
	rows, err := r.db.Read().QueryContext(ctx, selectToken+` WHERE expires > $1 ORDER BY created DESC, id`, stamp(time.Now().Add(-30*24*time.Hour)))
	if err != nil {
		return JoinTokens{}, fmt.Errorf("list join tokens: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := JoinTokens{Tokens: []JoinToken{}}
	for rows.Next() {
		t, _, err := scanToken(rows.Scan)
		if err != nil {
			return JoinTokens{}, fmt.Errorf("list join tokens: %w", err)
		}
		out.Tokens = append(out.Tokens, t)
	}
	return out, rows.Err()
}

const selectToken = `SELECT id, hash, kind, host, description, created, created_by, expires, uses, left_uses, revoked FROM join_token`

func readToken(ctx context.Context, tx *sql.Tx, id string) (JoinToken, string, error) {
	t, hash, err := scanToken(tx.QueryRowContext(ctx, selectToken+` WHERE id = $1`, strings.ToLower(id)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return t, "", fs.ErrNotExist
	}
	return t, hash, err
}

func scanToken(scan func(...any) error) (t JoinToken, hash string, err error) {
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
