package discovery

import (
	"sync"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// maxHints is how many keys may wait; with more, a list is cheaper.
const maxHints = 64

// hints gathers what a module says may have changed.
type hints struct {
	c chan struct{} // has one when there is something

	mu   sync.Mutex // guards the fields below
	all  bool
	keys map[plugin.Key]struct{}
}

func newHints() *hints { return &hints{c: make(chan struct{}, 1)} }

// add notes keys, or, with none, everything.
func (h *hints) add(keys []plugin.Key) {
	h.mu.Lock()
	if len(keys) == 0 || len(h.keys)+len(keys) > maxHints {
		h.all, h.keys = true, nil
	} else if !h.all {
		if h.keys == nil {
			h.keys = make(map[plugin.Key]struct{})
		}
		for _, k := range keys {
			h.keys[k] = struct{}{}
		}
	}
	h.mu.Unlock()
	select {
	case h.c <- struct{}{}:
	default:
	}
}

// take empties the set.
func (h *hints) take() (keys map[plugin.Key]struct{}, all bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys, all = h.keys, h.all
	h.keys, h.all = nil, false
	return keys, all
}

// bucket allows so many actions per second, and some at once.
type bucket struct {
	rate, burst float64
	tokens      float64
	at          time.Time
}

func newBucket(rate, burst float64) *bucket { return &bucket{rate: rate, burst: burst, tokens: burst} }

// wait returns how long to wait for the next action, and counts it if that is
// not at all.
func (b *bucket) wait() time.Duration {
	now := time.Now()
	if !b.at.IsZero() {
		b.tokens = min(b.burst, b.tokens+b.rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	return time.Duration((1-b.tokens)/b.rate*float64(time.Second)) + time.Millisecond
}
