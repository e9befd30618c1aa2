package vcenter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// errUnread says that nothing was read yet, and nothing has failed either.
var errUnread = errors.New("the gateway connects to it")

// errUnwatched says that nobody listens to vCenter.
var errUnwatched = errors.New("it is not watched")

// health says whether what is known is true now.
type health struct {
	mu    *sync.Mutex   // guards the fields below
	turn  chan struct{} // closed at the next change
	ok    bool
	ever  bool            // everything was read at least once
	since time.Time       // what is known is true since or until then
	broke time.Time       // when the trouble began
	heard time.Time       // when vCenter answered last
	moved time.Time       // when something last changed after it was read
	why   error           // of the trouble
	waits int             // lists that wait for a change
	reads bool            // a pass is under way
	read  int             // objects that it has read
	quiet context.Context // ends when vCenter is known not to answer
	hush  context.CancelCauseFunc
}

func newHealth() health {
	now := time.Now()
	h := health{mu: new(sync.Mutex), turn: make(chan struct{}), since: now, broke: now, why: errUnwatched}
	h.speak()
	return h
}

// set notes the reason of trouble; nil: there is none. It says whether h has
// turned for better or worse, and whether at least the reason is another.
// Trouble that goes on keeps its beginning.
func (h *health) set(why error) (turned, news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	turned = h.ok != (why == nil)
	news = turned || why != nil && why.Error() != h.why.Error()
	if now := time.Now(); turned || errors.Is(h.why, errUnwatched) {
		h.since, h.broke = now, now
		if turned && why != nil {
			h.since = h.heard
		}
	}
	h.ok, h.why, h.reads = why == nil, why, false
	h.ever = h.ever || h.ok
	if h.ok || errors.Is(why, errUnwatched) { // then nobody knows
		h.speak()
	}
	close(h.turn)
	h.turn = make(chan struct{})
	return turned, news
}

// reading notes that a pass begins. Trouble is over when it has read everything.
func (h *health) reading() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads, h.read = true, 0
	h.speak()
}

// answered notes that vCenter has answered, with so many objects.
func (h *health) answered(objects int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = time.Now()
	h.read += objects
	h.speak()
}

// changed notes that something has changed that was read before.
func (h *health) changed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moved = time.Now()
}

// now is an error if what is known may not be true.
func (h *health) now() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err()
}

// next returns what is closed at the next change, and whether h is well until then.
func (h *health) next() (turn <-chan struct{}, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.turn, h.ok
}

func (h *health) err() error {
	since := "stale since " + h.since.UTC().Format(time.RFC3339)
	switch {
	case h.ok:
		return nil
	case h.reads && !h.ever:
		return fmt.Errorf("%w: %d objects so far", plugin.ErrNotYet, h.read)
	case h.first():
		return fmt.Errorf("%w: %w", plugin.ErrNotYet, h.why)
	case h.reads:
		return fmt.Errorf("%s: it answers again and is read anew: %d objects so far", since, h.read)
	case !h.ever:
		return fmt.Errorf("nothing is known yet: %w", h.why)
	default:
		return fmt.Errorf("%s: %w", since, h.why)
	}
}

// first says that everything is read for the first time and nothing has failed.
func (h *health) first() bool { return !h.ever && (h.reads || errors.Is(h.why, errUnread)) }

// await waits for h to be well: as long as first while the first pass is under
// way, and grace from the beginning of other trouble.
func (h *health) await(ctx context.Context, first, grace time.Duration) error {
	for {
		h.mu.Lock()
		err, turn, patience := h.err(), h.turn, grace
		if h.first() {
			patience = first
		}
		left := time.Until(h.broke.Add(patience))
		h.mu.Unlock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil || left <= 0 {
			return err
		}
		h.wait(1)
		late := time.NewTimer(left)
		select {
		case <-turn:
		case <-late.C:
		case <-ctx.Done():
		}
		late.Stop()
		h.wait(-1)
	}
}

func (h *health) wait(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits += n
}

// awaited says whether a list waits for the next change.
func (h *health) awaited() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waits > 0
}

func (h *health) state() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := State{OK: h.ok, Reading: h.first(), Known: h.ever, Since: h.since, Heard: h.heard, Changed: h.moved, Problem: h.err()}
	if h.reads {
		st.Read = h.read
	}
	return st
}
