package resmgr

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// requestFor is how long the server gives ordinary requests.
const requestFor = 100 * time.Millisecond

type sse struct{ id, event, data string }

// A client reads a watch over a real connection.
type client struct {
	t    *testing.T
	body *bufio.Scanner
}

func watch(t *testing.T, m *Manager, q Query, since string) *client {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := q
		if err := m.Watch(r.Context(), w, &query, since); err != nil {
			w.WriteHeader(statusOf(err))
		}
	}))
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = requestFor, requestFor
	srv.Start()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(func() { cancel(); srv.Close() })
	req, err := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %s", res.Status)
	}
	c := &client{t, bufio.NewScanner(res.Body)}
	c.body.Buffer(nil, 1<<20)
	return c
}

func (c *client) next() sse {
	c.t.Helper()
	var e sse
	for c.body.Scan() {
		line := c.body.Text()
		switch field, value, _ := strings.Cut(line, ": "); {
		case line == "" && e.event != "":
			return e
		case field == "id":
			e.id = value
		case field == "event":
			e.event = value
		case field == "data":
			e.data = value
		}
	}
	c.t.Fatalf("the watch ended: %v", c.body.Err())
	return e
}

// until reads up to the event and returns what came before it.
func (c *client) until(event string) (before []sse, e sse) {
	c.t.Helper()
	for {
		if e = c.next(); e.event == event {
			return before, e
		}
		before = append(before, e)
	}
}

func TestWatch(t *testing.T) {
	m := newManager(t, Limits{Changes: 64})
	a, b := newAgent(1), newAgent(2)
	for i := range 3 {
		r := vm(i, fmt.Sprint("vm", i), inventory.VMRunning)
		a.mirror[r.Key], b.mirror[r.Key] = r, r
	}
	a.connect(t, m)
	b.connect(t, m)
	c := watch(t, m, Query{Kind: inventory.KindVM, Host: a.p.Host}, "")
	before, synced := c.until(api.Synced)
	if len(before) != 4 || before[0].event != api.HostSeen || before[3].event != api.Added {
		t.Fatalf("the snapshot is %+v", before)
	}
	for _, e := range before {
		if e.id != "" {
			t.Fatal("a part of the snapshot can be resumed from")
		}
	}

	put := func(a *fakeAgent, r wire.Resource, deletes ...plugin.Key) {
		t.Helper()
		a.seq++
		rep := &wire.Report{Epoch: 1, Seq: a.seq, Deletes: deletes}
		if r.ID != "" {
			rep.Upserts = []wire.Resource{r}
		}
		if _, err := m.Report(a.p, rep); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(2 * requestFor)                // a watch outlives what bounds a request
	put(b, vm(9, "other", inventory.VMRunning)) // not watched
	put(a, vm(1, "vm1", inventory.VMPaused))
	put(a, vm(7, "new", inventory.VMRunning))
	put(a, wire.Resource{}, vm(1, "", "").Key)
	m.Disconnected(a.p.Host, a.p.Session, "timeout")

	check := func(c *client) (last string) {
		t.Helper()
		for _, want := range []struct{ event, name string }{{api.Modified, "vm1"}, {api.Added, "new"}, {api.Deleted, "vm1"}, {api.HostSeen, ""}} {
			e := c.next()
			var d struct{ Name, Reason string }
			if err := json.Unmarshal([]byte(e.data), &d); err != nil {
				t.Fatal(err)
			}
			if e.event != want.event || d.Name != want.name || e.id == "" {
				t.Fatalf("got %+v, want %+v", e, want)
			}
			last = e.id
		}
		return last
	}
	last := check(c)
	check(watch(t, m, Query{Kind: inventory.KindVM, Host: a.p.Host}, synced.id)) // resumed

	a.p.Session++
	a.connect(t, m)
	resumed := watch(t, m, Query{}, last)
	if e := resumed.next(); e.event != api.HostSeen || !strings.Contains(e.data, `"connected":true`) {
		t.Fatalf("got %+v", e)
	}

	for i := range 100 { // more than the feed keeps
		put(b, vm(9, fmt.Sprint("n", i), inventory.VMRunning))
	}
	for why, since := range map[string]string{"too far behind": last, "another run": "zzz.5", "the future": m.revision(1 << 40)} {
		c := watch(t, m, Query{}, since)
		if e := c.next(); e.event != api.Reset {
			t.Fatalf("%s: got %+v", why, e)
		}
		if before, _ := c.until(api.Synced); len(before) != 2+3+4 {
			t.Fatalf("%s: snapshot of %d", why, len(before))
		}
	}

	if err := m.Forget(t.Context(), b.p.Host, "test"); err != nil {
		t.Fatal(err)
	}
	gone := 0
	c = watch(t, m, Query{Host: b.p.Host}, m.revision(m.feed.rev-5))
	for range 4 {
		if e := c.next(); e.event == api.Deleted {
			gone++
		}
	}
	if e := c.next(); gone != 4 || e.event != api.HostSeen || !strings.Contains(e.data, `"deleted":true`) {
		t.Fatalf("forgetting a host: %d deleted, then %+v", gone, e)
	}
}
