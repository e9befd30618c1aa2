package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/sqldb"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

const host wire.HostID = "00000001-0000-4000-8000-000000000000"

var (
	ops  = httpapi.Caller{Name: "ops"}
	stop = api.ActionRequest{Action: wire.ActionPowerOff, Target: plugin.Key{Kind: "compute.vm", ID: "x"}}
)

// manager runs a Manager before a host that answers requests as answer does.
// Questions of what it can do are answered for it.
func manager(t *testing.T, change func(*Manager), answer http.HandlerFunc) *Manager {
	t.Helper()
	db, err := sqldb.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), Schema()); err != nil {
		t.Fatal(err)
	}
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(wire.ActionsOffer{Actions: wire.Actions()})
			return
		}
		answer(w, r)
	}))
	t.Cleanup(far.Close)
	m, err := New(t.Context(), Config{
		DB:   db,
		Host: func(id wire.HostID) (api.Host, error) { return api.Host{ID: id, Connected: true}, nil },
		Dial: func(ctx context.Context, _ wire.HostID, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", far.Listener.Addr().String())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.grace = 300 * time.Millisecond
	if change != nil {
		change(m)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return m
}

// say answers with an outcome for the request's action.
func say(w http.ResponseWriter, r *http.Request, o wire.ActionOutcome) {
	var q wire.ActionRequest
	if _, id, settled := strings.Cut(r.URL.Path, "/v1/actions/"); settled {
		q.ID = strings.TrimSuffix(id, "/settle")
	} else if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		panic(err)
	}
	o.ID = q.ID
	_ = json.NewEncoder(w).Encode(o)
}

// end begins an action and waits for its end.
func end(t *testing.T, m *Manager, q api.ActionRequest) api.Action {
	t.Helper()
	a, err := m.Begin(t.Context(), ops, host, "", &q)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if a, err = m.Wait(ctx, ops, host, a.ID, -1); err != nil || !a.Done() {
		t.Fatalf("it does not end: %+v, %v", a, err)
	}
	return a
}

func TestHostsThatSayOddThings(t *testing.T) {
	long := strings.Repeat("ä", 5000)
	tests := map[string]struct {
		answer    http.HandlerFunc
		state     string
		reason    string // part of it
		uncertain bool
	}{
		"another action": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, `{"id":"other-action","state":"succeeded"}`)
		}, wire.ActionFailed, "not understood", true},
		"no JSON":            {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `succeeded`) }, wire.ActionFailed, "not understood", true},
		"a line without end": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 100<<10)) }, wire.ActionFailed, "token too long", true},
		"nothing":            {func(w http.ResponseWriter, _ *http.Request) {}, wire.ActionFailed, "(the connection broke off), it may have been done", true},
		"a failure of its own": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
		}, wire.ActionFailed, "500", true},
		"a refusal": {func(w http.ResponseWriter, _ *http.Request) {
			httpapi.WriteError(w, httpapi.Errorf(http.StatusBadRequest, "no such thing"))
		}, wire.ActionRefused, "the host refuses the request: no such thing", false},
		"a long story": {func(w http.ResponseWriter, r *http.Request) {
			say(w, r, wire.ActionOutcome{State: wire.ActionSucceeded, Reason: long, Progress: 1000})
		}, wire.ActionSucceeded, long[:1000], false},
		"a failure": {func(w http.ResponseWriter, r *http.Request) {
			say(w, r, wire.ActionOutcome{State: wire.ActionFailed, Reason: "TaskInProgress"})
		}, wire.ActionFailed, "TaskInProgress", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := manager(t, nil, test.answer)
			q := stop
			q.TimeoutSeconds = 1
			a := end(t, m, q)
			if a.State != test.state || !strings.Contains(a.Reason, test.reason) || a.Uncertain != test.uncertain || len(a.Reason) > maxReason || a.Progress > 100 {
				t.Errorf("got %+v", a)
			}
			if kept, err := m.load(t.Context(), host, a.ID); err != nil || kept.State != a.State || kept.Reason != a.Reason {
				t.Errorf("kept %+v, %v", kept, err)
			}
		})
	}
}

