package certrepo

import (
	"crypto/tls"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/pki"
)

// serverCertificate is the deployment unit's own certificate, made anew when
// two thirds of its life are over. It is never stored.
type serverCertificate struct {
	mu   sync.Mutex // guards cert
	cert *tls.Certificate
}

// ServerCertificate has the form of tls.Config.GetCertificate.
func (r *Repository) ServerCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	now := time.Now()
	if c := r.server.cert; c != nil && now.Before(pki.RenewAt(c.Leaf)) {
		return c, nil
	}
	c, err := r.authority.IssueServer(append([]string{r.cfg.DU}, r.cfg.ServerNames...), now)
	if err != nil {
		return nil, err
	}
	r.server.cert = c
	return c, nil
}
