package tunnel_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/tunnel"
)

// keep runs a keeper until the test ends.
func keep(t *testing.T, k *tunnel.Keeper) {
	t.Helper()
	k.MinDelay, k.MaxDelay, k.Unreachable = time.Millisecond, 10*time.Millisecond, 10*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = k.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestKeeperComesBack(t *testing.T) {
	services := tunnel.NewServices()
	echo(t, services, "echo")
	srv := serve(t, tunnel.Config{Services: services}, nil)
	var ups, downs atomic.Int32
	k := &tunnel.Keeper{
		Endpoints: []string{"wss://127.0.0.1:1/nobody", srv.URL}, Dialer: &tunnel.Dialer{TLS: srv.TLS},
		Up: func(*tunnel.Session) { ups.Add(1) }, Down: func(*tunnel.Session, error) { downs.Add(1) },
	}
	keep(t, k)
	for i := range 3 {
		c, err := k.Dial(t.Context(), "echo") // waits for the tunnel
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c, 100)
		_ = (<-srv.sessions).Close("restart")
		eventually(t, "the next session", func() bool { return ups.Load() > int32(i+1) && downs.Load() > int32(i) })
	}
}

func TestKeeperShowsTheRefusalAndObeysRetryAfter(t *testing.T) {
	var asked atomic.Int32
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"message":"the certificate was revoked"}`)
	}))
	defer refusing.Close()
	k := &tunnel.Keeper{Endpoints: []string{"ws" + strings.TrimPrefix(refusing.URL, "http")}}
	keep(t, k)
	eventually(t, "an error", func() bool { return k.Err() != nil })
	if e, ok := errors.AsType[*tunnel.StatusError](k.Err()); !ok || e.Code != 403 || e.Message != "the certificate was revoked" || e.RetryAfter != time.Hour {
		t.Errorf("error %v", k.Err())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := k.Dial(ctx, "x"); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("Dial while down = %v", err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times within an hour that it was told to wait", n)
	}
}

func TestRenewMakesBeforeItBreaks(t *testing.T) {
	for name, ask := range map[string]func(*tunnel.Keeper, *tunnel.Session){
		"renewed":       func(k *tunnel.Keeper, _ *tunnel.Session) { k.Renew() },
		"asked to move": func(_ *tunnel.Keeper, s *tunnel.Session) { s.Drain(time.Millisecond, "") },
	} {
		t.Run(name, func(t *testing.T) {
			services := tunnel.NewServices()
			echo(t, services, "echo")
			srv := serve(t, tunnel.Config{Services: services}, nil)
			k := &tunnel.Keeper{Endpoints: []string{srv.URL}, Dialer: &tunnel.Dialer{TLS: srv.TLS}}
			keep(t, k)
			c, err := k.Dial(t.Context(), "echo")
			if err != nil {
				t.Fatal(err)
			}
			old := <-srv.sessions
			before := k.Session()
			gap := false
			ask(k, old)
			eventually(t, "another session", func() bool {
				s := k.Session()
				gap = gap || s == nil
				return s != nil && s != before
			})
			if gap {
				t.Error("for a moment there was no session")
			}
			roundTrip(t, c, 100) // the old stream goes on
			_ = c.Close()
			<-old.Done()
			if e, ok := errors.AsType[*tunnel.CloseError](old.Err()); !ok || !e.Remote || !strings.Contains(e.Reason, "newer session") {
				t.Errorf("the old session ended with %v", old.Err())
			}
		})
	}
}

func TestConnectThroughAProxy(t *testing.T) {
	services := tunnel.NewServices()
	echo(t, services, "echo")
	srv := serve(t, tunnel.Config{Services: services}, nil)
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for {
			c, err := proxy.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { connect(c) })
		}
	})
	through := func(user *url.Userinfo) error {
		d := &tunnel.Dialer{TLS: srv.TLS, Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: proxy.Addr().String(), User: user})}
		s, err := d.Connect(t.Context(), srv.URL, tunnel.Config{})
		if err != nil {
			return err
		}
		defer s.Wait()
		defer s.Close("done")
		c, err := s.Dial(t.Context(), "echo")
		if err != nil {
			return err
		}
		roundTrip(t, c, 100)
		return nil
	}
	if err := through(url.UserPassword("u", "p")); err != nil {
		t.Error(err)
	}
	if err := through(nil); err == nil || !strings.Contains(err.Error(), "407") {
		t.Errorf("without a password: %v", err)
	}
	_ = proxy.Close()
}

// connect is a proxy's whole work for one connection.
func connect(c net.Conn) {
	defer c.Close()
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil || req.Method != http.MethodConnect {
		return
	}
	if req.Header.Get("Proxy-Authorization") != "Basic dTpw" {
		_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return
	}
	far, err := net.Dial("tcp", req.Host)
	if err != nil {
		return
	}
	defer far.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { // ends with either end
		_, _ = io.Copy(far, c)
		_ = far.Close()
	}()
	_, _ = io.Copy(c, far)
}
