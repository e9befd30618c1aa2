package certrepo_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpf9/openpf9/controlplane/du/certrepo"
	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/sqldb"
	"github.com/openpf9/openpf9/internal/wire"
)

const du = "acme.example"

func host(n int) wire.HostID { return wire.HostID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", n)) }

func open(t testing.TB, file string, cfg certrepo.Config) *certrepo.Repository {
	t.Helper()
	db, err := sqldb.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), certrepo.Schema()); err != nil {
		t.Fatal(err)
	}
	if cfg.DU == "" {
		cfg.DU = du
	}
	r, err := certrepo.New(t.Context(), db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func csr(t testing.TB) string {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func token(t testing.TB, r *certrepo.Repository, q api.JoinTokenRequest) api.NewJoinToken {
	t.Helper()
	made, err := r.CreateToken(t.Context(), q, "admin")
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func chain(t testing.TB, c wire.Certificate) []*x509.Certificate {
	t.Helper()
	certs, err := pki.ParseCertificates([]byte(c.Certificate))
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

func TestEnrollVerifyRenewRevoke(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	var cut []wire.HostID
	r := open(t, file, certrepo.Config{Revoked: func(h wire.HostID, _ string) { cut = append(cut, h) }})
	first, err := r.Enroll(t.Context(), wire.EnrollRequest{Token: token(t, r, api.JoinTokenRequest{}).Secret, CSR: csr(t), HostID: host(1), Kind: "host"}, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.Verify(chain(t, first))
	if want := (pki.Identity{DU: du, Kind: "host", Host: host(1)}); err != nil || id != want {
		t.Fatalf("Verify = %v, %v, want %v", id, err, want)
	}
	second, err := r.Renew(t.Context(), id, wire.RenewRequest{CSR: csr(t)})
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, file, certrepo.Config{}) // after a restart
	for _, c := range []wire.Certificate{first, second} {
		if _, err := again.Verify(chain(t, c)); err != nil {
			t.Errorf("after a restart: %v", err)
		}
	}
	if err := r.Revoke(t.Context(), host(1), "lost laptop"); err != nil {
		t.Fatal(err)
	}
	if len(cut) != 1 || cut[0] != host(1) {
		t.Errorf("tunnels cut: %v, want the host's", cut)
	}
	for _, repo := range []*certrepo.Repository{r, open(t, file, certrepo.Config{})} {
		_, err := repo.Verify(chain(t, second))
		if refusal, ok := errors.AsType[*pki.Refusal](err); !ok || refusal.Reason != pki.Revoked || !strings.Contains(refusal.Text, "lost laptop") {
			t.Errorf("Verify of a revoked certificate = %v", err)
		}
	}
	if _, err := r.Renew(t.Context(), id, wire.RenewRequest{CSR: csr(t)}); err == nil {
		t.Error("a revoked host renewed its certificate")
	}
	// A host's own token brings it back, a general one does not.
	if _, err := r.Enroll(t.Context(), wire.EnrollRequest{Token: token(t, r, api.JoinTokenRequest{}).Secret, CSR: csr(t), HostID: host(1), Kind: "host"}, ""); err == nil || !strings.Contains(err.Error(), "lost laptop") {
		t.Errorf("a general token brought a revoked host back: %v", err)
	}
	if _, err := r.Enroll(t.Context(), wire.EnrollRequest{Token: token(t, r, api.JoinTokenRequest{Host: host(1)}).Secret, CSR: csr(t), HostID: host(1), Kind: "host"}, ""); err != nil {
		t.Errorf("the host's own token: %v", err)
	}
}

func TestEnrollRefuses(t *testing.T) {
	var audited []certrepo.Event
	r := open(t, filepath.Join(t.TempDir(), "db"), certrepo.Config{Audit: func(_ context.Context, e certrepo.Event) { audited = append(audited, e) }})
	other := open(t, filepath.Join(t.TempDir(), "db"), certrepo.Config{DU: "other.example"})
	used := token(t, r, api.JoinTokenRequest{})
	if _, err := r.Enroll(t.Context(), wire.EnrollRequest{Token: used.Secret, CSR: csr(t), HostID: host(1), Kind: "host"}, ""); err != nil {
		t.Fatal(err)
	}
	revoked := token(t, r, api.JoinTokenRequest{})
	if err := r.RevokeToken(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	good := token(t, r, api.JoinTokenRequest{Uses: 100}).Secret
	tests := []struct {
		name   string
		q      wire.EnrollRequest
		status int
		says   string
	}{
		{"no token", wire.EnrollRequest{HostID: host(2), Kind: "host"}, 401, "copied whole"},
		{"unknown token", wire.EnrollRequest{Token: token(t, other, api.JoinTokenRequest{}).Secret, HostID: host(2), Kind: "host"}, 401, "not known here"},
		{"used up", wire.EnrollRequest{Token: used.Secret, HostID: host(2), Kind: "host"}, 403, "used up"},
		{"revoked", wire.EnrollRequest{Token: revoked.Secret, HostID: host(2), Kind: "host"}, 403, "was revoked"},
		{"wrong kind", wire.EnrollRequest{Token: good, HostID: host(2), Kind: "gateway"}, 403, "for a host"},
		{"wrong kind, for a gateway", wire.EnrollRequest{Token: token(t, r, api.JoinTokenRequest{Kind: "gateway"}).Secret, HostID: host(2), Kind: "host"}, 403, "for a gateway"},
		{"any is no kind of a peer", wire.EnrollRequest{Token: token(t, r, api.JoinTokenRequest{Kind: "any"}).Secret, HostID: host(2), Kind: "any"}, 400, "host or gateway"},
		{"no kind", wire.EnrollRequest{Token: good, HostID: host(2)}, 400, "host or gateway"},
		{"other host's", wire.EnrollRequest{Token: token(t, r, api.JoinTokenRequest{Host: host(9)}).Secret, HostID: host(2), Kind: "host"}, 403, "for host 00000009"},
		{"taken name", wire.EnrollRequest{Token: good, HostID: host(1), Kind: "host"}, 409, "made for this host"},
		{"odd host id", wire.EnrollRequest{Token: good, HostID: "../x", Kind: "host"}, 400, "not a lower-case UUID"},
		{"odd request", wire.EnrollRequest{Token: good, HostID: host(2), Kind: "host", CSR: "x"}, 400, "PEM block"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.q.CSR == "" {
				test.q.CSR = csr(t)
			}
			before := len(audited)
			_, err := r.Enroll(t.Context(), test.q, "192.0.2.1")
			e, ok := errors.AsType[*httpapi.Error](err)
			if !ok || e.Status != test.status || !strings.Contains(e.Message, test.says) {
				t.Errorf("Enroll = %v, want status %d and %q", err, test.status, test.says)
			}
			if len(audited) != before+1 || audited[before].Err == nil || audited[before].Remote != "192.0.2.1" {
				t.Errorf("audit has %v, want the refusal", audited[before:])
			}
		})
	}
}

func TestTheTokenSaysWhatMayEnrol(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "db"), certrepo.Config{})
	for n, test := range []struct{ token, peer string }{
		{"host", "host"}, {"", "host"}, {"gateway", "gateway"}, {"any", "host"}, {"any", "gateway"},
	} {
		made := token(t, r, api.JoinTokenRequest{Kind: test.token})
		cert, err := r.Enroll(t.Context(), wire.EnrollRequest{Token: made.Secret, CSR: csr(t), HostID: host(n), Kind: test.peer}, "")
		if err != nil {
			t.Errorf("a %s with a token for %q: %v", test.peer, test.token, err)
			continue
		}
		leaf := chain(t, cert)
		if want := fmt.Sprintf("spiffe://%s/%s/%s", du, test.peer, host(n)); len(leaf[0].URIs) != 1 || leaf[0].URIs[0].String() != want {
			t.Errorf("the certificate names %v, want %s", leaf[0].URIs, want)
		}
		id, err := r.Verify(leaf)
		if err != nil || id.Kind != test.peer {
			t.Errorf("Verify = %v, %v", id, err)
		}
		renewed, err := r.Renew(t.Context(), id, wire.RenewRequest{CSR: csr(t)})
		if err != nil || chain(t, renewed)[0].URIs[0].String() != leaf[0].URIs[0].String() {
			t.Errorf("the renewed certificate is another's: %v", err)
		}
	}
	if _, err := r.CreateToken(t.Context(), api.JoinTokenRequest{Kind: "switch"}, "admin"); err == nil || !strings.Contains(err.Error(), "host, gateway or any") {
		t.Errorf("a token for a switch: %v", err)
	}
}

func TestTokensExpire(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "db"), certrepo.Config{})
	made := token(t, r, api.JoinTokenRequest{TTLSeconds: 1})
	for time.Now().Before(made.Expires) { // SQLite's clock is the real one
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	_, err := r.Enroll(t.Context(), wire.EnrollRequest{Token: made.Secret, CSR: csr(t), HostID: host(1), Kind: "host"}, "")
	if err == nil || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("Enroll = %v, want expired", err)
	}
}

