// Package localapi is the agent's own API: HTTP and JSON on a Unix socket, for
// the command line on the host, and, without what acts, for the deployment unit
// through the tunnel. It answers while the deployment unit is down and while a
// module hangs.
package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/agent/uplink"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	statsTimeout = 10 * time.Second
	writeTimeout = 20 * time.Second // a watcher that does not read so long is cut
	watchBytes   = 256 << 10        // of one line of a watch
)

// Agent is what the API shows. Functions may be nil where there is nothing.
type Agent struct {
	Program string // "pf9-hostagent"; the figures' names begin with it
	Version string
	Host    func() string // id; empty: none yet
	Epoch   uint64
	Started time.Time
	Mirror  *mirror.Mirror
	Uplink  func() uplink.State
	Expires func() time.Time // of the certificate
	Stats   func(context.Context) ([]inventory.VMStats, error)
	Resync  func()          // list everything again
	Reload  func() error    // the configuration
	Routes  []httpapi.Route // more for this machine, not for the deployment unit
	Log     *slog.Logger
}

// Status is the answer of /v1/status.
type Status struct {
	Version  string              `json:"version"`
	Host     string              `json:"host,omitempty"`
	Epoch    uint64              `json:"epoch"`
	Started  time.Time           `json:"started"`
	Expires  time.Time           `json:"certificate_expires,omitzero"`
	Tunnel   uplink.State        `json:"tunnel"`
	Sources  []wire.SourceStatus `json:"sources"`
	Kinds    map[string]int      `json:"kinds"`
	Problems []string            `json:"problems,omitempty"` // for people
}

// Status sums up how the agent is.
func (a *Agent) Status() Status {
	st := Status{
		Version: a.Version, Host: a.Host(), Epoch: a.Epoch, Started: a.Started, Expires: a.Expires(),
		Tunnel: a.Uplink(), Sources: a.Mirror.Statuses(), Kinds: a.Mirror.Kinds(),
	}
	if st.Tunnel.Problem != "" {
		st.Problems = append(st.Problems, "tunnel: "+st.Tunnel.Problem)
	}
	for _, s := range st.Sources {
		if s.State == "degraded" || s.State == "failed" {
			st.Problems = append(st.Problems, fmt.Sprintf("%s: %s: %s", s.Name, s.State, s.Reason))
		}
	}
	return st
}

// Line is the status in one line.
func (s *Status) Line() string {
	line := "disconnected"
	if s.Tunnel.Connected {
		line = "connected"
	}
	bad := 0
	for _, src := range s.Sources {
		if src.State != "ok" && src.State != "starting" {
			bad++
		}
	}
	line += fmt.Sprintf(", %d sources", len(s.Sources))
	if bad > 0 {
		line += fmt.Sprintf(", %d in trouble", bad)
	}
	if !s.Tunnel.Connected && s.Tunnel.Problem != "" {
		line += ": " + s.Tunnel.Problem
	}
	return line
}

// Resource is a resource as the agent shows it.
type Resource struct {
	wire.Resource
	// Stale says that the resource is what its module listed last, until when that
	// was all right and why.
	Stale       bool      `json:"stale"`
	StaleSince  time.Time `json:"stale_since,omitzero"`
	StaleReason string    `json:"stale_reason,omitempty"`
}

// Resources is the answer of lists.
type Resources struct {
	Items []Resource `json:"items"`
}

// Change is one line of a watch.
type Change struct {
	Upserts []wire.Resource     `json:"upserts,omitempty"`
	Deletes []plugin.Key        `json:"deletes,omitempty"`
	Sources []wire.SourceStatus `json:"sources,omitempty"`
	// Synced ends the first picture.
	Synced bool `json:"synced,omitempty"`
}

// Reading is the part of the API that only looks: what the deployment unit
// may call through the tunnel.
func (a *Agent) Reading() http.Handler { return httpapi.New(a.looking(), a.options(nil)) }

func (a *Agent) options(auth func(*http.Request) (httpapi.Caller, error)) httpapi.Options {
	return httpapi.Options{Title: "openpf9 agent", Version: a.Version, Authenticate: auth, Log: a.Log}
}