func TestOpenActionsAreBounded(t *testing.T) {
	release := make(chan struct{})
	m := manager(t, func(m *Manager) { m.cfg.Limits.PerHost = 1 }, func(w http.ResponseWriter, r *http.Request) {
		<-release
		say(w, r, wire.ActionOutcome{State: wire.ActionSucceeded})
	})
	first, err := m.Begin(t.Context(), ops, host, "", &stop)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Begin(t.Context(), ops, host, "", &stop)
	if e, ok := errors.AsType[*httpapi.Error](err); !ok || e.Status != http.StatusServiceUnavailable || e.RetryAfter == 0 {
		t.Errorf("one too many: %v", err)
	}
	close(release)
	if a, err := m.Wait(t.Context(), ops, host, first.ID, -1); err != nil || a.State != wire.ActionSucceeded {
		t.Errorf("the first: %+v, %v", a, err)
	}
	for m.Open() > 0 { // what has ended leaves at once
		if _, err := m.Wait(t.Context(), ops, host, first.ID, -1); err != nil {
			t.Fatal(err)
		}
	}
	if a := end(t, m, stop); a.State != wire.ActionSucceeded {
		t.Errorf("after its end: %+v", a)
	}
}

func TestAKeyIsItsOwners(t *testing.T) {
	m := manager(t, nil, func(w http.ResponseWriter, r *http.Request) {
		say(w, r, wire.ActionOutcome{State: wire.ActionSucceeded})
	})
	var wg sync.WaitGroup
	ids := make(chan string, 8)
	for range cap(ids) { // all at once
		wg.Go(func() {
			a, err := m.Begin(t.Context(), ops, host, "key", &stop)
			if err != nil {
				t.Error(err)
			}
			ids <- a.ID
		})
	}
	wg.Wait()
	close(ids)
	first := <-ids
	for id := range ids {
		if id != first {
			t.Errorf("one key began %s and %s", first, id)
		}
	}
	other, err := m.Begin(t.Context(), httpapi.Caller{Name: "else"}, host, "key", &stop)
	if err != nil || other.ID == first {
		t.Errorf("somebody else's key: %+v, %v", other, err)
	}
	_, err = m.Begin(t.Context(), ops, "00000002-0000-4000-8000-000000000000", "key", &stop)
	if e, ok := errors.AsType[*httpapi.Error](err); !ok || e.Status != http.StatusUnprocessableEntity {
		t.Errorf("the key for another host: %v", err)
	}
}

