// Package certrepo is the certificate repository of a deployment unit: its
// authority, the join tokens that hosts trade for certificates, every
// certificate given, and what has been revoked.
//
// Who presents a certificate is answered from memory; SQL is asked only when
// something is given or taken away.
package certrepo

import (
	"context"
	"crypto/x509"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/sqldb"
	"github.com/openpf9/openpf9/internal/wire"
)

//go:embed schema/*.sql
var files embed.FS

// Schema is the package's tables.
func Schema() sqldb.Schema {
	sub, err := fs.Sub(files, "schema")
	if err != nil {
		panic(err) // the embedded tree is ours
	}
	return sqldb.Schema{Name: "certrepo", Files: sub}
}

// Event is something that the audit should know.
type Event struct {
	Actor, Action, Object, Remote string
	Err                           error // nil: done; else refused
}

// Config is what a Repository needs.
type Config struct {
	DU string // the deployment unit's name
	// ServerNames are what the deployment unit is reached by besides its name.
	ServerNames []string
	HostLife    time.Duration // of host certificates; 0 means pki.HostLife
	// Revoked is called after a host's certificates were revoked, to cut its
	// tunnel. It must not block long.
	Revoked func(host wire.HostID, reason string)
	Audit   func(context.Context, Event) // may be nil
}

// Repository is the certificate repository. Make it with New.
type Repository struct {
	cfg       Config
	db        *sqldb.DB
	authority *pki.Authority
	server    serverCertificate
	enrolling limiter

	mu    sync.RWMutex // guards the fields below
	certs map[string]*certificate
	hosts map[wire.HostID][]*certificate // unexpired ones, oldest first
}

// certificate is a record; immutable but for revoked and reason.
type certificate struct {
	serial              string
	host                wire.HostID
	kind                string
	notBefore, notAfter time.Time
	issued              time.Time
	how                 string
	revoked             time.Time // zero: in force
	reason              string
}

// New loads the repository from a database that has the package's tables, and
// makes the authority if there is none.
func New(ctx context.Context, db *sqldb.DB, cfg Config) (*Repository, error) {
	cfg.DU = strings.ToLower(cfg.DU)
	if cfg.HostLife == 0 {
		cfg.HostLife = pki.HostLife
	}
	if cfg.Revoked == nil {
		cfg.Revoked = func(wire.HostID, string) {}
	}
	if cfg.Audit == nil {
		cfg.Audit = func(context.Context, Event) {}
	}
	r := &Repository{cfg: cfg, db: db, certs: make(map[string]*certificate), hosts: make(map[wire.HostID][]*certificate)}
	if err := r.loadAuthority(ctx); err != nil {
		return nil, err
	}
	return r, r.loadCertificates(ctx)
}

func (r *Repository) loadAuthority(ctx context.Context) error {
	return r.db.Tx(ctx, func(tx *sql.Tx) error {
		var du, cert, key string
		err := tx.QueryRowContext(ctx, `SELECT du, cert, key FROM authority ORDER BY id DESC LIMIT 1`).Scan(&du, &cert, &key)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return r.makeAuthority(ctx, tx)
		case err != nil:
			return fmt.Errorf("load authority: %w", err)
		case du != r.cfg.DU:
			return fmt.Errorf("this state belongs to the deployment unit %q, the configuration says %q: a deployment unit's name is for life", du, r.cfg.DU)
		}
		r.authority, err = pki.LoadAuthority(du, []byte(cert), []byte(key))
		return err
	})
}

