package du

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

var machine = plugin.Key{Kind: "compute.vm", ID: "dc3b3f1c-95d7-4a0d-b9f5-6a1c2d3e4f50/vm-12"}

// A fakeGateway is the far side of actions, over a real tunnel.
type fakeGateway struct {
	*agent
	mu    sync.Mutex // guards the fields below
	seen  []wire.ActionRequest
	known map[string]*progress
	offer wire.ActionsOffer
	news  chan struct{} // closed and replaced with each change
	// cut breaks the stream of a request after its first line.
	cut bool
}

type progress struct{ o wire.ActionOutcome }

func (u *unit) gateway(id wire.HostID) *fakeGateway {
	return &fakeGateway{agent: u.enroll(id), known: map[string]*progress{}, offer: wire.ActionsOffer{Actions: wire.Actions()}, news: make(chan struct{})}
}

// connect opens a tunnel that offers actions.
func (g *fakeGateway) connect() {
	t := g.u.t
	t.Helper()
	services := tunnel.NewServices()
	l, err := services.Listen(wire.ServiceActions)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/actions", func(w http.ResponseWriter, _ *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		_ = json.NewEncoder(w).Encode(g.offer)
	})
	mux.HandleFunc("POST /v1/actions", func(w http.ResponseWriter, r *http.Request) {
		var q wire.ActionRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Validate() != nil {
			t.Errorf("a request: %v, %v", err, q.Validate())
		}
		g.mu.Lock()
		g.seen = append(g.seen, q)
		if g.known[q.ID] == nil {
			g.known[q.ID] = &progress{wire.ActionOutcome{ID: q.ID, State: wire.ActionAccepted}}
		}
		cut := g.cut
		g.tell()
		g.mu.Unlock()
		g.stream(w, r, q.ID, cut)
	})
	mux.HandleFunc("POST /v1/actions/{id}/settle", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		g.mu.Lock()
		if g.known[id] == nil {
			g.known[id] = &progress{wire.ActionOutcome{ID: id, State: wire.ActionRefused, Reason: "it never arrived", Ended: time.Now()}}
		}
		g.mu.Unlock()
		g.stream(w, r, id, false)
	})
	web := &http.Server{Handler: mux}
	go func() { _ = web.Serve(l) }()
	t.Cleanup(func() { _ = web.Close() })
	g.connectWith(services)
	g.u.eventually("the gateway is connected", func() bool { return g.u.host(g.id).Connected })
}

// set changes how it behaves.
func (g *fakeGateway) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

func (g *fakeGateway) first() wire.ActionRequest {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen[0]
}

// tell wakes all streams. Callers hold mu.
func (g *fakeGateway) tell() {
	close(g.news)
	g.news = make(chan struct{})
}