func TestTokenIsUsedNoMoreThanItMay(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "db"), certrepo.Config{})
	const uses = 3
	secret := token(t, r, api.JoinTokenRequest{Uses: uses}).Secret
	var done atomic.Int32
	var wg sync.WaitGroup
	for n := range 12 {
		request := csr(t)
		wg.Go(func() {
			if _, err := r.Enroll(t.Context(), wire.EnrollRequest{Token: secret, CSR: request, HostID: host(n), Kind: "host"}, ""); err == nil {
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if done.Load() != uses {
		t.Errorf("a token for %d uses enrolled %d hosts", uses, done.Load())
	}
}

func TestVerifyKnowsItsOwnOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	r := open(t, file, certrepo.Config{})
	other := open(t, filepath.Join(t.TempDir(), "db"), certrepo.Config{})
	c, err := other.Enroll(t.Context(), wire.EnrollRequest{Token: token(t, other, api.JoinTokenRequest{}).Secret, CSR: csr(t), HostID: host(1), Kind: "host"}, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Verify(chain(t, c))
	if refusal, ok := errors.AsType[*pki.Refusal](err); !ok || refusal.Reason != pki.Foreign {
		t.Errorf("Verify of a certificate of a namesake = %v, want foreign", err)
	}
}

func TestStateBelongsToOneName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	open(t, file, certrepo.Config{})
	db, err := sqldb.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := certrepo.New(t.Context(), db, certrepo.Config{DU: "other.example"}); err == nil || !strings.Contains(err.Error(), "for life") {
		t.Errorf("New under another name = %v", err)
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "db"), certrepo.Config{})
	s := httptest.NewServer(httpapi.New(r.Routes(), httpapi.Options{}))
	defer s.Close()
	body, err := json.Marshal(wire.EnrollRequest{Token: pki.NewToken(pki.JoinToken, r.Pin()).String(), CSR: csr(t), HostID: host(1), Kind: "host"})
	if err != nil {
		t.Fatal(err)
	}
	status := make(map[int]int)
	for range 60 {
		resp, err := s.Client().Post(s.URL+"/api/v1/enroll", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		status[resp.StatusCode]++
		if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	// The minute may turn once meanwhile.
	if status[http.StatusUnauthorized] > 40 || status[http.StatusTooManyRequests] < 20 {
		t.Errorf("60 guesses were answered %v", status)
	}
}

func FuzzEnroll(f *testing.F) {
	r := open(f, filepath.Join(f.TempDir(), "db"), certrepo.Config{})
	h := httpapi.New(r.Routes(), httpapi.Options{})
	good := token(f, r, api.JoinTokenRequest{Uses: 1000, TTLSeconds: 3600})
	for _, secret := range []string{good.Secret, "pf9j1.aaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaa.00000000000000000000000000000000"} {
		body, err := json.Marshal(wire.EnrollRequest{Token: secret, CSR: csr(f), HostID: host(1), Hostname: "h", Kind: "host"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	calls := 0
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodPost, "/api/v1/enroll", bytes.NewReader(body))
		calls++ // from ever new addresses, or all but the first would be told to wait
		req.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1", calls>>16&0xff, calls>>8&0xff, calls&0xff)
		h.ServeHTTP(w, req)
		if w.Code == http.StatusTooManyRequests || w.Code >= 500 || w.Code < 400 && w.Code != http.StatusCreated {
			t.Errorf("%q was answered %d %s", body, w.Code, w.Body)
		}
	})
}