func (a *Agent) looking() []httpapi.Route {
	kindParam := httpapi.Param{Name: "kind", Summary: "Only of this kind."}
	return []httpapi.Route{
		{Pattern: "GET /v1/status", Summary: "How the agent is.", Response: Status{}, Do: func(w http.ResponseWriter, _ *http.Request) error {
			return httpapi.WriteJSON(w, http.StatusOK, a.Status())
		}},
		{Pattern: "GET /v1/sources", Summary: "The modules' health.", Response: []wire.SourceStatus{}, Do: func(w http.ResponseWriter, _ *http.Request) error {
			return httpapi.WriteJSON(w, http.StatusOK, a.Mirror.Statuses())
		}},
		{Pattern: "GET /v1/kinds", Summary: "How many resources there are of each kind.", Response: map[string]int{}, Do: func(w http.ResponseWriter, _ *http.Request) error {
			return httpapi.WriteJSON(w, http.StatusOK, a.Mirror.Kinds())
		}},
		{Pattern: "GET /v1/digests", Summary: "Count and sum of each kind.", Response: map[string]wire.Digest{}, Do: func(w http.ResponseWriter, _ *http.Request) error {
			return httpapi.WriteJSON(w, http.StatusOK, a.Mirror.Digests())
		}},
		{Pattern: "GET /v1/resources", Summary: "Resources.", Query: []httpapi.Param{kindParam}, Response: Resources{}, Do: a.resources},
		{Pattern: "GET /v1/resources/{kind}/{id...}", Summary: "One resource.", Response: Resource{}, Do: func(w http.ResponseWriter, r *http.Request) error {
			k := plugin.Key{Kind: r.PathValue("kind"), ID: r.PathValue("id")}
			res, ok := a.Mirror.Get(k)
			if !ok {
				return fmt.Errorf("%s %s: %w", k.Kind, k.ID, fs.ErrNotExist)
			}
			return httpapi.WriteJSON(w, http.StatusOK, mark([]wire.Resource{res}, a.Mirror.Statuses())[0])
		}},
		{Pattern: "GET /v1/stats/vms", Summary: "What the VMs use now.", Response: []inventory.VMStats{}, Do: func(w http.ResponseWriter, r *http.Request) error {
			if a.Stats == nil {
				return httpapi.Errorf(http.StatusNotFound, "there is no hypervisor module")
			}
			ctx, cancel := context.WithTimeout(r.Context(), statsTimeout)
			defer cancel()
			stats, err := a.Stats(ctx)
			if err != nil {
				return &httpapi.Error{Status: http.StatusServiceUnavailable, Message: err.Error()}
			}
			return httpapi.WriteJSON(w, http.StatusOK, stats)
		}},
		{Pattern: "GET /v1/watch", Summary: "All resources, then changes, a JSON document a line.", Query: []httpapi.Param{kindParam}, Stream: "application/jsonl", Do: a.watch},
		{Pattern: "GET /healthz", Summary: "Whether the agent runs.", Response: map[string]string{}, Do: func(w http.ResponseWriter, _ *http.Request) error {
			return httpapi.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
		}},
		{Pattern: "GET /metrics", Summary: "Figures in Prometheus' form.", Stream: "text/plain", Do: a.metrics},
	}
}

func (a *Agent) resources(w http.ResponseWriter, r *http.Request) error {
	kinds := []string{r.URL.Query().Get("kind")}
	if kinds[0] == "" {
		kinds = kinds[:0]
		for k := range a.Mirror.Kinds() {
			kinds = append(kinds, k)
		}
		slices.Sort(kinds)
	}
	out := Resources{Items: []Resource{}}
	sources := a.Mirror.Statuses()
	for _, k := range kinds {
		out.Items = append(out.Items, mark(a.Mirror.Kind(k), sources)...)
	}
	return httpapi.WriteJSON(w, http.StatusOK, out)
}

// mark says of resources whether they are stale, in the deployment unit's words.
func mark(all []wire.Resource, sources []wire.SourceStatus) []Resource {
	unwell := make(map[string]wire.SourceStatus)
	for _, s := range sources {
		if s.State != "ok" {
			unwell[s.Name] = s
		}
	}
	out := make([]Resource, len(all))
	for i, r := range all {
		out[i].Resource = r
		if s, is := unwell[r.Source]; is {
			out[i].Stale, out[i].StaleSince = true, s.Since
			out[i].StaleReason = strings.TrimSuffix(fmt.Sprintf("module %s is %s: %s", s.Name, s.State, s.Reason), ": ")
		}
	}
	return out
}