func (g *fakeGateway) stream(w http.ResponseWriter, r *http.Request, id string, cut bool) {
	for {
		g.mu.Lock()
		o, news := g.known[id].o, g.news
		g.mu.Unlock()
		_ = json.NewEncoder(w).Encode(o)
		_ = http.NewResponseController(w).Flush()
		if cut {
			panic(http.ErrAbortHandler)
		}
		if o.Done() {
			return
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// say changes the outcome of the only action, or of the newest.
func (g *fakeGateway) say(change func(*wire.ActionOutcome)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(&g.known[g.seen[len(g.seen)-1].ID].o)
	g.tell()
}

func (g *fakeGateway) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.seen)
}

// act asks for an action, with a key. It may be called from any goroutine; a
// status of 0 says that the test has failed.
func (u *unit) act(id wire.HostID, key, query string, q any) (a api.Action, status int, location string) {
	u.t.Helper()
	b, err := json.Marshal(q)
	if err != nil {
		u.t.Error(err)
		return a, 0, ""
	}
	req, err := http.NewRequestWithContext(u.t.Context(), "POST", u.base+"/api/v1/hosts/"+string(id)+"/actions"+query, bytes.NewReader(b))
	if err != nil {
		u.t.Error(err)
		return a, 0, ""
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := u.http.Do(req)
	if err != nil {
		u.t.Error(err)
		return a, 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	into := any(&a)
	var problem struct{ Message string }
	if res.StatusCode >= 300 {
		into = &problem
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		u.t.Error(err)
	}
	if problem.Message != "" {
		a.Reason = problem.Message
	}
	return a, res.StatusCode, res.Header.Get("Location")
}

var powerOff = api.ActionRequest{Action: wire.ActionPowerOff, Target: machine}

func done(o *wire.ActionOutcome) {
	o.State, o.Progress, o.Ended = wire.ActionSucceeded, 100, time.Now()
}

func TestAnActionFromRequestToEnd(t *testing.T) {
	u := start(t, t.TempDir())
	g := u.gateway(hostA)
	g.connect()
	a, status, location := u.act(hostA, `"key-1"`, "", powerOff)
	if status != http.StatusAccepted || a.State != wire.ActionAccepted || a.RequestedBy == "" || location != "/api/v1/hosts/"+string(hostA)+"/actions/"+a.ID {
		t.Fatalf("status %d at %s: %+v", status, location, a)
	}
	u.eventually("the gateway gets it", func() bool { return g.count() == 1 })
	if q := g.first(); q.ID != a.ID || q.Target != machine || q.RequestedBy != a.RequestedBy || !q.Deadline.Equal(a.Deadline) {
		t.Errorf("the gateway got %+v", q)
	}

	// Progress is followed by revisions.
	g.say(func(o *wire.ActionOutcome) { o.State, o.Progress = wire.ActionRunning, 40 })
	for a.Progress != 40 {
		if s := u.call("GET", location+"?wait=10s&since="+strconv.Itoa(a.Revision), nil, &a); s != http.StatusAccepted {
			t.Fatalf("status %d: %+v", s, a)
		}
	}
	// The same again is the same action; another is none.
	again, status, _ := u.act(hostA, "key-1", "", powerOff)
	if status != http.StatusAccepted || again.ID != a.ID {
		t.Errorf("again: status %d, %+v", status, again)
	}
	other, status, _ := u.act(hostA, "key-1", "", api.ActionRequest{Action: wire.ActionReset, Target: machine})
	if status != http.StatusUnprocessableEntity || !strings.Contains(other.Reason, "new key") {
		t.Errorf("another with the key: status %d, %+v", status, other)
	}
	ended := make(chan api.Action, 1)
	go func() {
		a, _, _ := u.act(hostA, "key-1", "?wait=10", powerOff)
		ended <- a
	}()
	g.say(done)
	if a = <-ended; a.State != wire.ActionSucceeded || a.Progress != 100 || a.Ended.IsZero() {
		t.Errorf("the end: %+v", a)
	}
	var page api.Actions
	if u.call("GET", "/api/v1/hosts/"+string(hostA)+"/actions", nil, &page); len(page.Items) != 1 || page.Items[0].State != wire.ActionSucceeded {
		t.Errorf("the list: %+v", page)
	}
	var one api.Action
	if u.call("GET", "/api/v1/actions?state=succeeded&vm="+machine.ID, nil, &page); len(page.Items) != 1 || page.Items[0].ID != a.ID {
		t.Errorf("the list of all hosts: %+v", page)
	}
	if s := u.call("GET", "/api/v1/actions/"+a.ID, nil, &one); s != http.StatusOK || one.ID != a.ID || one.Host != hostA {
		t.Errorf("by its id alone: status %d, %+v", s, one)
	}
	for _, path := range []string{"?state=odd", "?limit=0", "?host=kvm1", "?continue=x"} {
		if s := u.call("GET", "/api/v1/actions"+path, nil, nil); s != http.StatusBadRequest {
			t.Errorf("%s: status %d", path, s)
		}
	}
	if s := u.call("GET", "/api/v1/actions/nothing-like-it", nil, nil); s != http.StatusNotFound {
		t.Errorf("an unknown action: status %d", s)
	}
	if g.count() != 1 {
		t.Errorf("the gateway was asked %d times", g.count())
	}
	u.audited(t, "action.request", "done", a.ID)
	u.audited(t, "action.power-off", "done", a.ID+" power-off compute.vm "+machine.ID)
}

// audited waits for an entry of the audit.
func (u *unit) audited(t *testing.T, action, outcome, object string) {
	t.Helper()
	u.eventually("the audit tells of "+action+" "+outcome, func() bool {
		var list api.Audit
		u.call("GET", "/api/v1/audit?action="+action, nil, &list)
		for _, e := range list.Entries {
			if e.Outcome == outcome && strings.Contains(e.Object, object) && e.Actor != "" {
				return true
			}
		}
		return false
	})
}

func TestActionsThatAreNotDone(t *testing.T) {
	u := start(t, t.TempDir())
	g := u.gateway(hostA)
	plain := u.enroll(hostB) // a host without the service
	g.connect()
	plain.connect()
	u.eventually("the host is connected", func() bool { return u.host(hostB).Connected })
	ends := func(id wire.HostID, q any, state, reason string) {
		t.Helper()
		if a, status, _ := u.act(id, "", "?wait=20s", q); status != http.StatusOK || a.State != state || a.Uncertain || !strings.Contains(a.Reason, reason) {
			t.Errorf("status %d, %+v; want it %s with %q", status, a, state, reason)
		}
	}
	ends(hostB, powerOff, wire.ActionFailed, `no service "actions" here), nothing was done`)
	ends(hostA, api.ActionRequest{Action: "defrost", Target: machine}, wire.ActionRefused, `cannot do "defrost"`)
	g.set(func() { g.offer.Reason = "control is switched off" })
	ends(hostA, powerOff, wire.ActionRefused, "control is switched off")
	for name, tc := range map[string]struct {
		host   wire.HostID
		q      any
		key    string
		status int
		reason string
	}{
		"unknown host":    {"00000009-0000-4000-8000-000000000000", powerOff, "", 404, "no host"},
		"no host id":      {"kvm1", powerOff, "", 404, "UUID"},
		"no action":       {hostA, api.ActionRequest{Target: machine}, "", 400, "action"},
		"no target":       {hostA, api.ActionRequest{Action: wire.ActionPowerOff}, "", 400, "target"},
		"unknown field":   {hostA, map[string]any{"action": "power-off", "force": true}, "", 400, "force"},
		"no use for it":   {hostA, api.ActionRequest{Action: wire.ActionPowerOff, Target: machine, Arguments: wire.ActionArguments{Memory: true}}, "", 400, "no use"},
		"endless timeout": {hostA, api.ActionRequest{Action: wire.ActionPowerOff, Target: machine, TimeoutSeconds: 4000}, "", 400, "timeout_seconds"},
		"odd key":         {hostA, powerOff, "a b", 400, "Idempotency-Key"},
	} {
		if a, status, _ := u.act(tc.host, tc.key, "", tc.q); status != tc.status || !strings.Contains(a.Reason, tc.reason) {
			t.Errorf("%s: status %d, %q; want %d with %q", name, status, a.Reason, tc.status, tc.reason)
		}
	}
	if s := u.call("GET", "/api/v1/hosts/"+string(hostA)+"/actions/nothing-like-it", nil, nil); s != http.StatusNotFound {
		t.Errorf("an unknown action: status %d", s)
	}
	if g.count() != 0 {
		t.Errorf("the gateway was asked %d times", g.count())
	}

	// A host that is away gets nothing, now or later; the key may be used again.
	_ = g.s.Close("away")
	u.eventually("the gateway is disconnected", func() bool { return !u.host(hostA).Connected })
	a, status, _ := u.act(hostA, "key-2", "", powerOff)
	if status != http.StatusServiceUnavailable || !strings.Contains(a.Reason, "away), nothing was done; try again when it is back") {
		t.Errorf("away: status %d, %+v", status, a)
	}
	u.audited(t, "action.request", "failed", "power-off")
	g.set(func() { g.offer.Reason = "" })
	g.connect()
	if a, status, _ := u.act(hostA, "key-2", "", powerOff); status != http.StatusAccepted {
		t.Errorf("back again: status %d, %+v", status, a)
	}
	u.eventually("the gateway is asked once", func() bool { return g.count() == 1 })

	// A reader may look and not act.
	var made api.NewToken
	u.call("POST", "/api/v1/api-tokens", api.TokenRequest{Name: "looker", Level: "reader"}, &made)
	u.token = made.Secret
	if _, status, _ := u.act(hostA, "", "", powerOff); status != http.StatusForbidden {
		t.Errorf("a reader acts: status %d", status)
	}
	if s := u.call("GET", "/api/v1/hosts/"+string(hostA)+"/actions", nil, nil); s != http.StatusOK {
		t.Errorf("a reader looks: status %d", s)
	}
}

func TestActionsOutliveTunnelAndDeploymentUnit(t *testing.T) {
	state := t.TempDir()
	u := start(t, state)
	g := u.gateway(hostA)
	g.cut = true // the stream breaks once it was accepted
	g.connect()
	a, status, location := u.act(hostA, "key", "", powerOff)
	if status != http.StatusAccepted {
		t.Fatalf("status %d, %+v", status, a)
	}
	u.eventually("the gateway is asked", func() bool { return g.count() == 1 })
	g.say(func(o *wire.ActionOutcome) { o.State, o.Progress = wire.ActionRunning, 30 })
	u.eventually("it is in sight again", func() bool {
		u.call("GET", location, nil, &a)
		return a.Progress == 30
	})

	// The tunnel goes, and the action ends meanwhile.
	_ = g.s.Close("away")
	u.eventually("it is out of sight", func() bool {
		u.call("GET", location, nil, &a)
		return strings.Contains(a.Reason, "out of reach")
	})
	g.say(done)
	g.connect()
	a = api.Action{}
	if s := u.call("GET", location+"?wait=20s", nil, &a); s != http.StatusOK || a.State != wire.ActionSucceeded || a.Reason != "" {
		t.Errorf("after the tunnel's return: status %d, %+v", s, a)
	}

	// The deployment unit goes in the middle of the next, which ends meanwhile.
	g.set(func() { g.cut = false })
	b, _, location := u.act(hostA, "key-b", "", powerOff)
	u.eventually("the gateway is asked", func() bool { return g.count() == 2 })
	u.stop()
	g.say(done)
	u = start(t, state)
	g.u = u
	if again, status, _ := u.act(hostA, "key", "", powerOff); status != http.StatusOK || again.ID != a.ID || again.State != wire.ActionSucceeded {
		t.Errorf("the key after a restart: status %d, %+v", status, again)
	}
	if again, status, _ := u.act(hostA, "key-b", "", powerOff); status != http.StatusAccepted || again.ID != b.ID {
		t.Errorf("the open key after a restart: status %d, %+v", status, again)
	}
	g.connect()
	if s := u.call("GET", location+"?wait=20s", nil, &b); s != http.StatusOK || b.State != wire.ActionSucceeded {
		t.Errorf("after a restart: status %d, %+v", s, b)
	}
	if g.count() != 2 {
		t.Errorf("the gateway was asked %d times", g.count())
	}
}

func TestAConsoleIsHandedOverOnce(t *testing.T) {
	state := t.TempDir()
	u := start(t, state)
	g := u.gateway(hostA)
	g.connect()
	a, _, location := u.act(hostA, "", "", api.ActionRequest{Action: wire.ActionConsole, Target: machine})
	u.eventually("the gateway is asked", func() bool { return g.count() == 1 })
	g.say(func(o *wire.ActionOutcome) {
		done(o)
		o.Result = &wire.ActionResult{Console: &wire.ConsoleTicket{Type: "webmks", URL: "wss://esx1/ticket/sesame", Expires: time.Now().Add(time.Minute)}}
	})
	mine := u.token
	var made api.NewToken
	u.call("POST", "/api/v1/api-tokens", api.TokenRequest{Name: "other", Level: "operator"}, &made)
	u.token = made.Secret
	if u.call("GET", location+"?wait=10s", nil, &a); a.State != wire.ActionSucceeded || a.Result != nil {
		t.Errorf("somebody else gets %+v, %+v", a, a.Result)
	}
	u.token = mine
	u.call("POST", "/api/v1/api-tokens", api.TokenRequest{Name: a.RequestedBy, Level: "reader"}, &made)
	u.token = made.Secret
	if u.call("GET", location, nil, &a); a.Result != nil {
		t.Errorf("a reader of the same name gets %+v", a.Result)
	}
	u.token = mine
	if u.call("GET", location, nil, &a); a.Result == nil || a.Result.Console == nil || a.Result.Console.URL != "wss://esx1/ticket/sesame" {
		t.Errorf("who asked gets %+v, %+v", a, a.Result)
	}
	for range 2 {
		a.Result = nil
		if u.call("GET", location, nil, &a); a.Result != nil {
			t.Errorf("again: %+v", a.Result)
		}
		u.stop()
		u = start(t, state)
	}
	u.stop()
	for _, file := range []string{DatabaseFile, DatabaseFile + "-wal"} {
		text, err := os.ReadFile(filepath.Join(state, file))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("sesame")) {
			t.Errorf("%s holds the ticket", file)
		}
	}
}
