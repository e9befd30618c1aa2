package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// record is a sink that remembers.
type record struct {
	mu     sync.Mutex
	lists  map[string]int
	last   map[string][]plugin.Resource
	got    []string
	status map[string]wire.SourceStatus
	gone   []string

	batches int

	declared map[string][]plugin.Kind
}

func newRecord() *record {
	return &record{lists: map[string]int{}, last: map[string][]plugin.Resource{}, status: map[string]wire.SourceStatus{}, declared: map[string][]plugin.Kind{}}
}

func (r *record) Listed(m string, _ []string, rs []plugin.Resource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lists[m]++
	r.last[m] = rs
}

func (r *record) Declared(m string, _ []string, kinds []plugin.Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.declared[m] = kinds
}

func (r *record) Got(m string, k plugin.Key, _ plugin.Resource, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, fmt.Sprint(m, k.ID, found))
}

func (r *record) Changed(m string, _ []string, upserts []plugin.Resource, deletes []plugin.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches++
	for _, u := range upserts {
		r.got = append(r.got, fmt.Sprint(m, u.ID, true))
	}
	for _, k := range deletes {
		r.got = append(r.got, fmt.Sprint(m, k.ID, false))
	}
}

func (r *record) Status(st wire.SourceStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status[st.Name] = st
}

func (r *record) Removed(m string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = append(r.gone, m)
}

func (r *record) count(m string) int { r.mu.Lock(); defer r.mu.Unlock(); return r.lists[m] }

func (r *record) state(m string) wire.SourceStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status[m]
}

// list is a source.
type list func(ctx context.Context, emit func(plugin.Resource)) error

func (f list) List(ctx context.Context, emit func(plugin.Resource)) error { return f(ctx, emit) }

func good(_ context.Context, emit func(plugin.Resource)) error {
	emit(plugin.Resource{Key: plugin.Key{Kind: "k", ID: "1"}})
	return nil
}

// with runs modules in a bubble of its own time.
func with(t *testing.T, modules []discovery.Module, f func(t *testing.T, r *discovery.Runner, got *record)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		got := newRecord()
		r := discovery.New(got, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.Run(ctx, modules) })
		f(t, r, got)
		cancel()
		wg.Wait()
	})
}

func TestFaultsStayApart(t *testing.T) {
	failing := errors.New("disk on fire")
	modules := []discovery.Module{
		{Name: "good", Source: list(good)},
		{Name: "failing", Source: list(func(context.Context, func(plugin.Resource)) error { return failing })},
		{Name: "panicking", Source: list(func(context.Context, func(plugin.Resource)) error { panic("oh") })},
		{Name: "hanging", Source: list(func(ctx context.Context, _ func(plugin.Resource)) error { <-ctx.Done(); return ctx.Err() })},
		{Name: "absent", Source: list(func(context.Context, func(plugin.Resource)) error { return fmt.Errorf("libvirt: %w", fs.ErrNotExist) })},
	}
	with(t, modules, func(t *testing.T, _ *discovery.Runner, got *record) {
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := got.count("good"); n < 59 || n > 62 {
			t.Errorf("the good module was listed %d times in an hour of minutes", n)
		}
		for name, want := range map[string]string{"good": "ok", "failing": "failed", "panicking": "failed", "hanging": "failed", "absent": "ok"} {
			if st := got.state(name); st.State != want {
				t.Errorf("%s is %s (%s), want %s", name, st.State, st.Reason, want)
			}
			if name != "good" && len(got.last[name]) > 0 || name != "good" && name != "absent" && got.count(name) > 0 {
				t.Errorf("%s handed over a list", name)
			}
		}
		if st := got.state("failing"); st.Reason != "disk on fire" {
			t.Errorf("reason %q", st.Reason)
		}
	})
}

// declaring is a source that declares other kinds with each list.
type declaring struct {
	list
	lists *int
}

func (d declaring) Declares() []plugin.Kind {
	*d.lists++
	return []plugin.Kind{{Name: "com.acme.lun", Version: *d.lists}}
}

func TestKindsAreDeclaredAfterEachList(t *testing.T) {
	var well, broken int
	modules := []discovery.Module{
		{Name: "well", Source: declaring{good, &well}},
		{Name: "broken", Source: declaring{func(context.Context, func(plugin.Resource)) error { return errors.New("no") }, &broken}},
		{Name: "silent", Source: list(good)},
	}
	with(t, modules, func(t *testing.T, r *discovery.Runner, got *record) {
		synctest.Wait()
		r.Relist()
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		if ks := got.declared["well"]; len(ks) != 1 || ks[0].Version != got.count("well") || well < 2 {
			t.Errorf("after %d lists %v is declared", got.count("well"), ks)
		}
		if _, told := got.declared["broken"]; told || broken > 0 {
			t.Error("kinds are declared without a list")
		}
		if _, told := got.declared["silent"]; told {
			t.Error("kinds are declared by who does not")
		}
	})
}

