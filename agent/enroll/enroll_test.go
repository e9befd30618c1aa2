package enroll

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

// unit is a deployment unit's enrolment, over real TLS.
func unit(t *testing.T, answer func(wire.EnrollRequest) (int, any)) (du *httptest.Server, pin string, authority *pki.Authority) {
	t.Helper()
	authority, err := pki.NewAuthority("du.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.IssueServer([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	du = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q wire.EnrollRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		status, body := answer(q)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}))
	du.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS13}
	du.StartTLS()
	t.Cleanup(du.Close)
	return du, pki.Pin(authority.Cert), authority
}

// issue answers as a deployment unit does.
func issue(t *testing.T, authority **pki.Authority) func(wire.EnrollRequest) (int, any) {
	return func(q wire.EnrollRequest) (int, any) {
		key, err := pki.ParseRequest(q.CSR)
		if err != nil {
			t.Error(err)
			return 400, nil
		}
		c, err := (*authority).IssuePeer(pki.Identity{DU: "du.example", Kind: q.Kind, Host: q.HostID}, key, time.Now(), time.Hour)
		if err != nil {
			t.Error(err)
			return 500, nil
		}
		return 201, wire.Certificate{HostID: q.HostID, Certificate: string(pki.EncodeCertificates(c)), CA: string(pki.EncodeCertificates((*authority).Cert)), NotAfter: c.NotAfter}
	}
}

func TestEnrolTwiceKeepsTheHostID(t *testing.T) {
	var authority *pki.Authority
	du, pin, a := unit(t, issue(t, &authority))
	authority = a
	q := Request{DU: du.URL + "/", Token: pki.NewToken(pki.JoinToken, pin).String(), Hostname: "h", Kind: pki.KindHost, Paths: PathsUnder(t.TempDir())}
	if _, err := Load(q.Paths); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("before enrolment: %v", err)
	}
	first, err := Enroll(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Enroll(t.Context(), q)
	if err != nil || second.Host != first.Host {
		t.Fatalf("second enrolment: %v, %v, want the host %s", second, err, first.Host)
	}
	id, err := Load(q.Paths)
	if err != nil {
		t.Fatal(err)
	}
	if name, err := id.Name(); err != nil || name.Host != first.Host {
		t.Errorf("identity %v, %v", name.Host, err)
	}
	if info, err := os.Stat(q.Paths.Key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key's mode %v, %v", info.Mode(), err)
	}
	if text, err := os.ReadFile(q.Paths.DropIn); err != nil || !strings.Contains(string(text), `du = ["`+du.URL+`"]`) {
		t.Errorf("drop-in %q, %v", text, err)
	}
}

func TestEnrolSendsNothingToAStranger(t *testing.T) {
	asked := false
	du, _, _ := unit(t, func(wire.EnrollRequest) (int, any) { asked = true; return 500, nil })
	q := Request{DU: du.URL, Token: pki.NewToken(pki.JoinToken, strings.Repeat("0", 32)).String(), Kind: pki.KindHost, Paths: PathsUnder(t.TempDir())}
	if _, err := Enroll(t.Context(), q); err == nil || !strings.Contains(err.Error(), "its authority is another") || asked {
		t.Errorf("Enroll = %v, token sent: %v", err, asked)
	}
}

func TestEnrolShowsTheRefusal(t *testing.T) {
	du, pin, _ := unit(t, func(wire.EnrollRequest) (int, any) {
		return 403, map[string]string{"message": "the join token is used up"}
	})
	q := Request{DU: du.URL, Token: pki.NewToken(pki.JoinToken, pin).String(), Kind: pki.KindHost, Paths: PathsUnder(t.TempDir())}
	if _, err := Enroll(t.Context(), q); err == nil || !strings.Contains(err.Error(), "used up") {
		t.Errorf("Enroll = %v", err)
	}
	if _, err := os.Stat(q.Paths.Cert); !os.IsNotExist(err) {
		t.Errorf("a refusal left a certificate: %v", err)
	}
}

