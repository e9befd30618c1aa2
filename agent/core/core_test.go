package core_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/agent/host"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// unit is a deployment unit that enrols whoever comes, accepts tunnels and is
// content with what it is told.
type unit struct {
	url, pin string
	hellos   chan wire.Hello
	sessions chan *tunnel.Session
}

func newUnit(t *testing.T) *unit {
	t.Helper()
	authority, err := pki.NewAuthority("du.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.IssueServer([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	u := &unit{pin: pki.Pin(authority.Cert), hellos: make(chan wire.Hello, 100), sessions: make(chan *tunnel.Session, 100)}
	services := tunnel.NewServices()
	l, err := services.Listen(wire.ServiceResmgr)
	if err != nil {
		t.Fatal(err)
	}
	inner := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var hello wire.Hello
		if r.URL.Path == "/v1/hello" && json.NewDecoder(r.Body).Decode(&hello) == nil {
			u.hellos <- hello
		}
		_, _ = io.WriteString(w, "{}")
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = inner.Serve(l) })
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/enroll", func(w http.ResponseWriter, r *http.Request) {
		var q wire.EnrollRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		key, err := pki.ParseRequest(q.CSR)
		if err != nil {
			t.Error(err)
			return
		}
		c, err := authority.IssuePeer(pki.Identity{DU: "du.example", Kind: q.Kind, Host: q.HostID}, key, time.Now(), time.Hour)
		if err != nil {
			t.Error(err)
			return
		}
		_ = json.NewEncoder(w).Encode(wire.Certificate{HostID: q.HostID, Certificate: string(pki.EncodeCertificates(c)), CA: string(pki.EncodeCertificates(authority.Cert)), NotAfter: c.NotAfter})
	})
	mux.HandleFunc("GET "+wire.TunnelPath, func(w http.ResponseWriter, r *http.Request) {
		s, err := tunnel.Upgrade(w, r, tunnel.Config{Services: services})
		if err != nil {
			t.Error(err)
			return
		}
		u.sessions <- s
	})
	outer := httptest.NewUnstartedServer(mux)
	outer.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13}
	outer.StartTLS()
	u.url = outer.URL
	t.Cleanup(func() {
		_ = inner.Close()
		outer.Close()
		wg.Wait()
	})
	return u
}

// machine is a daemon's configuration file and what it lacks.
type machine struct {
	t    *testing.T
	file string
	sock string
	opt  core.Options
}

// nothing is a source without resources.
type nothing struct{}

func (nothing) List(context.Context, func(plugin.Resource)) error { return nil }

// next waits for something to come.
func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing comes")
		panic("not reached")
	}
}

// newMachine has a daemon of the kind with a module that lists the host and
// another one of the name that the file says.
func newMachine(t *testing.T, kind string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "pf9") // short: sockets' paths are
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &machine{t: t, file: filepath.Join(dir, "x.conf"), sock: filepath.Join(dir, "s")}
	m.write("")
	m.opt = core.Options{Program: "pf9-test", Kind: kind, Hypervisor: "none", Load: func() (core.Config, core.Configure, error) {
		var c struct {
			core.Config
			More string `toml:"more"`
		}
		if err := daemon.Load(m.file, &c); err != nil {
			return core.Config{}, nil, err
		}
		modules := func(id wire.HostID) []discovery.Module {
			all := []discovery.Module{{Name: "host", Kinds: []string{inventory.KindHost}, Source: &host.Node{ID: string(id)}, Interval: time.Hour}}
			if c.More != "" {
				all = append(all, discovery.Module{Name: c.More, Kinds: []string{"x.more"}, Source: nothing{}, Interval: time.Hour})
			}
			return all
		}
		return c.Config, modules, c.Complete(m.file, "pf9-test", modules(""))
	}}
	return m
}

func (m *machine) write(settings string) {
	m.t.Helper()
	text := fmt.Sprintf("state_dir = %q\nsocket = %q\nlog_level = 'error'\n%s", filepath.Dir(m.file)+"/state", m.sock, settings)
	if err := os.WriteFile(m.file, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) enroll(u *unit, kind string) {
	m.t.Helper()
	paths := enroll.PathsUnder(filepath.Dir(m.file))
	paths.DropIn = m.file + ".d/10-du.conf"
	if _, err := enroll.Enroll(m.t.Context(), enroll.Request{DU: u.url, Token: pki.NewToken(pki.JoinToken, u.pin).String(), Kind: kind, Paths: paths}); err != nil {
		m.t.Fatal(err)
	}
}

// start runs the daemon until the test ends.
func (m *machine) start() *core.Core {
	m.t.Helper()
	c, err := core.New(m.opt)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(m.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	m.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			m.t.Errorf("Run = %v", err)
		}
	})
	return c
}

