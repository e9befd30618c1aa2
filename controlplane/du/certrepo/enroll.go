package certrepo

import (
	"context"
	"crypto/ecdsa"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

// Enroll trades a join token for a certificate. A host that has one in force
// needs a token made for it, so that nobody takes its name by a general one.
func (r *Repository) Enroll(ctx context.Context, q wire.EnrollRequest, remote string) (wire.Certificate, error) {
	cert, err := r.enroll(ctx, q)
	r.cfg.Audit(ctx, Event{Actor: "host " + string(q.HostID), Action: "host.enroll", Object: string(q.HostID), Remote: remote, Err: err})
	return cert, err
}

func (r *Repository) enroll(ctx context.Context, q wire.EnrollRequest) (wire.Certificate, error) {
	token, err := pki.ParseToken(pki.JoinToken, q.Token)
	if err != nil {
		return wire.Certificate{}, httpapi.Errorf(http.StatusUnauthorized, "join token: %v", err)
	}
	if err := q.HostID.Validate(); err != nil {
		return wire.Certificate{}, httpapi.Errorf(http.StatusBadRequest, "%v", err)
	}
	if q.Kind != pki.KindHost && q.Kind != pki.KindGateway {
		return wire.Certificate{}, httpapi.Errorf(http.StatusBadRequest, "kind %.40q: want host or gateway", q.Kind)
	}
	key, err := pki.ParseRequest(q.CSR)
	if err != nil {
		return wire.Certificate{}, httpapi.Errorf(http.StatusBadRequest, "%v", err)
	}
	id := pki.Identity{DU: r.cfg.DU, Kind: q.Kind, Host: q.HostID}
	return r.issue(ctx, id, key, "token "+token.ID, func(tx *sql.Tx) error {
		return r.useToken(ctx, tx, token, q)
	})
}

// Renew gives the holder of a certificate a new one. The old one stays in force
// until it expires: the tunnel that stands on it must not fall.
func (r *Repository) Renew(ctx context.Context, id pki.Identity, q wire.RenewRequest) (wire.Certificate, error) {
	key, err := pki.ParseRequest(q.CSR)
	if err != nil {
		return wire.Certificate{}, httpapi.Errorf(http.StatusBadRequest, "%v", err)
	}
	return r.issue(ctx, id, key, "renewal", func(*sql.Tx) error {
		if r.live(id.Host, time.Now()) == nil {
			return httpapi.Errorf(http.StatusForbidden, "the host has no certificate in force; enrol it again with a join token for it")
		}
		return nil
	})
}

// issue makes and records a certificate if allow says nothing against it.
func (r *Repository) issue(ctx context.Context, id pki.Identity, key *ecdsa.PublicKey, how string, allow func(*sql.Tx) error) (wire.Certificate, error) {
	now := time.Now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out wire.Certificate
	var rec *certificate
	err := r.db.Tx(ctx, func(tx *sql.Tx) error {
		if err := allow(tx); err != nil {
			return err
		}
		c, err := r.authority.IssuePeer(id, key, now, r.cfg.HostLife)
		if err != nil {
			return err
		}
		rec = &certificate{serial: pki.Serial(c), host: id.Host, kind: id.Kind, notBefore: c.NotBefore, notAfter: c.NotAfter, issued: now, how: how}
		out = wire.Certificate{
			HostID:      id.Host,
			Certificate: string(pki.EncodeCertificates(c)),
			CA:          string(pki.EncodeCertificates(r.Authority()...)),
			NotAfter:    c.NotAfter,
			RenewAt:     pki.RenewAt(c),
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO certificate (serial, host, kind, not_before, not_after, issued, how, revoked, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, '', '')`,
			rec.serial, string(rec.host), rec.kind, stamp(rec.notBefore), stamp(rec.notAfter), stamp(rec.issued), rec.how)
		if err != nil {
			return fmt.Errorf("store certificate: %w", err)
		}
		return nil
	})
	if err != nil {
		return wire.Certificate{}, err
	}
	r.remember(rec)
	return out, nil
}

// useToken takes one use of the token, or says why not.
func (r *Repository) useToken(ctx context.Context, tx *sql.Tx, token pki.Token, q wire.EnrollRequest) error {
	t, hash, err := readToken(ctx, tx, token.ID)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !token.Matches(hash) {
		return httpapi.Errorf(http.StatusUnauthorized, "the join token is not known here; is it another deployment unit's?")
	}
	if err != nil {
		return err
	}
	now := time.Now()
	switch {
	case t.Revoked:
		return httpapi.Errorf(http.StatusForbidden, "the join token was revoked")
	case !now.Before(t.Expires):
		return httpapi.Errorf(http.StatusForbidden, "the join token expired at %s; ask for a new one", stamp(t.Expires))
	case t.UsesLeft <= 0:
		return httpapi.Errorf(http.StatusForbidden, "the join token is used up (%d of %d uses); ask for a new one", t.Uses, t.Uses)
	case t.Kind != q.Kind && t.Kind != api.AnyKind:
		return httpapi.Errorf(http.StatusForbidden, "the join token is for a %s, this is a %s: ask for one of pf9ctl token create --kind %s", t.Kind, q.Kind, q.Kind)
	case t.Host != "" && t.Host != q.HostID:
		return httpapi.Errorf(http.StatusForbidden, "the join token is for host %s, this is %s", t.Host, q.HostID)
	}
	if t.Host == "" {
		if err := r.mayTakeName(ctx, tx, q.HostID, now); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `UPDATE join_token SET left_uses = left_uses - 1 WHERE id = $1`, token.ID)
	return err
}

// mayTakeName says whether a host may enrol under its id by a general token.
func (r *Repository) mayTakeName(ctx context.Context, tx *sql.Tx, host wire.HostID, now time.Time) error {
	if r.live(host, now) != nil {
		return httpapi.Errorf(http.StatusConflict, "host %s has a certificate in force; to enrol it again use a join token made for this host", host)
	}
	var revoked, reason string
	err := tx.QueryRowContext(ctx, `SELECT revoked, reason FROM certificate WHERE host = $1 ORDER BY issued DESC, revoked DESC LIMIT 1`, string(host)).Scan(&revoked, &reason)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	case revoked != "":
		return httpapi.Errorf(http.StatusForbidden, "host %s was revoked (%s); to enrol it again use a join token made for this host", host, reason)
	}
	return nil
}