func TestWhatOutlivedItsDeadlineIsSettled(t *testing.T) {
	far := time.Now().Add(-time.Hour).UTC()
	a := api.Action{
		ID: "action-1", Host: host, Action: wire.ActionPowerOff, Target: stop.Target, RequestedBy: "ops",
		Requested: far, Deadline: far.Add(time.Minute), State: wire.ActionRunning, Revision: 1,
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		state  string
	}{
		"by a host that knows": {func(w http.ResponseWriter, r *http.Request) {
			say(w, r, wire.ActionOutcome{State: wire.ActionSucceeded})
		}, wire.ActionSucceeded},
		"by a host that says nothing": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, wire.ActionFailed},
	} {
		t.Run(name, func(t *testing.T) {
			m := manager(t, func(m *Manager) {
				if err := m.insert(t.Context(), &a, a.ID, "digest"); err != nil {
					t.Fatal(err)
				}
				o := &open{sent: true, action: a, changed: make(chan struct{})}
				m.enter(o)
				m.left = append(m.left, o)
			}, test.answer)
			got, err := m.Wait(t.Context(), ops, host, a.ID, -1)
			if err != nil || got.State != test.state || got.Uncertain != (test.state == wire.ActionFailed) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// A request that comes before Run is new, and not what an earlier run left.
func TestWhatComesBeforeRunIsSentOnce(t *testing.T) {
	var mu sync.Mutex // guards paths
	var paths []string
	var m *Manager
	stored := make(chan api.Action, 1)
	m = manager(t, func(m *Manager) { // which does not run yet
		go func() {
			a, err := m.Begin(t.Context(), ops, host, "", &stop)
			if err != nil {
				t.Error(err)
			}
			stored <- a
		}()
		for open := 0; open == 0; { // it waits for Run
			all, err := m.loadOpen(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			open = len(all)
		}
	}, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths = append(paths, r.URL.Path)
		mu.Unlock()
		say(w, r, wire.ActionOutcome{State: wire.ActionSucceeded})
	})
	a := <-stored
	if a, err := m.Wait(t.Context(), ops, host, a.ID, -1); err != nil || a.State != wire.ActionSucceeded {
		t.Errorf("got %+v, %v", a, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(paths) != 1 || paths[0] != "/v1/actions" {
		t.Errorf("the host was asked %q", paths)
	}
}

func TestOldActionsAreForgotten(t *testing.T) {
	m := manager(t, func(m *Manager) { m.cfg.Limits.Kept = 3 }, func(w http.ResponseWriter, r *http.Request) {
		say(w, r, wire.ActionOutcome{State: wire.ActionSucceeded})
	})
	var all []api.Action
	for range 6 {
		all = append(all, end(t, m, stop))
	}
	m.trim(t.Context())
	if _, err := m.load(t.Context(), host, all[2].ID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the third of six is there: %v", err)
	}
	page, err := m.List(t.Context(), Query{Host: host, Limit: 2})
	if err != nil || len(page.Items) != 2 || page.Items[0].ID != all[5].ID || page.Continue == "" {
		t.Fatalf("the first page: %+v, %v", page, err)
	}
	if page, err = m.List(t.Context(), Query{Host: host, Limit: 2, After: page.Continue}); err != nil || len(page.Items) != 1 || page.Items[0].ID != all[3].ID || page.Continue != "" {
		t.Errorf("the second page: %+v, %v", page, err)
	}
	m.cfg.Limits.Days = -1 // all is older
	m.trim(t.Context())
	if page, err = m.List(t.Context(), Query{Host: host, Limit: 2}); err != nil || len(page.Items) != 0 {
		t.Errorf("after that: %+v, %v", page, err)
	}
}

func TestActionsAreListed(t *testing.T) {
	var s stock
	s.set("running")
	hold := make(chan struct{})
	m := manager(t, func(m *Manager) { m.cfg.Resource = s.get }, func(w http.ResponseWriter, r *http.Request) {
		var q wire.ActionRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		o := wire.ActionOutcome{ID: q.ID, State: wire.ActionSucceeded}
		switch q.Action {
		case wire.ActionReset:
			o.State = wire.ActionFailed
		case wire.ActionSuspend:
			o.State = wire.ActionRunning
			_ = json.NewEncoder(w).Encode(o)
			_ = http.NewResponseController(w).Flush()
			<-hold
			o.State = wire.ActionRefused
		}
		_ = json.NewEncoder(w).Encode(o)
	})
	var ids []string
	begin := func(id wire.HostID, action, vm string) {
		t.Helper()
		a, err := m.Begin(t.Context(), ops, id, "", &api.ActionRequest{Action: action, Target: plugin.Key{Kind: "compute.vm", ID: vm}})
		if err == nil && action != wire.ActionSuspend {
			a, err = m.Wait(t.Context(), ops, id, a.ID, -1)
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, a.ID)
	}
	const other wire.HostID = "00000002-0000-4000-8000-000000000000"
	begin(host, wire.ActionReboot, "x")
	begin(other, wire.ActionReset, "y")
	begin(other, wire.ActionReboot, "x")
	begin(host, wire.ActionSuspend, "z")
	for o := m.refreshed(ids[3]); o.State != wire.ActionRunning; o = m.refreshed(ids[3]) {
		if _, err := m.Wait(t.Context(), ops, host, ids[3], o.Revision); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		q    Query
		want string // places in ids
	}{
		{Query{}, "3210"},
		{Query{Host: other}, "21"},
		{Query{VM: "x"}, "20"},
		{Query{VM: "web"}, "3210"}, // the name
		{Query{VM: "x", Host: host}, "0"},
		{Query{State: wire.ActionFailed}, "1"},
		{Query{State: wire.ActionRunning}, "3"},
		{Query{State: StateOpen}, "3"},
		{Query{State: wire.ActionRefused}, ""},
		{Query{State: wire.ActionSucceeded, Limit: 1}, "2, 0"},
		{Query{Limit: 3}, "321, 0"},
	} {
		got := ""
		for q := test.q; ; {
			page, err := m.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range page.Items {
				got += strconv.Itoa(slices.Index(ids, a.ID))
			}
			if q.After = page.Continue; q.After == "" {
				break
			}
			got += ", "
		}
		if got != test.want {
			t.Errorf("%+v: got %s, want %s", test.q, got, test.want)
		}
	}
	close(hold)
}

func (m *Manager) refreshed(id string) (a api.Action) {
	a.ID = id
	m.refresh(&a)
	return a
}

func FuzzLine(f *testing.F) {
	f.Add([]byte(`{"id":"a","state":"running","progress":3}`))
	f.Add([]byte(`{"id":"a","state":"queued","reason":"\u00e4","result":{"console":{"url":"x"}}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		o, err := parse(line, "a")
		if err == nil && (o.ID != "a" || len(o.Reason) > maxReason || o.Progress < 0 || o.Progress > 100) {
			t.Errorf("not tidy: %+v", o)
		}
	})
}
