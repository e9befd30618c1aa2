package discovery

import (
	"sync"

	"github.com/openpf9/openpf9/plugin"
)

// How many keys may wait; with more, a list is cheaper.
const (
	maxHints = 64
	maxBatch = 4096 // of a BatchGetter
)

// hints gathers what a module says may have changed.
type hints struct {
	c    chan struct{} // has one when there is something
	most int           // keys that may wait

	mu sync.Mutex // guards the field below
	hinted
}

// hinted is what to look at again.
type hinted struct {
	all    bool // a list is wanted
	urgent bool // by a person, who does not care for a back-off
	keys   map[plugin.Key]struct{}
}

func newHints(most int) *hints { return &hints{c: make(chan struct{}, 1), most: most} }

// add notes keys, or, with none, everything.
func (h *hints) add(keys []plugin.Key) {
	h.note(func() { h.merge(keys, h.most) })
}

// insist asks for a list now.
func (h *hints) insist() {
	h.note(func() { h.all, h.urgent, h.keys = true, true, nil })
}

func (h *hints) note(f func()) {
	h.mu.Lock()
	f()
	h.mu.Unlock()
	select {
	case h.c <- struct{}{}:
	default:
	}
}

// take empties the set.
func (h *hints) take() hinted {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.hinted
	h.hinted = hinted{}
	return got
}

func (h *hinted) merge(keys []plugin.Key, most int) {
	if h.all {
		return
	}
	if len(keys) == 0 || len(h.keys)+len(keys) > most {
		h.all, h.keys = true, nil
		return
	}
	if h.keys == nil {
		h.keys = make(map[plugin.Key]struct{})
	}
	for _, k := range keys {
		h.keys[k] = struct{}{}
	}
}
