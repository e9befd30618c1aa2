package localapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/agent/uplink"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// api serves an agent with a mirror on a socket.
func api(t *testing.T) (*mirror.Mirror, *http.Client, *localapi.Agent) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pf9")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := localapi.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	m := mirror.New(mirror.Options{})
	a := &localapi.Agent{
		Mirror: m, Log: slog.New(slog.DiscardHandler), Host: func() string { return "h" }, Expires: func() time.Time { return time.Time{} },
		Uplink: func() uplink.State { return uplink.State{Problem: "no route to host"} }, Resync: func() {}, Reload: func() error { return nil },
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.Serve(ctx, l) })
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		cancel()
		wg.Wait()
	})
	if _, err := localapi.Listen(path); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent on the socket: %v", err)
	}
	return m, client, a
}

func vm(id string) []plugin.Resource {
	return []plugin.Resource{{Key: plugin.Key{Kind: "vm", ID: id}, Spec: map[string]string{"state": "running"}}}
}

func TestStatusSaysWhatIsWrong(t *testing.T) {
	m, c, _ := api(t)
	m.Status(wire.SourceStatus{Name: "libvirt", State: "failed", Reason: "does not answer"})
	resp, err := c.Get("http://a/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var st localapi.Status
	if err := json.NewDecoder(resp.Body).Decode(&st); err != nil || len(st.Problems) != 2 {
		t.Fatalf("status %+v, %v", st, err)
	}
	if line := st.Line(); line != "disconnected, 1 sources, 1 in trouble: no route to host" {
		t.Errorf("line %q", line)
	}
}

func TestWatchShowsEverythingThenChanges(t *testing.T) {
	m, c, _ := api(t)
	m.Listed("x", []string{"vm"}, vm("1"))
	resp, err := c.Get("http://a/v1/watch?kind=vm")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func() (change localapi.Change) {
		t.Helper()
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &change) != nil {
			t.Fatalf("line %q, %v", lines.Bytes(), lines.Err())
		}
		return change
	}
	if first := next(); !first.Synced || len(first.Upserts) != 1 {
		t.Errorf("first line %+v", first)
	}
	m.Got("x", plugin.Key{Kind: "vm", ID: "2"}, vm("2")[0], true)
	if change := next(); len(change.Upserts) != 1 || change.Upserts[0].ID != "2" {
		t.Errorf("after a new VM: %+v", change)
	}
	m.Got("x", plugin.Key{Kind: "vm", ID: "1"}, plugin.Resource{}, false)
	if change := next(); len(change.Deletes) != 1 || change.Deletes[0].ID != "1" {
		t.Errorf("after a VM went: %+v", change)
	}
}

func TestDeploymentUnitCannotAct(t *testing.T) {
	_, c, a := api(t)
	for path, want := range map[string]int{"/v1/resync": 204, "/v1/reload": 204} {
		resp, err := c.Post("http://a"+path, "", nil) // our own user
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s on the socket: %s", path, resp.Status)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		w := &status{header: make(http.Header)}
		a.Reading().ServeHTTP(w, r)
		if w.code != http.StatusNotFound {
			t.Errorf("%s through the tunnel: %d", path, w.code)
		}
	}
}

type status struct {
	header http.Header
	code   int
}

func (s *status) Header() http.Header         { return s.header }
func (s *status) Write(b []byte) (int, error) { return len(b), nil }
func (s *status) WriteHeader(code int)        { s.code = code }
