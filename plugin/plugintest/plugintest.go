// Package plugintest is the conformance kit for discovery modules: one call
// checks that a [plugin.Source] keeps every promise of its interface.
//
//	func TestConformance(t *testing.T) {
//		plugintest.Run(t, plugintest.Options{Kinds: []string{"com.acme.lun"}, New: newSource})
//	}
//
// The source must see at least one resource, and the world that it looks at
// must hold still while the kit runs.
package plugintest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// Options says what to check.
type Options struct {
	// New returns a fresh source, as after a restart of the program. It may
	// call t.Cleanup.
	New func(t *testing.T) plugin.Source
	// Kinds are all kinds that the source may emit.
	Kinds []string
	// Volatile, if set, blanks what may change by itself between two lists,
	// such as used bytes. It works on the decoded spec.
	Volatile func(kind string, spec map[string]any)
	// Deadline bounds each single call; 0 means 10 s.
	Deadline time.Duration
}

// Run checks the source that o.New returns.
func Run(t *testing.T, o Options) {
	t.Helper()
	if o.Deadline == 0 {
		o.Deadline = 10 * time.Second
	}
	t.Run("lists only valid resources of its kinds, each once", func(t *testing.T) {
		if len(o.list(t, o.New(t))) == 0 {
			t.Fatal("the source lists nothing: the kit needs at least one resource to check")
		}
	})
	t.Run("lists the same while nothing changes", func(t *testing.T) {
		s := o.New(t)
		o.same(t, o.list(t, s), o.list(t, s))
	})
	t.Run("lists the same after a restart", func(t *testing.T) {
		o.same(t, o.list(t, o.New(t)), o.list(t, o.New(t)))
	})
	t.Run("lists from several goroutines at once", func(t *testing.T) {
		s := o.New(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), o.Deadline)
				defer cancel()
				if err := s.List(ctx, func(plugin.Resource) {}); err != nil {
					t.Errorf("List: %v", err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("an ended context is an error, never a short list", func(t *testing.T) {
		s := o.New(t)
		want := len(o.list(t, s))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		n := 0
		if err := o.within(t, "List", func() error { return s.List(ctx, func(plugin.Resource) { n++ }) }); err == nil && n < want {
			t.Fatalf("List under an ended context returned nil after %d of %d resources", n, want)
		}
	})
	t.Run("stops watching when told", func(t *testing.T) {
		w, ok := o.New(t).(plugin.Watcher)
		if !ok {
			t.Skip("the source does not watch")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Watch(ctx, func(...plugin.Key) {}) }()
		cancel()
		o.within(t, "Watch", func() error { return <-done })
	})
	t.Run("gets what it lists, and nothing else", func(t *testing.T) {
		s := o.New(t)
		g, ok := s.(plugin.Getter)
		if !ok {
			t.Skip("the source does not get")
		}
		o.getsWhatItLists(t, g, o.list(t, s))
	})
}

func (o Options) getsWhatItLists(t *testing.T, g plugin.Getter, listed map[plugin.Key]string) {
	ctx, cancel := context.WithTimeout(t.Context(), o.Deadline)
	defer cancel()
	got := make(map[plugin.Key]string)
	for k := range listed {
		if len(got) == 20 {
			break
		}
		r, found, err := g.Get(ctx, k)
		if err != nil || !found {
			t.Fatalf("Get(%v) = %v, %v, want the listed resource", k, found, err)
		}
		got[k] = o.canonical(t, r)
		if got[k] != listed[k] {
			t.Errorf("Get(%v) differs from List:\n got %s\nlist %s", k, got[k], listed[k])
		}
	}
	for k := range got {
		k.ID = "00000000-0000-4000-8000-000000000000"
		if _, found, err := g.Get(ctx, k); found || err != nil {
			t.Errorf("Get of a %s that does not exist = %v, %v, want false, nil", k.Kind, found, err)
		}
		break
	}
}

// list returns the canonical JSON of everything that s lists.
func (o Options) list(t *testing.T, s plugin.Source) map[plugin.Key]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), o.Deadline)
	defer cancel()
	all := make(map[plugin.Key]string)
	err := o.within(t, "List", func() error {
		return s.List(ctx, func(r plugin.Resource) {
			if err := o.check(r); err != nil {
				t.Error(err)
			}
			if _, twice := all[r.Key]; twice {
				t.Errorf("%v is listed twice", r.Key)
			}
			all[r.Key] = o.canonical(t, r)
		})
	})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	return all
}

func (o Options) check(r plugin.Resource) error {
	switch {
	case !slices.Contains(o.Kinds, r.Kind):
		return fmt.Errorf("%v: kind %q is not among the declared %q", r.Key, r.Kind, o.Kinds)
	case r.ID == "" || len(r.ID) > 255:
		return fmt.Errorf("%v: an id has 1 to 255 bytes", r.Key)
	case len(r.Name) > 255:
		return fmt.Errorf("%v: a name has at most 255 bytes", r.Key)
	case r.Spec == nil:
		return fmt.Errorf("%v: no spec", r.Key)
	}
	for k := range r.Ext {
		if !strings.Contains(k, "/") {
			return fmt.Errorf("%v: ext attribute %q is not of the form domain/attribute", r.Key, k)
		}
	}
	return nil
}

func (o Options) canonical(t *testing.T, r plugin.Resource) string {
	t.Helper()
	b, err := json.Marshal(r.Spec)
	if err != nil {
		t.Fatalf("%v: spec does not encode: %v", r.Key, err)
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		t.Fatalf("%v: spec is not a JSON object: %s", r.Key, b)
	}
	if o.Volatile != nil {
		o.Volatile(r.Kind, spec)
	}
	r.Spec = spec
	b, err = json.Marshal(r)
	if err != nil {
		t.Fatalf("%v: %v", r.Key, err)
	}
	return string(b)
}

func (o Options) same(t *testing.T, a, b map[plugin.Key]string) {
	t.Helper()
	for k := range a {
		if a[k] != b[k] {
			t.Errorf("%v differs between two lists:\n 1st %s\n 2nd %s", k, a[k], b[k])
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			t.Errorf("%v is only in the second list", k)
		}
	}
}

// within fails the test if f does not return in time.
func (o Options) within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(o.Deadline + time.Second):
		t.Fatalf("%s did not return within %v", what, o.Deadline+time.Second)
		return nil
	}
}
