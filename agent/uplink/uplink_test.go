package uplink_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/agent/spool"
	"github.com/openpf9/openpf9/agent/uplink"
	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// unit is a deployment unit behind a real tunnel: it keeps what it is told, and
// fails when told to.
type unit struct {
	t        *testing.T
	url      string
	tls      *tls.Config
	mu       sync.Mutex // guards the fields below
	have     map[plugin.Key]wire.Resource
	events   []wire.Event
	fail     int // so many requests
	whole    int // full reports taken
	sessions []*tunnel.Session
}

func newUnit(t *testing.T) *unit {
	u := &unit{t: t, have: make(map[plugin.Key]wire.Resource)}
	services := tunnel.NewServices()
	l, err := services.Listen(wire.ServiceResmgr)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/hello", serve(u, u.hello))
	mux.HandleFunc("POST /v1/report", serve(u, u.report))
	mux.HandleFunc("POST /v1/events", serve(u, u.history))
	inner := &http.Server{Handler: mux}
	var wg sync.WaitGroup
	wg.Go(func() { _ = inner.Serve(l) })
	outer := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := tunnel.Upgrade(w, r, tunnel.Config{Services: services})
		if err != nil {
			t.Error(err)
			return
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		u.sessions = append(u.sessions, s)
	}))
	u.url = "wss" + outer.URL[len("https"):]
	u.tls = outer.Client().Transport.(*http.Transport).TLSClientConfig
	t.Cleanup(func() {
		_ = inner.Close()
		outer.Close()
		wg.Wait()
	})
	return u
}

func serve[In, Out any](u *unit, f func(In) Out) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		defer u.mu.Unlock()
		var in In
		if u.fail > 0 {
			u.fail--
			http.Error(w, `{"message":"told to fail"}`, http.StatusServiceUnavailable)
			return
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			u.t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(f(in))
	}
}

func (u *unit) digest(kind string) (d wire.Digest) {
	for k, r := range u.have {
		if k.Kind == kind {
			d.Add(r.Hash())
		}
	}
	return d
}

func (u *unit) hello(h wire.Hello) (w wire.Welcome) {
	for kind, d := range h.Digests {
		if u.digest(kind) != d {
			w.Need = append(w.Need, kind)
		}
	}
	return w
}

func (u *unit) report(r wire.Report) wire.Ack {
	if r.Full != "" && r.Begin {
		u.whole++
		maps.DeleteFunc(u.have, func(k plugin.Key, _ wire.Resource) bool { return k.Kind == r.Full })
	}
	for _, res := range r.Upserts {
		u.have[res.Key] = res
	}
	for _, k := range r.Deletes {
		delete(u.have, k)
	}
	ack := wire.Ack{Epoch: r.Epoch, Seq: r.Seq}
	for kind, d := range r.Digests {
		if u.digest(kind) != d {
			ack.Need = append(ack.Need, kind)
		}
	}
	return ack
}

func (u *unit) history(e wire.Events) wire.EventsAck {
	u.events = append(u.events, e.Events...)
	last := e.Events[len(e.Events)-1]
	return wire.EventsAck{Epoch: last.Epoch, Seq: last.Seq}
}

// host is an agent's inside, without modules.
func host(t *testing.T, u *unit) (*mirror.Mirror, *spool.Spool, *uplink.Uplink) {
	t.Helper()
	s, err := spool.Open(t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := mirror.New(mirror.Options{})
	up := uplink.New(uplink.Options{
		Keeper: &tunnel.Keeper{Endpoints: []string{u.url}, Dialer: &tunnel.Dialer{TLS: u.tls}, MinDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond},
		Mirror: m, Spool: s, Epoch: 1, Agent: "test", Kind: "kvm", Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = up.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		_ = s.Close()
	})
	return m, s, up
}

func vms(n, generation int) (rs []plugin.Resource) {
	for i := range n {
		rs = append(rs, plugin.Resource{Key: plugin.Key{Kind: "vm", ID: fmt.Sprint(i)}, Spec: map[string]int{"n": generation}})
	}
	return rs
}

// equal waits until the unit has what the mirror has.
func (u *unit) equal(m *mirror.Mirror) {
	u.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for {
		want := m.Digests()["vm"]
		u.mu.Lock()
		got := u.digest("vm")
		u.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			u.t.Fatalf("the deployment unit has %v, the mirror %v", got, want)
		}
	}
}

func TestEverythingArrives(t *testing.T) {
	u := newUnit(t)
	m, _, _ := host(t, u)
	m.Listed("libvirt", []string{"vm"}, vms(3000, 1)) // several parts
	u.equal(m)
	m.Got("libvirt", plugin.Key{Kind: "vm", ID: "7"}, plugin.Resource{}, false)
	m.Listed("libvirt", []string{"vm"}, vms(2900, 2))
	u.equal(m)
	m.Listed("libvirt", []string{"vm"}, nil)
	m.Listed("libvirt", []string{"vm"}, nil) // the second time it is believed
	u.equal(m)
}

func TestFailuresLoseNothing(t *testing.T) {
	u := newUnit(t)
	m, _, _ := host(t, u)
	m.Listed("libvirt", []string{"vm"}, vms(50, 0))
	u.equal(m)
	for i := range 6 {
		u.mu.Lock()
		switch i % 3 {
		case 0:
			u.fail = 2
		case 1:
			_ = u.sessions[len(u.sessions)-1].Close("told to")
		case 2:
			clear(u.have) // the unit has lost its state; the digests tell
			_ = u.sessions[len(u.sessions)-1].Close("told to")
		}
		u.mu.Unlock()
		m.Listed("libvirt", []string{"vm"}, vms(50+i, i+1))
		u.equal(m)
	}
}

func TestReconnectSendsOnlyWhatDiffers(t *testing.T) {
	u := newUnit(t)
	m, _, up := host(t, u)
	m.Listed("libvirt", []string{"vm"}, vms(50, 0))
	u.equal(m)
	u.mu.Lock()
	before := u.whole
	synced := up.State().Synced
	_ = u.sessions[len(u.sessions)-1].Close("told to")
	u.mu.Unlock()
	limit := time.After(20 * time.Second)
	for st := up.State(); !st.Connected || !st.Synced.After(synced); st = up.State() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-limit:
			t.Fatalf("not back: %+v", st)
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.whole != before {
		t.Errorf("an unchanged inventory was sent whole %d times more", u.whole-before)
	}
}

func TestHistoryArrivesInOrder(t *testing.T) {
	u := newUnit(t)
	_, s, _ := host(t, u)
	for i := range 450 {
		b, err := json.Marshal(wire.Event{Type: "state", Name: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	limit := time.After(20 * time.Second)
	for s.Acked() != 450 {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-limit:
			t.Fatalf("%d of 450 acknowledged", s.Acked())
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, e := range u.events {
		if e.Name != fmt.Sprint(i) || e.Seq != uint64(i+1) || e.Epoch != s.Born() {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
}
