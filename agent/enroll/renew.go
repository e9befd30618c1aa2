package enroll

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"time"

	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	lookEvery  = time.Hour        // at the certificate's age
	renewRetry = 10 * time.Minute // after a failure
	renewLeast = time.Minute      // between renewals, also if a clock is wrong
)

// Renew keeps the certificate young until ctx ends: after two thirds of its
// life, give or take chance, it asks through the tunnel for a new one, and
// calls renewed, which makes a new session with it.
func (i *Identity) Renew(ctx context.Context, client *http.Client, log *slog.Logger, renewed func()) error {
	for {
		wait := time.Until(pki.RenewAt(i.Certificate()))
		if wait > 0 {
			wait = min(wait, lookEvery) + mathrand.N(time.Minute)
		} else if err := i.renewOnce(ctx, client); err != nil {
			log.Warn("certificate not renewed", "err", err, "expires", i.Certificate().NotAfter)
			wait = renewRetry + mathrand.N(renewRetry/4)
		} else {
			log.Info("certificate renewed", "expires", i.Certificate().NotAfter)
			renewed()
			wait = renewLeast
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		}
	}
}

func (i *Identity) renewOnce(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	csr, err := pki.NewRequest(key)
	if err != nil {
		return err
	}
	body, err := json.Marshal(wire.RenewRequest{CSR: string(csr)})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+wire.ServiceCertrepo+"/v1/renew", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the deployment unit answered %s: %.300s", resp.Status, text)
	}
	var cert wire.Certificate
	if err := json.Unmarshal(text, &cert); err != nil {
		return err
	}
	if err := store(i.paths, key, cert); err != nil {
		return err
	}
	return i.reload()
}

// newHostID makes a random UUID (RFC 9562, version 4).
func newHostID() wire.HostID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return wire.HostID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