func TestEnrolSaysWhyNobodyAnswers(t *testing.T) {
	du, pin, _ := unit(t, nil)
	du.Close()
	address := strings.TrimPrefix(du.URL, "https://")
	_, port, _ := strings.Cut(address, ":")
	q := Request{DU: du.URL, Token: pki.NewToken(pki.JoinToken, pin).String(), Kind: pki.KindHost, Paths: PathsUnder(t.TempDir())}
	want := "the deployment unit " + address + " cannot be reached (connection refused): see that its address is right, and that outgoing TCP to its port " + port + " is allowed, directly or by a proxy"
	if _, err := Enroll(t.Context(), q); err == nil || err.Error() != want {
		t.Errorf("Enroll = %v\nwant %s", err, want)
	}
}

// Between the new key and the new certificate a crash must leave a pair.
func TestCrashDuringRenewalLeavesAnIdentity(t *testing.T) {
	var authority *pki.Authority
	du, pin, a := unit(t, issue(t, &authority))
	authority = a
	p := PathsUnder(t.TempDir())
	if _, err := Enroll(t.Context(), Request{DU: du.URL, Token: pki.NewToken(pki.JoinToken, pin).String(), Kind: pki.KindHost, Paths: p}); err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.next(), text, 0o600); err != nil { // crash after the key
		t.Fatal(err)
	}
	if _, err := Load(p); err != nil {
		t.Errorf("with a key that waits: %v", err)
	}
	c, err := authority.IssuePeer(pki.Identity{DU: "du.example", Kind: pki.KindHost, Host: "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a"}, &key.PublicKey, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Cert, pki.EncodeCertificates(c), 0o600); err != nil { // crash before the rename
		t.Fatal(err)
	}
	for range 2 {
		id, err := Load(p)
		if err != nil || id.Certificate().SerialNumber.Cmp(c.SerialNumber) != 0 {
			t.Fatalf("with the new certificate: %v", err)
		}
	}
}

func TestCurrentProxyHearsOfChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proxy.json")
	proxy := CurrentProxy(file, "")
	ask := func() string {
		t.Helper()
		u, err := proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: "du"}})
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(u)
	}
	for _, change := range []struct{ text, want string }{
		{"", "<nil>"},
		{`{"http_proxy":{"host":"one","port":1}}`, "http://one:1"},
		{`{"http_proxy":{"host":"two","port":2}}`, "http://two:2"},
		{`{`, file + ": unexpected end of JSON input"},
	} {
		if change.text != "" {
			if err := os.WriteFile(file, []byte(change.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := ask(); got != change.want {
			t.Errorf("with %q the proxy is %s, want %s", change.text, got, change.want)
		}
	}
}

func TestProxyFile(t *testing.T) {
	tests := []struct{ name, text, want, says string }{
		{"plain", `{"http_proxy":{"protocol":"http","host":"proxy","port":3128}}`, "http://proxy:3128", ""},
		{"port as text, with user", `{"http_proxy":{"host":"proxy","port":"8080","user":"u","pass":"p@"}}`, "http://u:p%40@proxy:8080", ""},
		{"no host", `{"http_proxy":{"port":1}}`, "", "needs a host and a port"},
		{"odd port", `{"http_proxy":{"host":"x","port":70000}}`, "", "needs a host and a port"},
		{"odd protocol", `{"http_proxy":{"host":"x","port":1,"protocol":"socks5"}}`, "", "neither http nor https"},
		{"no JSON", `{`, "", "unexpected end"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "proxy.json")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			proxy, err := Proxy(file, "")
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Fatalf("Proxy = %v, want %q", err, test.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			u, err := proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: "du"}})
			if err != nil || u.String() != test.want {
				t.Errorf("proxy %v, %v, want %s", u, err, test.want)
			}
		})
	}
	if proxy, err := Proxy(filepath.Join(t.TempDir(), "none"), ""); proxy != nil || err != nil {
		t.Errorf("without a file: %v", err)
	}
}

func FuzzProxyFile(f *testing.F) {
	f.Add([]byte(`{"http_proxy":{"protocol":"http","host":"proxy","port":3128,"user":"u","pass":"p"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, err := parseProxy(b); err == nil && (u.Hostname() == "" && u.Host == "" || u.Port() == "") {
			t.Errorf("%q gives %v", b, u)
		}
	})
}
