package tunnelserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
)

const hostA, hostB wire.HostID = "00000001-0000-4000-8000-000000000000", "00000002-0000-4000-8000-000000000000"

func certificate(t *testing.T, uri string, life time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, URIs: []*url.URL{u},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A site is a running server with what it was told.
type site struct {
	*Server
	url  string
	stop func()

	mu    sync.Mutex // guards the fields below
	lines []string
	more  chan struct{}
}

func (s *site) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
	close(s.more)
	s.more = make(chan struct{})
}

// heard waits for a line that holds text.
func (s *site) heard(t *testing.T, text string) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		lines, more := s.lines, s.more
		s.mu.Unlock()
		for _, l := range lines {
			if strings.Contains(l, text) {
				return
			}
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("never heard %q, but %q", text, lines)
		}
	}
}

func newSite(t *testing.T, limits Limits) *site {
	t.Helper()
	s := &site{more: make(chan struct{})}
	s.Server = New(Config{
		Limits: limits,
		Verify: func(_ context.Context, chain []*x509.Certificate) (Peer, error) {
			if len(chain) == 0 {
				return Peer{}, errors.New("no certificate was presented")
			}
			c := chain[0]
			id := wire.HostID(strings.TrimPrefix(c.URIs[0].Path, "/host/"))
			if c.URIs[0].Host != "du.test" {
				return Peer{Host: id}, errors.New("certificate is of another deployment unit")
			}
			return Peer{Host: id, Kind: "host", NotAfter: c.NotAfter}, nil
		},
		Refused: func(_ string, h wire.HostID, what string, err error) {
			s.say("refused " + string(h) + " " + what + " " + err.Error())
		},
		Connected:    func(p Peer) { s.say("connected " + string(p.Host)) },
		Disconnected: func(p Peer, why string) { s.say("disconnected " + string(p.Host) + " " + why) },
	})
	if err := s.Handle(wire.ServiceResmgr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := PeerOf(r.Context())
		if !ok {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = io.WriteString(w, string(p.Host))
	})); err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(tcp, &tls.Config{
		Certificates: []tls.Certificate{certificate(t, "spiffe://du.test/du", time.Hour)},
		ClientAuth:   tls.RequestClientCert, MinVersion: tls.VersionTLS13,
	}, 4, s.log)
	mux := http.NewServeMux()
	mux.Handle(wire.TunnelPath, s)
	web := &http.Server{Handler: mux}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	wg.Go(func() { web.Serve(l) })
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	s.url = "wss://" + tcp.Addr().String() + wire.TunnelPath
	s.stop = func() { cancel(); wg.Wait(); web.Close() }
	t.Cleanup(s.stop)
	return s
}

func (s *site) dial(t *testing.T, cert *tls.Certificate, services *tunnel.Services) (*tunnel.Session, error) {
	t.Helper()
	conf := &tls.Config{InsecureSkipVerify: true}
	if cert != nil {
		conf.Certificates = []tls.Certificate{*cert}
	}
	d := &tunnel.Dialer{TLS: conf, Timeout: 5 * time.Second}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return d.Connect(ctx, s.url, tunnel.Config{Services: services})
}

func (s *site) connect(t *testing.T, h wire.HostID) *tunnel.Session {
	t.Helper()
	c := certificate(t, "spiffe://du.test/host/"+string(h), time.Hour)
	session, err := s.dial(t, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close("test ends") })
	return session
}

func get(t *testing.T, dial func(ctx context.Context, service string) (net.Conn, error), service string) string {
	t.Helper()
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, service) },
	}}
	res, err := c.Get("http://" + service + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", service, res.Status, err)
	}
	return string(b)
}