// watch sends everything, then changes as they come.
func (a *Agent) watch(w http.ResponseWriter, r *http.Request) error {
	kind := r.URL.Query().Get("kind")
	gathered := a.Mirror.Watch()
	defer gathered.Close()
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	w.Header().Set("Content-Type", "application/jsonl")
	lines := json.NewEncoder(w)
	send := func(c Change) error {
		if err := rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if err := lines.Encode(c); err != nil {
			return err
		}
		return rc.Flush()
	}
	first := Change{Sources: a.Mirror.Statuses(), Synced: true}
	for k := range a.Mirror.Kinds() {
		if kind == "" || k == kind {
			first.Upserts = append(first.Upserts, a.Mirror.Kind(k)...)
		}
	}
	err := send(first)
	for err == nil {
		select {
		case <-r.Context().Done():
			return nil
		case <-gathered.C:
			taken := gathered.Take(watchBytes)
			c := Change{Upserts: taken.Upserts, Deletes: taken.Deletes, Sources: taken.Sources}
			if kind != "" {
				c.Upserts = slices.DeleteFunc(c.Upserts, func(r wire.Resource) bool { return r.Kind != kind })
				c.Deletes = slices.DeleteFunc(c.Deletes, func(k plugin.Key) bool { return k.Kind != kind })
			}
			if len(c.Upserts)+len(c.Deletes)+len(c.Sources) > 0 {
				err = send(c)
			}
		}
	}
	return nil // the answer has begun
}

func (a *Agent) metrics(w http.ResponseWriter, _ *http.Request) error {
	st := a.Status()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	var b strings.Builder
	up := 0
	if st.Tunnel.Connected {
		up = 1
	}
	p := strings.ReplaceAll(a.Program, "-", "_")
	fmt.Fprintf(&b, "%s_tunnel_up %d\n%[1]s_unsent_events %d\n", p, up, st.Tunnel.Unsent)
	fmt.Fprintf(&b, "%s_goroutines %d\n%[1]s_heap_bytes %d\n", p, runtime.NumGoroutine(), mem.HeapAlloc)
	for _, s := range st.Sources {
		ok := 0
		if s.State == "ok" {
			ok = 1
		}
		fmt.Fprintf(&b, "%s_source_ok{source=%q} %d\n", p, s.Name, ok)
	}
	for k, n := range st.Kinds {
		fmt.Fprintf(&b, "%s_resources{kind=%q} %d\n", p, k, n)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = w.Write([]byte(b.String())) // the caller may be gone
	return nil
}

func (a *Agent) acting() []httpapi.Route {
	return []httpapi.Route{
		{Pattern: "POST /v1/resync", Access: httpapi.Operator, Summary: "List everything again.", Do: func(w http.ResponseWriter, _ *http.Request) error {
			a.Resync()
			w.WriteHeader(http.StatusNoContent)
			return nil
		}},
		{Pattern: "POST /v1/reload", Access: httpapi.Operator, Summary: "Read the configuration again.", Do: func(w http.ResponseWriter, _ *http.Request) error {
			if err := a.Reload(); err != nil {
				return httpapi.Errorf(http.StatusBadRequest, "%v", err)
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		}},
	}
}

type peerKey struct{}

// Listen makes the socket, in the place of one that nobody listens on.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("%s: another agent listens there", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o666) // who may do what is the peer's uid's to say
}

// Serve answers on the socket until ctx ends.
func (a *Agent) Serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler:           httpapi.New(slices.Concat(a.looking(), a.acting(), a.Routes), a.options(authenticate)),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if uid, ok := peerOf(c); ok {
				return context.WithValue(ctx, peerKey{}, uid)
			}
			return ctx
		},
		ErrorLog: slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}

// authenticate lets root and the agent's own user act.
func authenticate(r *http.Request) (httpapi.Caller, error) {
	uid, ok := r.Context().Value(peerKey{}).(uint32)
	if !ok {
		return httpapi.Caller{}, errors.New("the socket does not say who calls")
	}
	c := httpapi.Caller{Name: fmt.Sprintf("uid %d", uid), Access: httpapi.Reader}
	if uid == 0 || uid == uint32(os.Geteuid()) {
		c.Access = httpapi.Operator
	}
	return c, nil
}

func peerOf(c net.Conn) (uint32, bool) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, false
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return 0, false
	}
	return cred.Uid, true
}
