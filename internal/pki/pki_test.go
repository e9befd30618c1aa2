package pki_test

import (
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/pki"
)

const (
	du   = "acme.example"
	uuid = "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a"
)

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func authority(t testing.TB) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(du, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t testing.TB, a *pki.Authority, id pki.Identity) *x509.Certificate {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pki.ParseRequest(string(request))
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.IssuePeer(id, public, now, pki.HostLife)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVerifyPeer(t *testing.T) {
	a, other := authority(t), authority(t)
	id := pki.Identity{DU: du, Kind: pki.KindHost, Host: uuid}
	good := issue(t, a, id)
	server, err := a.IssueServer([]string{du, "127.0.0.1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	roots := []*x509.Certificate{a.Cert}
	tests := []struct {
		name  string
		chain []*x509.Certificate
		du    string
		at    time.Time
		want  pki.Reason // "" for accepted
		says  string
	}{
		{"good", []*x509.Certificate{good}, du, now, "", ""},
		{"good with its authority", []*x509.Certificate{good, a.Cert}, du, now, "", ""},
		{"none", nil, du, now, pki.Missing, "enrol the host"},
		{"foreign", []*x509.Certificate{issue(t, other, id)}, du, now, pki.Foreign, "another authority"},
		{"foreign that brings its authority", []*x509.Certificate{issue(t, other, id), other.Cert}, du, now, pki.Foreign, "another authority"},
		{"expired", []*x509.Certificate{good}, du, now.Add(pki.HostLife + time.Second), pki.Expired, "expired at 2026-03-11"},
		{"future", []*x509.Certificate{good}, du, now.Add(-time.Hour), pki.NotYet, "check the clocks"},
		{"for another deployment unit", []*x509.Certificate{good}, "other.example", now, pki.WrongDU, "this is other.example"},
		{"a server's", []*x509.Certificate{server.Leaf}, du, now, pki.Malformed, "does not verify"},
		{"the authority itself", []*x509.Certificate{a.Cert}, du, now, pki.Malformed, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := pki.VerifyPeer(test.chain, roots, test.du, test.at)
			if test.want == "" {
				if err != nil || got != id {
					t.Fatalf("VerifyPeer = %v, %v, want %v", got, err, id)
				}
				return
			}
			r, ok := errors.AsType[*pki.Refusal](err)
			if !ok || r.Reason != test.want || !strings.Contains(r.Text, test.says) {
				t.Errorf("VerifyPeer = %v, want a refusal for %q that says %q", err, test.want, test.says)
			}
		})
	}
}

func TestAuthoritySurvivesStorage(t *testing.T) {
	a := authority(t)
	cert, key, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := pki.LoadAuthority(du, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	id := pki.Identity{DU: du, Kind: pki.KindGateway, Host: uuid}
	if _, err := pki.VerifyPeer([]*x509.Certificate{issue(t, b, id)}, []*x509.Certificate{a.Cert}, du, now); err != nil {
		t.Error(err)
	}
	_, otherKey, err := authority(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadAuthority(du, cert, otherKey); err == nil {
		t.Error("an authority loaded with a foreign key")
	}
}

func TestIdentityOfRefusesOddNames(t *testing.T) {
	for _, name := range []string{
		"https://acme.example/host/" + uuid,
		"spiffe://acme.example/host/" + strings.ToUpper(uuid),
		"spiffe://acme.example/host/" + uuid + "/more",
		"spiffe://acme.example/admin/" + uuid,
		"spiffe://acme.example/host/../" + uuid,
		"spiffe:///host/" + uuid,
		"spiffe://acme.example/host/" + uuid + "?x=1",
		"spiffe://acme.example//host/" + uuid,
	} {
		u, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := pki.IdentityOf(&x509.Certificate{URIs: []*url.URL{u}}); err == nil {
			t.Errorf("%s is taken for %v", name, id)
		}
	}
	good := pki.Identity{DU: du, Kind: pki.KindHost, Host: uuid}.URI()
	if _, err := pki.IdentityOf(&x509.Certificate{URIs: []*url.URL{good, good}}); err == nil {
		t.Error("a certificate with two names is taken for one")
	}
}

func FuzzParseRequest(f *testing.F) {
	key, err := pki.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	request, err := pki.NewRequest(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(request))
	f.Add("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := pki.ParseRequest(text); err == nil && key == nil {
			t.Error("neither a key nor an error")
		}
	})
}

func FuzzIdentityOf(f *testing.F) {
	f.Add("spiffe://acme.example/host/" + uuid)
	f.Fuzz(func(t *testing.T, name string) {
		u, err := url.Parse(name)
		if err != nil {
			return
		}
		id, err := pki.IdentityOf(&x509.Certificate{URIs: []*url.URL{u}})
		if err == nil && (id.Host.Validate() != nil || id.URI().String() != u.String()) {
			t.Errorf("%q gives %v", name, id)
		}
	})
}

func FuzzParseCertificates(f *testing.F) {
	f.Add([]byte(pki.EncodeCertificates(authority(f).Cert)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if certs, err := pki.ParseCertificates(b); err == nil && len(certs) == 0 {
			t.Error("neither certificates nor an error")
		}
	})
}
