// Package access says who may use a deployment unit's API: it keeps API tokens
// and recognises them in requests. It is in force until the deployment unit has
// a Keystone, and beside it.
//
// Tokens are kept as hashes in SQL and in memory; a request costs no statement.
package access

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/atomicfile"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pki"
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
	return sqldb.Schema{Name: "access", Files: sub}
}

type record struct {
	token api.Token
	level httpapi.Access
	hash  string
}

// Tokens keeps the API tokens. Make it with New.
type Tokens struct {
	db *sqldb.DB

	mu   sync.Mutex // guards byID
	byID map[string]*record
}

// New loads the tokens from a database that has the package's tables.
func New(ctx context.Context, db *sqldb.DB) (*Tokens, error) {
	t := &Tokens{db: db, byID: make(map[string]*record)}
	rows, err := db.Read().QueryContext(ctx, `SELECT id, name, level, hash, created, expires FROM api_token`)
	if err != nil {
		return nil, fmt.Errorf("load API tokens: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		r := &record{}
		var created, expires string
		if err := rows.Scan(&r.token.ID, &r.token.Name, &r.level, &r.hash, &created, &expires); err != nil {
			return nil, fmt.Errorf("load API tokens: %w", err)
		}
		if r.token.Created, err = time.Parse(time.RFC3339, created); err != nil {
			return nil, fmt.Errorf("load API token %s: %w", r.token.ID, err)
		}
		if expires != "" {
			if r.token.Expires, err = time.Parse(time.RFC3339, expires); err != nil {
				return nil, fmt.Errorf("load API token %s: %w", r.token.ID, err)
			}
		}
		r.token.Level = r.level.String()
		t.byID[r.token.ID] = r
	}
	return t, rows.Err()
}

// EnsureAdmin sees to it that the machine's owner can administer: it makes an
// admin token and writes it to a file that only its owner can read, if there is
// no admin token without an end or no such file. Who lost the token deletes the
// file and starts again.
func (t *Tokens) EnsureAdmin(ctx context.Context, file string) error {
	_, err := os.Stat(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for the first admin token: %w", err)
	}
	t.mu.Lock()
	can := t.otherAdmin("")
	t.mu.Unlock()
	if can && err == nil {
		return nil
	}
	// The file comes first: a token that nobody knows would lock everybody out.
	_, err = t.create(ctx, api.TokenRequest{Name: "bootstrap", Level: "admin"}, func(secret string) error {
		return atomicfile.Write(file, []byte(secret+"\n"), 0o600)
	})
	if err != nil {
		return fmt.Errorf("make the first admin token: %w", err)
	}
	return nil
}

// Create makes a token.
func (t *Tokens) Create(ctx context.Context, q api.TokenRequest) (api.NewToken, error) {
	return t.create(ctx, q, func(string) error { return nil })
}

// create makes a token that is in force once keep has its secret.
func (t *Tokens) create(ctx context.Context, q api.TokenRequest, keep func(secret string) error) (api.NewToken, error) {
	level, err := levelOf(q.Level)
	if err != nil {
		return api.NewToken{}, err
	}
	if q.Name == "" || len(q.Name) > 64 || strings.ContainsFunc(q.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return api.NewToken{}, httpapi.Errorf(http.StatusBadRequest, "name %.80q: want 1 to 64 printable bytes that say who will use the token", q.Name)
	}
	if q.TTLSeconds < 0 || q.TTLSeconds > 100*365*86400 {
		return api.NewToken{}, httpapi.Errorf(http.StatusBadRequest, "ttl_seconds %d: want 0 or the seconds until the token ends", q.TTLSeconds)
	}
	secret := pki.NewToken(pki.APIToken, "")
	now := time.Now().UTC().Truncate(time.Second)
	r := &record{token: api.Token{ID: secret.ID, Name: q.Name, Level: level.String(), Created: now}, level: level, hash: secret.Hash()}
	expires := ""
	if q.TTLSeconds > 0 {
		r.token.Expires = now.Add(time.Duration(q.TTLSeconds) * time.Second)
		expires = r.token.Expires.Format(time.RFC3339)
	}
	if err := keep(secret.String()); err != nil {
		return api.NewToken{}, err
	}
	err = t.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO api_token (id, name, level, hash, created, expires) VALUES ($1, $2, $3, $4, $5, $6)`,
			r.token.ID, r.token.Name, int(level), r.hash, now.Format(time.RFC3339), expires)
		return err
	})
	if err != nil {
		return api.NewToken{}, fmt.Errorf("store API token: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[r.token.ID] = r
	return api.NewToken{Token: r.token, Secret: secret.String()}, nil
}

func levelOf(s string) (httpapi.Access, error) {
	for _, a := range []httpapi.Access{httpapi.Reader, httpapi.Operator, httpapi.Admin} {
		if a.String() == s {
			return a, nil
		}
	}
	return 0, httpapi.Errorf(http.StatusBadRequest, "level %.40q: want reader, operator or admin", s)
}

// Revoke ends a token at once. The last admin token that does not expire
// stays, for without it nobody could make another.
func (t *Tokens) Revoke(ctx context.Context, id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.byID[id]
	if !ok {
		return fmt.Errorf("API token %.40q: %w", id, fs.ErrNotExist)
	}
	if r.level == httpapi.Admin && !t.otherAdmin(id) {
		return httpapi.Errorf(http.StatusConflict, "this is the last admin token without an end; make another first")
	}
	err := t.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM api_token WHERE id = $1`, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke API token: %w", err)
	}
	delete(t.byID, id)
	return nil
}

func (t *Tokens) otherAdmin(id string) bool {
	for _, r := range t.byID {
		if r.token.ID != id && r.level == httpapi.Admin && r.token.Expires.IsZero() {
			return true
		}
	}
	return false
}

// List returns all tokens, oldest first.
func (t *Tokens) List() api.Tokens {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := api.Tokens{Tokens: make([]api.Token, 0, len(t.byID))}
	for _, r := range t.byID {
		out.Tokens = append(out.Tokens, r.token)
	}
	slices.SortFunc(out.Tokens, func(a, b api.Token) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Authenticate recognises the caller by "Authorization: Bearer", or by
// "X-Auth-Token" as OpenStack's clients send it. The error is for the caller.
func (t *Tokens) Authenticate(r *http.Request) (httpapi.Caller, error) {
	text := r.Header.Get("X-Auth-Token")
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, rest, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return httpapi.Caller{}, errors.New("the Authorization header is not of the form \"Bearer <API token>\"")
		}
		text = rest
	}
	if text == "" {
		return httpapi.Caller{}, errors.New("no API token was sent; send it as \"Authorization: Bearer <API token>\"")
	}
	token, err := pki.ParseToken(pki.APIToken, text)
	if err != nil {
		return httpapi.Caller{}, err
	}
	now := time.Now().UTC()
	t.mu.Lock()
	defer t.mu.Unlock()
	rec, ok := t.byID[token.ID]
	switch {
	case !ok || !token.Matches(rec.hash):
		return httpapi.Caller{}, errors.New("the API token is not known here; it may have been revoked, or be another deployment unit's")
	case !rec.token.Expires.IsZero() && now.After(rec.token.Expires):
		return httpapi.Caller{}, fmt.Errorf("the API token expired at %s", rec.token.Expires.Format(time.RFC3339))
	}
	rec.token.Used = now
	return httpapi.Caller{Name: rec.token.Name, Access: rec.level}, nil
}
