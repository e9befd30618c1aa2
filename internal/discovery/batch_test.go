package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/plugin"
)

// store is a source that looks at many resources at once; in it are those whose
// id is not "gone".
type store struct {
	watched
	err     error
	largest int // batch
}

func (s *store) GetAll(_ context.Context, keys []plugin.Key, emit func(plugin.Resource)) error {
	s.largest = max(s.largest, len(keys))
	for _, k := range keys {
		if k.ID != "gone" && s.err == nil {
			emit(plugin.Resource{Key: k})
		}
	}
	return s.err
}

func newStore() *store {
	return &store{watched: watched{hint: make(chan []plugin.Key), fail: make(chan error), list: good}}
}

func vms(from, n int) []plugin.Key {
	keys := make([]plugin.Key, n)
	for i := range keys {
		keys[i] = plugin.Key{Kind: "k", ID: fmt.Sprint(from + i)}
	}
	return keys
}

func TestManyHintsAreLookedAtTogether(t *testing.T) {
	with(t, nil, func(t *testing.T, r *discovery.Runner, got *record) {
		s := newStore()
		r.Set([]discovery.Module{{Name: "m", Kinds: []string{"k"}, Source: s}})
		time.Sleep(time.Second)
		lists := got.count("m")
		const perTick, ticks = 50, 500 // 500 a second
		began := time.Now()
		for i := range ticks {
			s.hint <- vms(i*perTick, perTick)
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if n := got.count("m") - lists; n > int(time.Since(began)/time.Minute)+1 {
			t.Errorf("%d lists under hints at %d resources: no list is needed", n, perTick*ticks)
		}
		if len(got.got) != perTick*ticks || got.batches > ticks {
			t.Errorf("%d resources in %d batches, want %d in %d at most", len(got.got), got.batches, perTick*ticks, ticks)
		}
	})
}

func TestWhatABatchDoesNotShowIsGone(t *testing.T) {
	with(t, nil, func(t *testing.T, r *discovery.Runner, got *record) {
		s := newStore()
		r.Set([]discovery.Module{{Name: "m", Kinds: []string{"k"}, Source: s}})
		time.Sleep(time.Second)
		s.hint <- []plugin.Key{{Kind: "k", ID: "there"}, {Kind: "k", ID: "gone"}, {Kind: "foreign", ID: "x"}}
		time.Sleep(time.Second)
		synctest.Wait()
		slices.Sort(got.got)
		if want := []string{"mgonefalse", "mtheretrue"}; !slices.Equal(got.got, want) {
			t.Errorf("got %q, want %q", got.got, want)
		}
	})
}

func TestAFailedBatchDeletesNothingAndLists(t *testing.T) {
	with(t, nil, func(t *testing.T, r *discovery.Runner, got *record) {
		s := newStore()
		s.err = errors.New("no")
		r.Set([]discovery.Module{{Name: "m", Kinds: []string{"k"}, Source: s}})
		time.Sleep(time.Second)
		lists := got.count("m")
		s.hint <- vms(0, 3)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(got.got) != 0 || got.count("m") == lists {
			t.Errorf("got %q, and %d lists", got.got, got.count("m")-lists)
		}
	})
}

func TestAStormOfHintsBecomesAList(t *testing.T) {
	with(t, nil, func(t *testing.T, r *discovery.Runner, got *record) {
		s := newStore()
		r.Set([]discovery.Module{{Name: "m", Kinds: []string{"k"}, Source: s}})
		time.Sleep(time.Second)
		lists := got.count("m")
		s.hint <- vms(0, 10_000)
		time.Sleep(time.Second)
		synctest.Wait()
		if got.count("m") == lists || s.largest > 4096 {
			t.Errorf("%d lists, largest batch %d", got.count("m")-lists, s.largest)
		}
	})
}
