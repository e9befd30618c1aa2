package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Reason says in one word why a certificate is refused, for metrics and audit.
type Reason string

// The reasons for a refusal.
const (
	Missing   Reason = "missing"
	Malformed Reason = "malformed"
	Foreign   Reason = "foreign"
	Expired   Reason = "expired"
	NotYet    Reason = "not_yet_valid"
	WrongDU   Reason = "wrong_du"
	Revoked   Reason = "revoked"
	Unknown   Reason = "unknown"
)

// Refusal is why a certificate does not identify its holder. Its text is for
// the administrator of the host.
type Refusal struct {
	Reason Reason
	Text   string
}

func (r *Refusal) Error() string { return r.Text }

func refuse(why Reason, format string, args ...any) *Refusal {
	return &Refusal{why, fmt.Sprintf(format, args...)}
}

// VerifyPeer says who presents the chain, leaf first. roots are the authorities
// of the deployment unit du. Every error is a *Refusal.
func VerifyPeer(chain []*x509.Certificate, roots []*x509.Certificate, du string, now time.Time) (Identity, error) {
	if len(chain) == 0 {
		return Identity{}, refuse(Missing, "no client certificate was presented; enrol the host with a join token first")
	}
	leaf := chain[0]
	if !signedByOne(leaf, roots) {
		return Identity{}, refuse(Foreign, "the certificate is from another authority (%q); enrol the host with this deployment unit", leaf.Issuer.CommonName)
	}
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	switch {
	case now.After(leaf.NotAfter):
		return Identity{}, refuse(Expired, "the certificate expired at %s; enrol the host again with a join token for it", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return Identity{}, refuse(NotYet, "the certificate is not valid before %s; check the clocks", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return Identity{}, refuse(verifyReason(err), "the certificate does not verify: %v", err)
	}
	id, err := IdentityOf(leaf)
	if err != nil {
		return Identity{}, refuse(Malformed, "%v", err)
	}
	if id.DU != du {
		return Identity{}, refuse(WrongDU, "the certificate is for deployment unit %s, this is %s", id.DU, du)
	}
	return id, nil
}

func signedByOne(leaf *x509.Certificate, roots []*x509.Certificate) bool {
	for _, r := range roots {
		if leaf.CheckSignatureFrom(r) == nil {
			return true
		}
	}
	return false
}

func verifyReason(err error) Reason {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return Expired
	}
	return Malformed
}