func TestBackOffGrowsAndEnds(t *testing.T) {
	tries, broken := 0, true
	with(t, []discovery.Module{{Name: "m", Source: list(func(ctx context.Context, emit func(plugin.Resource)) error {
		tries++
		if broken {
			return errors.New("no")
		}
		return good(ctx, emit)
	})}}, func(t *testing.T, r *discovery.Runner, got *record) {
		time.Sleep(time.Hour)
		synctest.Wait()
		if tries < 12 || tries > 40 {
			t.Errorf("%d tries in an hour of failure, want a back-off that ends at five minutes", tries)
		}
		broken = false
		r.Relist("m")
		time.Sleep(time.Second)
		synctest.Wait()
		if st := got.state("m"); st.State != "ok" {
			t.Errorf("after the repair and a hint: %s (%s)", st.State, st.Reason)
		}
	})
}

func TestErrorKeepsTheLastList(t *testing.T) {
	calls := 0
	with(t, []discovery.Module{{Name: "m", Source: list(func(ctx context.Context, emit func(plugin.Resource)) error {
		if calls++; calls > 1 {
			emit(plugin.Resource{Key: plugin.Key{Kind: "k", ID: "half"}})
			return errors.New("cut off")
		}
		return good(ctx, emit)
	})}}, func(t *testing.T, _ *discovery.Runner, got *record) {
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if st := got.state("m"); st.State != "degraded" || got.count("m") != 1 || got.last["m"][0].ID != "1" {
			t.Errorf("state %s, %d lists", st.State, got.count("m"))
		}
	})
}

func TestASourceThatIsStillReadingIsStarting(t *testing.T) {
	var reads atomic.Bool
	why := fmt.Errorf("%w: 10 objects so far", plugin.ErrNotYet)
	with(t, nil, func(t *testing.T, r *discovery.Runner, got *record) {
		reads.Store(true)
		r.Set([]discovery.Module{{Name: "m", Source: list(func(ctx context.Context, emit func(plugin.Resource)) error {
			if reads.Load() {
				return why
			}
			return good(ctx, emit)
		})}})
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := got.state("m"); st.State != discovery.Starting || st.Reason != why.Error() {
			t.Errorf("while it reads: %s (%s)", st.State, st.Reason)
		}
		reads.Store(false)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if st := got.state("m"); st.State != discovery.OK {
			t.Errorf("when it has read: %s (%s)", st.State, st.Reason)
		}
		reads.Store(true)
		r.Relist()
		time.Sleep(time.Second)
		synctest.Wait()
		if st := got.state("m"); st.State != discovery.Degraded {
			t.Errorf("after a list that was there is no not yet: %s (%s)", st.State, st.Reason)
		}
	})
}

// watched hints when told, and gets.
type watched struct {
	list
	hint chan []plugin.Key
	fail chan error
}

func (w watched) Watch(ctx context.Context, changed func(...plugin.Key)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case keys := <-w.hint:
			changed(keys...)
		case err := <-w.fail:
			return err
		}
	}
}

func (watched) Get(_ context.Context, k plugin.Key) (plugin.Resource, bool, error) {
	if k.ID == "bad" {
		return plugin.Resource{}, false, errors.New("bad key")
	}
	return plugin.Resource{Key: k}, k.ID != "gone", nil
}

func TestHints(t *testing.T) {
	with(t, nil, func(t *testing.T, r *discovery.Runner, got *record) {
		w := watched{list: good, hint: make(chan []plugin.Key), fail: make(chan error)} // of the bubble
		r.Set([]discovery.Module{{Name: "m", Kinds: []string{"k"}, Source: w}})
		synctest.Wait()
		began := time.Now()
		w.hint <- []plugin.Key{{Kind: "k", ID: "a"}}
		w.hint <- []plugin.Key{{Kind: "k", ID: "gone"}}
		synctest.Wait()
		if len(got.got) != 2 || time.Since(began) != 0 || got.count("m") != 1 {
			t.Errorf("after keyed hints: got %v, %d lists, after %v", got.got, got.count("m"), time.Since(began))
		}
		for range 1000 {
			w.hint <- nil
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := got.count("m"); n < 2 || n > 9 {
			t.Errorf("a storm of a thousand hints made %d lists in a second", n-1)
		}
		time.Sleep(10 * time.Second)
		before := got.count("m")
		w.fail <- errors.New("connection lost")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got.count("m") == before {
			t.Error("no list after the watch broke")
		}
		if st := got.state("m"); st.State != "ok" {
			t.Errorf("after the list: %s (%s)", st.State, st.Reason)
		}
	})
}

func TestSetTouchesOnlyWhatChanged(t *testing.T) {
	a := discovery.Module{Name: "a", Source: list(good), Config: 1}
	b := discovery.Module{Name: "b", Source: list(good), Config: 1}
	with(t, []discovery.Module{a, b}, func(t *testing.T, r *discovery.Runner, got *record) {
		synctest.Wait()
		b.Config = 2
		c := discovery.Module{Name: "c", Source: list(good)}
		r.Set([]discovery.Module{a, b, c})
		time.Sleep(time.Second)
		synctest.Wait()
		if got.count("a") != 1 || got.count("b") != 2 || got.count("c") != 1 || len(got.gone) != 0 {
			t.Errorf("lists: a %d, b %d, c %d; removed %v", got.count("a"), got.count("b"), got.count("c"), got.gone)
		}
		r.Set([]discovery.Module{a})
		time.Sleep(time.Second)
		synctest.Wait()
		if len(got.gone) != 2 {
			t.Errorf("removed %v, want b and c", got.gone)
		}
	})
}
