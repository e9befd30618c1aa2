package tunnel_test

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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/tunnel"
	"golang.org/x/net/nettest"
)

// keys are TLS configurations of both ends, with client certificates.
func keys(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(192, 0, 2, 2)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	server = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
	client = &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool}
	return server, client
}

// server accepts tunnels on real TLS until the test ends.
type server struct {
	URL      string
	TLS      *tls.Config // for clients
	Services *tunnel.Services
	sessions chan *tunnel.Session
}

func serve(t testing.TB, c tunnel.Config, l net.Listener) *server {
	t.Helper()
	serverTLS, clientTLS := keys(t)
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	if c.Services == nil {
		c.Services = tunnel.NewServices()
	}
	s := &server{URL: "wss://" + l.Addr().String() + "/tunnel", TLS: clientTLS, Services: c.Services, sessions: make(chan *tunnel.Session, 2000)}
	h := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := tunnel.Upgrade(w, r, c)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		s.sessions <- session
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Serve(tls.NewListener(tunnel.Cork(l), serverTLS)) })
	t.Cleanup(func() {
		_ = h.Close()
		wg.Wait()
	})
	return s
}

// pair returns both ends of a session.
func pair(t testing.TB, atServer, atClient tunnel.Config) (s, c *tunnel.Session) {
	t.Helper()
	srv := serve(t, atServer, nil)
	c, err := (&tunnel.Dialer{TLS: srv.TLS}).Connect(t.Context(), srv.URL, atClient)
	if err != nil {
		t.Fatal(err)
	}
	s = <-srv.sessions
	t.Cleanup(func() {
		_ = c.Close("the test has ended")
		_ = s.Close("the test has ended")
		c.Wait()
		s.Wait()
	})
	return s, c
}

func listen(t testing.TB, s *tunnel.Services, name string) net.Listener {
	t.Helper()
	l, err := s.Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// echo serves a service that sends back what it gets.
func echo(t testing.TB, s *tunnel.Services, name string) {
	t.Helper()
	l := listen(t, s, name)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
}

func TestStreamsAreConnections(t *testing.T) {
	for name, byServer := range map[string]bool{"dialled by the server": true, "dialled by the client": false} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				services := tunnel.NewServices()
				l := listen(t, services, "s")
				s, c := pair(t, tunnel.Config{Services: services}, tunnel.Config{Services: services})
				from := c
				if byServer {
					from = s
				}
				if c1, err = from.Dial(t.Context(), "s"); err != nil {
					return nil, nil, nil, err
				}
				c2, err = l.Accept()
				return c1, c2, func() {
					_ = c1.Close()
					_ = c2.Close()
					_ = l.Close()
				}, err
			})
		})
	}
}

func TestHalfClose(t *testing.T) {
	services := tunnel.NewServices()
	l := listen(t, services, "sum")
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		b, err := io.ReadAll(c) // ends when the far side half-closes
		if err != nil {
			t.Error(err)
		}
		_, _ = c.Write([]byte(strings.ToUpper(string(b))))
	})
	_, client := pair(t, tunnel.Config{Services: services}, tunnel.Config{})
	c, err := client.Dial(t.Context(), "sum")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*tunnel.Stream).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "HELLO" {
		t.Errorf("answer = %q, %v", b, err)
	}
	if _, err := c.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after half-close = %v", err)
	}
}

