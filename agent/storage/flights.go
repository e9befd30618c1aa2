package storage

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errSlow says that a device or a server did not answer in time.
var errSlow = errors.New("no answer in time")

// flights runs calls that may hang in the kernel, where nothing can end them.
// A hanging call keeps its goroutine, the only kind in the package that
// outlives the function that started it; until it returns no second one is
// started for the same key and nobody waits for it again. So a dead server
// costs one blocked thread, however often it is asked. The zero value works.
type flights[T any] struct {
	mu  sync.Mutex
	all map[string]*flight[T] // under way; guarded by mu
}

type flight[T any] struct {
	since time.Time
	done  chan struct{} // closed when got and err are set
	got   T
	err   error
}

// do returns what call returns, or an error when limit has passed since the
// call under way for key began, or ctx ends.
func (f *flights[T]) do(ctx context.Context, key string, limit time.Duration, call func() (T, error)) (T, error) {
	one := f.start(key, call)
	timer := time.NewTimer(limit - time.Since(one.since))
	defer timer.Stop()
	var zero T
	select {
	case <-one.done:
		return one.got, one.err
	case <-timer.C:
		return zero, errSlow
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}

// start returns the flight of key that is under way, or a new one.
func (f *flights[T]) start(key string, call func() (T, error)) *flight[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one, ok := f.all[key]; ok {
		return one
	}
	one := &flight[T]{since: time.Now(), done: make(chan struct{})}
	if f.all == nil {
		f.all = make(map[string]*flight[T])
	}
	f.all[key] = one
	go func() {
		one.got, one.err = call()
		f.mu.Lock()
		delete(f.all, key)
		f.mu.Unlock()
		close(one.done)
	}()
	return one
}
