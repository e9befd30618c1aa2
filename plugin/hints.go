package plugin

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	maxHints     = 64 // keys that may wait; with more, a list is cheaper
	company      = 100 * time.Millisecond
	firstBackOff = time.Second
	lastBackOff  = 5 * time.Minute
	healthyFor   = time.Minute // after which old failures are forgotten
)

// hints gathers what a source says may have changed.
type hints struct {
	c chan struct{} // has one when there is something new

	mu   sync.Mutex // guards the fields below
	all  bool       // a list is wanted
	keys map[Key]struct{}
}

func newHints() *hints { return &hints{c: make(chan struct{}, 1)} }

// add notes keys, or, with none, everything.
func (h *hints) add(keys ...Key) {
	h.mu.Lock()
	h.merge(keys)
	h.mu.Unlock()
	select {
	case h.c <- struct{}{}:
	default:
	}
}

func (h *hints) merge(keys []Key) {
	if h.all {
		return
	}
	if len(keys) == 0 || len(h.keys)+len(keys) > maxHints {
		h.all, h.keys = true, nil
		return
	}
	if h.keys == nil {
		h.keys = make(map[Key]struct{})
	}
	for _, k := range keys {
		h.keys[k] = struct{}{}
	}
}

// take empties the set. Without all, keys may be empty too.
func (h *hints) take() (keys map[Key]struct{}, all bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys, all = h.keys, h.all
	h.keys, h.all = nil, false
	return keys, all
}

// watch passes hints on until ctx ends. After each break there may be a gap, so
// it asks for a list. A panic is returned; nothing else is.
func watch(ctx context.Context, w Watcher, h *hints, log *slog.Logger) error {
	for failures := 0; ; failures++ {
		began := time.Now()
		err := safely(func() error { return w.Watch(ctx, h.add) })
		if p, ok := errors.AsType[*panicked](err); ok {
			return p
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > healthyFor {
			failures = 0
		}
		wait := min(firstBackOff<<min(failures, 10), lastBackOff)
		log.Warn("watching broke, starting again", "err", err, "in", wait)
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil
		}
		h.add()
	}
}
