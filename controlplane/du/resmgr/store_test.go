package resmgr

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "embed"

	"github.com/openpf9/openpf9/internal/sqldb"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

func openDB(t testing.TB, file string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), Schema()); err != nil {
		t.Fatal(err)
	}
	return db
}

// A run is a manager whose store runs until stop.
func run(t testing.TB, db *sqldb.DB, lim Limits) (m *Manager, stop func()) {
	t.Helper()
	m, err := New(t.Context(), Config{DB: db, Limits: lim})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return m, stop
}

func TestRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	m, stop := run(t, openDB(t, file), Limits{})
	a, b := newAgent(1), newAgent(2)
	a.epoch = 4
	for i := range 50 {
		r := vm(i, fmt.Sprint("vm", i), inventory.VMRunning)
		r.Parent = plugin.Key{Kind: "x", ID: "y"}
		r.Ext = []byte(`{"a/b":"<&>"}`)
		a.mirror[r.Key], b.mirror[r.Key] = r, r
	}
	a.connect(t, m)
	b.connect(t, m)
	m.Disconnected(b.p.Host, b.p.Session, "closed by the agent: bye")
	stop()

	m, stop = run(t, openDB(t, file), Limits{})
	a.same(t, m)
	b.same(t, m)
	for n, want := range map[int]string{1: "control plane restarted", 2: "closed by the agent: bye"} {
		if v, err := m.Host(hostID(n)); err != nil || v.Connected || v.Reason != want || v.Hostname == "" || len(v.Sources) != 1 {
			t.Fatalf("host %d after a restart: %+v, %v", n, v, err)
		}
	}
	v, err := m.Get(a.p.Host, vm(3, "", "").Key)
	if err != nil || v.StaleReason != "host is disconnected: control plane restarted" || v.State != inventory.VMRunning {
		t.Fatalf("resource after a restart: %+v, %v", v, err)
	}
	m.Connected(a.p)
	w, err := m.Hello(a.p, a.hello())
	if err != nil || len(w.Need) != 0 {
		t.Fatalf("hello after a restart: need %q, %v", w.Need, err)
	}
	if err := m.Forget(t.Context(), b.p.Host, "test"); err != nil {
		t.Fatal(err)
	}
	stop()

	db := openDB(t, file)
	if err := db.Tx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE resmgr_resource SET spec = '{}' WHERE id = $1", vm(7, "", "").ID)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	m, _ = run(t, db, Limits{})
	if _, err := m.Host(b.p.Host); statusOf(err) != 404 {
		t.Fatalf("a forgotten host is back: %v", err)
	}
	if _, err := m.Get(a.p.Host, vm(7, "", "").Key); statusOf(err) != 404 {
		t.Fatalf("a damaged resource was loaded: %v", err)
	}
	a.connect(t, m) // the host sends it again
	a.same(t, m)
}

// A host that says nothing new costs no statement.
func TestIdleHostsCostNoSQL(t *testing.T) {
	m, stop := run(t, openDB(t, filepath.Join(t.TempDir(), "db")), Limits{})
	a := newAgent(1)
	r := vm(1, "web", inventory.VMRunning)
	a.mirror[r.Key] = r
	a.connect(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for tick := time.Tick(time.Millisecond); m.unwritten() || len(m.write) > 0; {
		select {
		case <-tick:
		case <-ctx.Done():
			t.Fatal("the store does not come to rest")
		}
	}
	before := m.feed.rev
	if _, err := m.Hello(a.p, a.hello()); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		a.seq++
		a.status[0].Listed, a.status[0].Count = time.Now(), 1
		if _, err := m.Report(a.p, &wire.Report{
			Epoch: 1, Seq: a.seq, Digests: a.digests(), Sources: a.status,
			Usage: &inventory.Usage{CPUPercent: float64(a.seq)}, Upserts: []wire.Resource{r},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if m.unwritten() || m.feed.rev != before {
		t.Fatalf("nothing changed, yet there is something to write, and the revision went from %d to %d", before, m.feed.rev)
	}
	stop()
}

func TestHistory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	m, stop := run(t, openDB(t, file), Limits{Events: 100})
	a, b := newAgent(1), newAgent(2)
	a.connect(t, m)
	b.connect(t, m)
	var all []wire.Event
	for i := range 250 {
		all = append(all, wire.Event{
			Epoch: 1, Seq: uint64(i + 1), Time: time.Unix(int64(i), 0), Type: "state",
			About: plugin.Key{Kind: inventory.KindVM, ID: fmt.Sprint(i % 2)}, Detail: "running -> shut_off",
		})
	}
	send := func(m *Manager, a *fakeAgent, es []wire.Event) {
		t.Helper()
		ack, err := m.Events(t.Context(), a.p, &wire.Events{Events: es})
		if last := es[len(es)-1]; err != nil || ack != (wire.EventsAck{Epoch: last.Epoch, Seq: last.Seq}) {
			t.Fatalf("ack %+v, %v", ack, err)
		}
	}
	send(m, b, all[:1])
	send(m, a, all[:60])
	send(m, a, all[30:90]) // the ack was lost
	count := func(m *Manager, q HistoryQuery) (n int, newest uint64) {
		t.Helper()
		q.Limit = 7
		for {
			p, err := m.History(t.Context(), &q)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range p.Items {
				if n == 0 && i == 0 {
					newest = e.Seq
				}
			}
			n += len(p.Items)
			if q.Continue = p.Continue; q.Continue == "" {
				return n, newest
			}
		}
	}
	if n, newest := count(m, HistoryQuery{Host: a.p.Host}); n != 90 || newest != 90 {
		t.Fatalf("%d events up to %d", n, newest)
	}
	stop()
	m, _ = run(t, openDB(t, file), Limits{Events: 100})
	a.p.Session = 2
	a.connect(t, m)
	send(m, a, all[80:])
	if n, newest := count(m, HistoryQuery{Host: a.p.Host}); n != 100 || newest != 250 {
		t.Fatalf("%d events up to %d, want the last 100 of 250", n, newest)
	}
	if n, _ := count(m, HistoryQuery{Host: a.p.Host, ID: "1"}); n != 50 {
		t.Fatalf("%d events about one resource", n)
	}
	if n, _ := count(m, HistoryQuery{}); n != 101 {
		t.Fatalf("%d events of all hosts", n)
	}
}

// The catalogue is stopped at any moment, with and without its last writes:
// after the hosts have said hello it is theirs again.
func TestCatalogueSurvivesRestarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	rnd := rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano())))
	agents := []*fakeAgent{newAgent(1), newAgent(2), newAgent(3)}
	for range 15 {
		db := openDB(t, file)
		m, err := New(t.Context(), Config{DB: db})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range agents {
			a.p.Session++
			a.connect(t, m)
			a.same(t, m)
		}
		for range 100 {
			a := agents[rnd.IntN(len(agents))]
			v := vm(rnd.IntN(30), fmt.Sprint("vm", rnd.IntN(10)), inventory.VMRunning)
			a.seq++
			r := &wire.Report{Epoch: a.epoch, Seq: a.seq}
			if rnd.IntN(3) == 0 {
				delete(a.mirror, v.Key)
				r.Deletes = []plugin.Key{v.Key}
			} else {
				a.mirror[v.Key] = v
				r.Upserts = []wire.Resource{v}
			}
			if _, err := m.Report(a.p, r); err != nil {
				t.Fatal(err)
			}
			if rnd.IntN(20) == 0 {
				if err := m.flush(t.Context(), time.Minute, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		db.Close() // what is not written is lost
	}
}
