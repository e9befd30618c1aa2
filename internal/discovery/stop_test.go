package discovery_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/plugin"
)

// stubborn does not return from List or Watch before it is freed, whatever its
// context says.
type stubborn struct {
	free  chan struct{}
	lists *int // under way
}

func (s stubborn) List(context.Context, func(plugin.Resource)) error {
	*s.lists++
	<-s.free
	*s.lists--
	return nil
}

// deaf lists, and watches without regard for its context.
type deaf struct {
	list
	free chan struct{}
}

func (d deaf) Watch(ctx context.Context, _ func(...plugin.Key)) error {
	<-d.free
	<-ctx.Done()
	return ctx.Err()
}

func TestRunReturnsWithoutTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		got := newRecord()
		r := discovery.New(got, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx, []discovery.Module{{Name: "deaf", Source: deaf{list: good, free: free}}}) }()
		time.Sleep(time.Second)
		cancel()
		began := time.Now()
		<-ended
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("Run returned %v after its context ended", took)
		}
		close(free)
	})
}

func TestOffAndOnWhileTheOldRunLasts(t *testing.T) {
	with(t, nil, func(t *testing.T, r *discovery.Runner, got *record) {
		free := make(chan struct{})
		on := []discovery.Module{{Name: "m", Source: deaf{list: good, free: free}}}
		r.Set(on)
		time.Sleep(time.Second)
		r.Set(nil)
		synctest.Wait()
		if len(got.gone) != 1 {
			t.Fatalf("removed %v, want m at once", got.gone)
		}
		r.Set(on)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := got.count("m"); n != 1 {
			t.Errorf("%d lists though the old run lasts", n)
		}
		if st := got.state("m"); st.State != discovery.Failed {
			t.Errorf("meanwhile the module is %s (%s)", st.State, st.Reason)
		}
		close(free)
		time.Sleep(time.Second)
		synctest.Wait()
		if got.count("m") != 2 || len(got.gone) != 1 || got.state("m").State != discovery.OK {
			t.Errorf("%d lists, removed %v, state %s", got.count("m"), got.gone, got.state("m").State)
		}
	})
}

func TestNeverTwoListsAtOnce(t *testing.T) {
	with(t, nil, func(t *testing.T, r *discovery.Runner, got *record) {
		under := 0
		s := stubborn{free: make(chan struct{}), lists: &under}
		for config := range 20 {
			r.Set([]discovery.Module{{Name: "m", Source: s, Config: config, Timeout: time.Second}})
			time.Sleep(5 * time.Second)
		}
		synctest.Wait()
		if under != 1 {
			t.Errorf("%d lists under way", under)
		}
		close(s.free)
		time.Sleep(time.Second)
		synctest.Wait()
		if got.count("m") != 1 || got.state("m").State != discovery.OK {
			t.Errorf("%d lists, state %s", got.count("m"), got.state("m").State)
		}
	})
}

func TestBrokenWatchIsToldDuringAList(t *testing.T) {
	with(t, nil, func(t *testing.T, r *discovery.Runner, got *record) {
		hang := false
		w := watched{hint: make(chan []plugin.Key), fail: make(chan error), list: func(ctx context.Context, emit func(plugin.Resource)) error {
			if hang {
				<-ctx.Done()
				return ctx.Err()
			}
			return good(ctx, emit)
		}}
		r.Set([]discovery.Module{{Name: "m", Source: w}})
		time.Sleep(time.Second)
		synctest.Wait()
		hang = true
		w.hint <- nil
		time.Sleep(time.Second)
		w.fail <- context.DeadlineExceeded
		synctest.Wait()
		if st := got.state("m"); st.State != discovery.Degraded {
			t.Errorf("state %s (%s)", st.State, st.Reason)
		}
	})
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		key   []plugin.Key
		err   error
		least int
		most  int
	}{
		"hints at everything":          {least: 100, most: 126},
		"keys whose look always fails": {key: []plugin.Key{{Kind: "k", ID: "bad"}}, least: 100, most: 126},
		"a source that always fails":   {err: context.DeadlineExceeded, least: 10, most: 20},
	} {
		t.Run(name, func(t *testing.T) {
			with(t, nil, func(t *testing.T, r *discovery.Runner, _ *record) {
				lists := 0
				w := watched{hint: make(chan []plugin.Key), fail: make(chan error), list: func(ctx context.Context, emit func(plugin.Resource)) error {
					lists++
					if c.err != nil {
						return c.err
					}
					return good(ctx, emit)
				}}
				r.Set([]discovery.Module{{Name: "m", Kinds: []string{"k"}, Source: w}})
				for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) {
					w.hint <- c.key
				}
				synctest.Wait()
				if lists < c.least || lists > c.most {
					t.Errorf("%d lists in a minute of hints, want %d to %d", lists, c.least, c.most)
				}
			})
		})
	}
}

func TestHintsDoNotPutOffAList(t *testing.T) {
	with(t, nil, func(t *testing.T, r *discovery.Runner, _ *record) {
		var last time.Time
		longest := time.Duration(0)
		w := watched{hint: make(chan []plugin.Key), fail: make(chan error), list: func(ctx context.Context, emit func(plugin.Resource)) error {
			if !last.IsZero() {
				longest = max(longest, time.Since(last))
			}
			last = time.Now()
			return good(ctx, emit)
		}}
		r.Set([]discovery.Module{{Name: "m", Source: w}})
		for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(7 * time.Millisecond) {
			w.hint <- nil
		}
		synctest.Wait()
		if longest > 700*time.Millisecond {
			t.Errorf("%v between two lists under a storm of hints", longest)
		}
	})
}