func TestRefusalResetsOnlyItsStream(t *testing.T) {
	services := tunnel.NewServices()
	echo(t, services, "echo")
	listen(t, services, "secret")
	refused := make(chan string, 4)
	_, client := pair(t, tunnel.Config{
		Services: services,
		Allow: func(_ *tunnel.Session, service string) error {
			if service == "secret" {
				return errors.New("your roles do not name it")
			}
			return nil
		},
		Refused: func(_ *tunnel.Session, service string, err error) { refused <- service + ": " + err.Error() },
	}, tunnel.Config{})
	good, err := client.Dial(t.Context(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	for service, want := range map[string]string{"secret": "your roles do not name it", "nothing": `no service "nothing" here`} {
		c, err := client.Dial(t.Context(), service)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Read(make([]byte, 1))
		if e, ok := errors.AsType[*tunnel.StreamError](err); !ok || !e.Remote || e.Reason != want {
			t.Errorf("read of %s = %v, want %q", service, err, want)
		}
		if got := <-refused; got != service+": "+want {
			t.Errorf("audit got %q", got)
		}
		_ = c.Close()
	}
	roundTrip(t, good, 10)
}

func roundTrip(t testing.TB, c net.Conn, n int) {
	t.Helper()
	out := make([]byte, n)
	_, _ = rand.Read(out)
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	in := make([]byte, n)
	if _, err := io.ReadFull(c, in); err != nil {
		t.Fatal(err)
	}
	if string(in) != string(out) {
		t.Fatal("the echo is not what was sent")
	}
}

func TestCloseReasonReachesBothEnds(t *testing.T) {
	server, client := pair(t, tunnel.Config{}, tunnel.Config{})
	_ = server.Close("the certificate was revoked")
	<-client.Done()
	if e, ok := errors.AsType[*tunnel.CloseError](client.Err()); !ok || !e.Remote || e.Reason != "the certificate was revoked" {
		t.Errorf("far end's error = %v", client.Err())
	}
	if e, ok := errors.AsType[*tunnel.CloseError](server.Err()); !ok || e.Remote {
		t.Errorf("own error = %v", server.Err())
	}
	if _, err := client.Dial(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("dial afterwards = %v", err)
	}
}

func TestStalledReadersStopNobody(t *testing.T) {
	services := tunnel.NewServices()
	echo(t, services, "echo")
	stalled := listen(t, services, "stalled") // accepted, never read
	server, client := pair(t, tunnel.Config{Services: services}, tunnel.Config{})
	var wg sync.WaitGroup
	defer wg.Wait() // after the streams are closed
	for range 16 {
		c, err := client.Dial(t.Context(), "stalled")
		if err != nil {
			t.Fatal(err)
		}
		far, err := stalled.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		wg.Go(func() { _, _ = c.Write(make([]byte, 4<<20)) })
		defer c.Close()
	}
	c, err := client.Dial(t.Context(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 20 {
		roundTrip(t, c, 1000)
		echoed := make(chan struct{})
		go func() { // ends with the round trip
			_, _ = io.CopyN(io.Discard, c, 1<<20)
			close(echoed)
		}()
		if _, err := c.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		<-echoed
	}
	if in := server.Stats().Received; in > 16*(64<<10)+21<<20+(1<<20) {
		t.Errorf("the far side took in %d bytes for streams that nobody reads", in)
	}
}

func TestFullDuplexNeverStops(t *testing.T) {
	services := tunnel.NewServices()
	echo(t, services, "echo")
	_, client := pair(t, tunnel.Config{Services: services}, tunnel.Config{})
	var wg sync.WaitGroup
	for range 4 {
		c, err := client.Dial(t.Context(), "echo")
		if err != nil {
			t.Fatal(err)
		}
		const total = 16 << 20
		wg.Go(func() {
			if _, err := c.Write(make([]byte, total)); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			defer c.Close()
			if n, err := io.CopyN(io.Discard, c, total); err != nil {
				t.Errorf("after %d bytes: %v", n, err)
			}
		})
	}
	wg.Wait()
}

func TestTooManyStreamsAreRefused(t *testing.T) {
	services := tunnel.NewServices()
	l := listen(t, services, "s")
	_, client := pair(t, tunnel.Config{Services: services, MaxStreams: 3}, tunnel.Config{})
	var first net.Conn
	for i := range 4 {
		c, err := client.Dial(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i == 0 {
			first = c
		}
		if i < 3 {
			far, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			continue
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "too many streams") {
			t.Errorf("the fourth of three streams: %v", err)
		}
	}
	_ = first.Close()
	c, err := client.Dial(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a stream in the place of a closed one: %v", err)
	}
}

func TestSilenceEndsTheSession(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := serve(t, tunnel.Config{Keepalive: 50 * time.Millisecond}, l)
	gate := &gated{open: make(chan struct{})}
	c, err := (&tunnel.Dialer{TLS: srv.TLS, DialContext: gate.dial}).Connect(t.Context(), srv.URL, tunnel.Config{Keepalive: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close("")
	s := <-srv.sessions
	close(gate.open) // from now on the client hears nothing and says nothing
	select {
	case <-s.Done():
	case <-t.Context().Done():
	}
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "nothing heard") {
		t.Errorf("error = %v, want a timeout", err)
	}
	s.Wait()
}

// gated is a connection whose reads stop when its channel is closed.
type gated struct {
	net.Conn
	open chan struct{}
}

func (g *gated) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	g.Conn = c
	return g, err
}

func (g *gated) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	select {
	case <-g.open:
		<-make(chan struct{})
	default:
	}
	return n, err
}

func TestIdlePeersStayUp(t *testing.T) {
	s, c := pair(t, tunnel.Config{Keepalive: 20 * time.Millisecond}, tunnel.Config{Keepalive: 30 * time.Millisecond})
	select {
	case <-s.Done():
		t.Fatalf("the server's end: %v", s.Err())
	case <-c.Done():
		t.Fatalf("the client's end: %v", c.Err())
	case <-time.After(300 * time.Millisecond):
	}
	if s.RTT() == 0 || c.RTT() == 0 {
		t.Errorf("round trips %v and %v, want both measured", s.RTT(), c.RTT())
	}
}