func TestServicesKnowTheirPeer(t *testing.T) {
	s := newSite(t, Limits{})
	a, b := s.connect(t, hostA), s.connect(t, hostB)
	for host, session := range map[wire.HostID]*tunnel.Session{hostA: a, hostB: b} {
		if got := get(t, session.Dial, wire.ServiceResmgr); got != string(host) {
			t.Errorf("the service takes %s for %s", host, got)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if c, err := a.Dial(ctx, "no such service"); err == nil {
		_, err = c.Read(make([]byte, 1))
		if err == nil {
			t.Error("a service that nobody offers can be used")
		}
	}
	s.heard(t, "refused "+string(hostA)+` service "no such service"`)
}

func TestDialBack(t *testing.T) {
	s := newSite(t, Limits{})
	services := tunnel.NewServices()
	l, err := services.Listen(wire.ServiceAgent)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "agent A") })}
	go web.Serve(l)
	defer web.Close()
	c := certificate(t, "spiffe://du.test/host/"+string(hostA), time.Hour)
	session, err := s.dial(t, &c, services)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close("test ends")
	s.heard(t, "connected "+string(hostA))
	dial := func(ctx context.Context, service string) (net.Conn, error) { return s.Dial(ctx, hostA, service) }
	if got := get(t, dial, wire.ServiceAgent); got != "agent A" {
		t.Errorf("got %q", got)
	}
	if _, err := s.Dial(t.Context(), hostB, wire.ServiceAgent); err == nil || !strings.Contains(err.Error(), "not connected") {
		t.Errorf("dial of a host without a tunnel: %v", err)
	}
}

func ends(t *testing.T, session *tunnel.Session, reason string) {
	t.Helper()
	select {
	case <-session.Done():
	case <-time.After(10 * time.Second):
		t.Fatalf("the session goes on, want an end because of %q", reason)
	}
	if err := session.Err(); err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("the session ended with %v, want %q", err, reason)
	}
}

func TestSessionsEndWithAReason(t *testing.T) {
	s := newSite(t, Limits{})
	first := s.connect(t, hostA)
	s.heard(t, "connected "+string(hostA))
	second := s.connect(t, hostA)
	ends(t, first, "replaced by a newer session")
	s.heard(t, "disconnected "+string(hostA)+" replaced")
	if !s.Kick(hostA, "certificate revoked") {
		t.Error("the newer session was not there to kick")
	}
	ends(t, second, "certificate revoked")
	s.heard(t, "disconnected "+string(hostA)+" certificate revoked")
	s.connect(t, hostB).Close("agent stops")
	s.heard(t, "disconnected "+string(hostB)+" closed by the agent: agent stops")
	short := certificate(t, "spiffe://du.test/host/"+string(hostA), time.Second)
	session, err := s.dial(t, &short, nil)
	if err != nil {
		t.Fatal(err)
	}
	ends(t, session, "certificate has expired")
}

func TestRefusalsSayWhy(t *testing.T) {
	s := newSite(t, Limits{Sessions: 1})
	foreign := certificate(t, "spiffe://du.elsewhere/host/"+string(hostA), time.Hour)
	good := certificate(t, "spiffe://du.test/host/"+string(hostB), time.Hour)
	s.connect(t, hostA)
	for _, tc := range []struct {
		cert   *tls.Certificate
		status int
		text   string
	}{
		{nil, 403, "no certificate"},
		{&foreign, 403, "another deployment unit"},
		{&good, 503, "no more are accepted"},
	} {
		_, err := s.dial(t, tc.cert, nil)
		se, ok := errors.AsType[*tunnel.StatusError](err)
		if !ok || se.Code != tc.status || !strings.Contains(se.Message, tc.text) {
			t.Errorf("got %v, want status %d with %q", err, tc.status, tc.text)
		}
		if tc.status == 503 && (!ok || se.RetryAfter <= 0) {
			t.Errorf("no Retry-After: %v", err)
		}
	}
	s.heard(t, "refused "+string(hostA)+" tunnel certificate is of another")
}

func TestShutdownEndsSessions(t *testing.T) {
	s := newSite(t, Limits{})
	session := s.connect(t, hostA)
	s.heard(t, "connected "+string(hostA))
	s.stop()
	ends(t, session, "")
	s.heard(t, "disconnected "+string(hostA))
	if s.Sessions() != 0 {
		t.Error("sessions are left")
	}
}

func TestBucket(t *testing.T) {
	b := newBucket(2)
	now := time.Now()
	for i, want := range []bool{true, true, false, false} {
		if got := b.take(now) == 0; got != want {
			t.Errorf("attempt %d passes: %v", i, got)
		}
	}
	if b.take(now.Add(time.Second)) != 0 {
		t.Error("nothing passes a second later")
	}
}