// ask asks the local API.
func (m *machine) ask(path string) (string, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.sock)
	}}}
	resp, err := client.Get("http://x" + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.Status + " " + string(b), err
}

// until waits for the status to be as wanted.
func (m *machine) until(good func(localapi.Status) bool) {
	m.t.Helper()
	late := time.After(20 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); ; {
		var st localapi.Status
		text, err := m.ask("/v1/status")
		if _, doc, ok := strings.Cut(text, "{"); ok && json.Unmarshal([]byte("{"+doc), &st) == nil && good(st) {
			return
		}
		select {
		case <-tick:
		case <-late:
			m.t.Fatalf("status: %s, %v", text, err)
		}
	}
}

func TestADaemonsOwnParts(t *testing.T) {
	u, m := newUnit(t), newMachine(t, pki.KindGateway)
	m.opt.Services = map[string]func(context.Context, net.Listener) error{
		"echo": func(ctx context.Context, l net.Listener) error {
			stop := context.AfterFunc(ctx, func() { _ = l.Close() })
			defer stop()
			for {
				c, err := l.Accept()
				if err != nil {
					return err
				}
				_, _ = io.Copy(c, c) // one at a time is enough
				_ = c.Close()
			}
		},
	}
	m.opt.Routes = func() []httpapi.Route {
		return []httpapi.Route{{
			Pattern: "GET /v1/own", Access: httpapi.Reader, Summary: "The daemon's own.", Response: "",
			Do: func(w http.ResponseWriter, _ *http.Request) error { return httpapi.WriteJSON(w, http.StatusOK, "mine") },
		}}
	}
	m.enroll(u, pki.KindGateway)
	m.start()
	hello, session := next(t, u.hellos), next(t, u.sessions)
	if hello.Hypervisor != "none" || !strings.HasPrefix(hello.Agent, "pf9-test/") {
		t.Errorf("hello = %+v", hello)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := session.Dial(ctx, "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	got := make([]byte, 5)
	if _, err := stream.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != "hello" {
		t.Errorf("the service answers %q, %v", got, err)
	}
	if got, err := m.ask("/v1/own"); err != nil || !strings.HasPrefix(got, `200 OK "mine"`) {
		t.Errorf("on the socket: %q, %v", got, err)
	}
	if got, err := m.ask("/metrics"); err != nil || !strings.Contains(got, "\npf9_test_resources{") {
		t.Errorf("figures: %q, %v", got, err)
	}
	back := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return session.Dial(ctx, wire.ServiceAgent)
	}}}
	for path, want := range map[string]int{"/v1/own": http.StatusNotFound, "/v1/status": http.StatusOK} {
		resp, err := back.Get("http://agent" + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s through the tunnel: %s, want %d", path, resp.Status, want)
		}
	}
}

func TestTheCertificateMustBeOfTheDaemonsKind(t *testing.T) {
	u, m := newUnit(t), newMachine(t, pki.KindGateway)
	c := m.start()
	m.until(func(st localapi.Status) bool {
		return st.Tunnel.Problem == "this machine is not enrolled; run pf9-test enroll"
	})
	m.enroll(u, pki.KindHost)
	m.until(func(st localapi.Status) bool {
		return strings.Contains(st.Tunnel.Problem, "the certificate is a host's, and pf9-test wants a gateway's")
	})
	select {
	case <-u.sessions:
		t.Error("the daemon connected as another kind")
	default:
	}
	m.enroll(u, pki.KindGateway)
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	m.until(func(st localapi.Status) bool { return st.Tunnel.Connected })
}

func TestReload(t *testing.T) {
	m := newMachine(t, pki.KindHost)
	c := m.start()
	sources := func(want string) {
		t.Helper()
		m.until(func(st localapi.Status) bool {
			var names []string
			for _, s := range st.Sources {
				names = append(names, s.Name)
			}
			return strings.Join(names, " ") == want
		})
	}
	sources("host plugins")
	m.write("more = 'another'\n")
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	sources("another host plugins")
	m.write("moer = 'another'\n")
	if _, ok := errors.AsType[*daemon.ConfigError](c.Reload()); !ok {
		t.Error("a mistake was taken")
	}
	sources("another host plugins")
	m.write("more = 'another'\n[modules.host]\ndisabled = true\n")
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	sources("another plugins")
}