func (r *Repository) makeAuthority(ctx context.Context, tx *sql.Tx) error {
	a, err := pki.NewAuthority(r.cfg.DU, time.Now())
	if err != nil {
		return err
	}
	cert, key, err := a.Encode()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO authority (du, cert, key, created) VALUES ($1, $2, $3, $4)`, r.cfg.DU, string(cert), string(key), stamp(time.Now()))
	if err != nil {
		return fmt.Errorf("store authority: %w", err)
	}
	r.authority = a
	return nil
}

func (r *Repository) loadCertificates(ctx context.Context) error {
	rows, err := r.db.Read().QueryContext(ctx, `SELECT serial, host, kind, not_before, not_after, issued, how, revoked, reason FROM certificate WHERE not_after > $1 ORDER BY issued, serial`, stamp(time.Now()))
	if err != nil {
		return fmt.Errorf("load certificates: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		c, err := scanCertificate(rows)
		if err != nil {
			return fmt.Errorf("load certificates: %w", err)
		}
		r.remember(c)
	}
	return rows.Err()
}

func scanCertificate(rows *sql.Rows) (*certificate, error) {
	c := &certificate{}
	var notBefore, notAfter, issued, revoked string
	if err := rows.Scan(&c.serial, &c.host, &c.kind, &notBefore, &notAfter, &issued, &c.how, &revoked, &c.reason); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		text string
		to   *time.Time
	}{{notBefore, &c.notBefore}, {notAfter, &c.notAfter}, {issued, &c.issued}, {revoked, &c.revoked}} {
		if f.text == "" {
			continue
		}
		var err error
		if *f.to, err = time.Parse(time.RFC3339, f.text); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// remember adds a certificate and drops the host's expired ones. It must be
// called under mu, or before r is shared.
func (r *Repository) remember(c *certificate) {
	now := time.Now()
	r.hosts[c.host] = append(slices.DeleteFunc(r.hosts[c.host], func(old *certificate) bool {
		if now.Before(old.notAfter) {
			return false
		}
		delete(r.certs, old.serial)
		return true
	}), c)
	r.certs[c.serial] = c
}

// Authority returns the certificates to trust, newest first.
func (r *Repository) Authority() []*x509.Certificate { return []*x509.Certificate{r.authority.Cert} }

// Pin returns what join tokens carry of the authority.
func (r *Repository) Pin() string { return pki.Pin(r.authority.Cert) }

// Verify says who presents the chain, leaf first. Every error is a
// *pki.Refusal, in words for the host's administrator. It costs no SQL.
func (r *Repository) Verify(chain []*x509.Certificate) (pki.Identity, error) {
	now := time.Now()
	id, err := pki.VerifyPeer(chain, r.Authority(), r.cfg.DU, now)
	if err != nil {
		return pki.Identity{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, ok := r.certs[pki.Serial(chain[0])]
	switch {
	case !ok || c.host != id.Host || c.kind != id.Kind:
		return pki.Identity{}, &pki.Refusal{Reason: pki.Unknown, Text: "the certificate is not in this deployment unit's repository; enrol the host again"}
	case !c.revoked.IsZero():
		return pki.Identity{}, &pki.Refusal{Reason: pki.Revoked, Text: fmt.Sprintf("the certificate was revoked at %s (%s); enrol the host again with a join token for it", stamp(c.revoked), c.reason)}
	}
	return id, nil
}

// live returns a host's certificate in force, nil if there is none. Callers
// hold mu.
func (r *Repository) live(host wire.HostID, now time.Time) *certificate {
	for _, c := range r.hosts[host] {
		if c.revoked.IsZero() && now.Before(c.notAfter) {
			return c
		}
	}
	return nil
}

// Revoke ends all certificates of a host and has its tunnel cut. A host
// without certificates in force is no error.
func (r *Repository) Revoke(ctx context.Context, host wire.HostID, reason string) error {
	now := time.Now().UTC()
	r.mu.Lock()
	err := r.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE certificate SET revoked = $1, reason = $2 WHERE host = $3 AND revoked = ''`, stamp(now), reason, string(host))
		return err
	})
	if err != nil {
		r.mu.Unlock()
		return fmt.Errorf("revoke %s: %w", host, err)
	}
	for _, c := range r.hosts[host] {
		if c.revoked.IsZero() {
			c.revoked, c.reason = now, reason
		}
	}
	r.mu.Unlock()
	r.cfg.Revoked(host, "certificate revoked: "+reason)
	return nil
}

// stamp writes a time as the database keeps it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
