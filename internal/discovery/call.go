package discovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// A call is one List, Get or GetAll under way. Only finish reads what it fills.
type call struct {
	key   plugin.Key   // to get
	keys  []plugin.Key // to get together; with neither this is a list
	limit time.Time    // when it is given up
	late  bool         // it was, and its answer will not count
	ended chan error   // gets one

	resources []plugin.Resource // what was emitted, or the one that was found
	declared  []plugin.Kind     // by a Declarer, after a list
}

// isList tells a list from a get.
func (c *call) isList() bool { return c.key == plugin.Key{} && c.keys == nil }

// gone returns the keys that were looked at together and are not there.
func (c *call) gone() []plugin.Key {
	there := make(map[plugin.Key]struct{}, len(c.resources))
	for i := range c.resources {
		there[c.resources[i].Key] = struct{}{}
	}
	return slices.DeleteFunc(c.keys, func(k plugin.Key) bool { _, ok := there[k]; return ok })
}

// begin runs f with the module's time limit in a goroutine of its own, and
// makes a panic an error. Nothing else is begun until it has returned.
func (w *worker) begin(ctx context.Context, c *call, f func(context.Context) error) {
	c.limit = time.Now().Add(w.module.Timeout + grace)
	c.ended = make(chan error, 1)
	w.call = c
	w.calls.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, w.module.Timeout)
		defer cancel()
		c.ended <- w.safely(func() error { return f(ctx) })
	})
}

func (w *worker) beginList(ctx context.Context) {
	c := &call{}
	w.begin(ctx, c, func(ctx context.Context) error {
		err := w.module.Source.List(ctx, func(r plugin.Resource) { c.resources = append(c.resources, r) })
		if d, ok := w.module.Source.(Declarer); ok && err == nil {
			c.declared = d.Declares()
		}
		return err
	})
}

func (w *worker) beginGet(ctx context.Context, k plugin.Key) {
	c := &call{key: k}
	w.begin(ctx, c, func(ctx context.Context) error {
		r, found, err := w.getter.Get(ctx, k)
		if found {
			c.resources = []plugin.Resource{r}
		}
		return err
	})
}

func (w *worker) beginBatch(ctx context.Context, keys []plugin.Key) {
	c := &call{keys: keys}
	w.begin(ctx, c, func(ctx context.Context) error {
		return w.batch.GetAll(ctx, keys, func(r plugin.Resource) { c.resources = append(c.resources, r) })
	})
}

// safely makes a panic an error.
func (w *worker) safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("module panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// watch passes hints on until ctx ends. After each break there may be a gap, so
// it asks for a list.
func (w *worker) watch(ctx context.Context, watcher plugin.Watcher) {
	for failures := 0; ; {
		began := time.Now()
		err := w.safely(func() error {
			return watcher.Watch(ctx, func(keys ...plugin.Key) { w.hints.add(keys) })
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended without an error")
		}
		if time.Since(began) > healthyFor {
			failures = 0
		}
		wait := jitter(backOff(failures))
		if errors.Is(err, fs.ErrNotExist) {
			wait = absentInterval
		} else {
			failures++
			select {
			case w.broken <- fmt.Errorf("watch: %w", err):
			default: // the last one is not told yet
			}
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return
		}
		w.hints.add(nil)
	}
}
