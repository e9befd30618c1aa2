package vcproxy

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Limits of one broker. Zero values mean the default in the comment. Of what is
// bounded at once, one client has three quarters at most, so that none keeps the
// others out.
type Limits struct {
	Sessions   int           // upstream sessions at once; 8
	Concurrent int           // calls at once, and waiting calls at once; 16 each
	Transfers  int           // file transfers at once; 4; others wait for as long as a call may take
	Body       int64         // bytes of one call; 2 MiB
	Memory     int64         // bytes that all calls under way take; 64 MiB
	Idle       time.Duration // until an unused session is ended; 10 min
	Call       time.Duration // deadline of one call; 5 min
	Queue      time.Duration // how long a call waits for its turn; 20 s
	Reads      float64       // reading calls a second and session; 100
	Writes     float64       // changing calls a second and session; 10
}

func (l Limits) withDefaults() Limits {
	set(&l.Sessions, 8)
	set(&l.Concurrent, 16)
	set(&l.Transfers, 4)
	set(&l.Body, 2<<20)
	set(&l.Memory, 64<<20)
	set(&l.Idle, 10*time.Minute)
	set(&l.Call, 5*time.Minute)
	set(&l.Queue, 20*time.Second)
	set(&l.Reads, 100)
	set(&l.Writes, 10)
	return l
}

func set[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// errBusy is for calls whose turn did not come in time.
var errBusy = errors.New("the gateway has too many calls; try again later")

// share is what one client has at most of what there is.
func share(all int64) int64 { return all - all/4 }

// gate lets so much through at once, and of one client a share; others wait. What
// it counts, calls or bytes, is its owner's.
type gate struct {
	all int64

	mu    sync.Mutex // guards the fields below
	used  int64
	of    map[Client]int64
	freed chan struct{} // closed when something is given back; nil: nobody waits
}

func newGate(all int64) *gate { return &gate{all: all, of: make(map[Client]int64)} }

// take takes n, or returns what is closed when it is worth trying again.
func (g *gate) take(c Client, n int64) (freed chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.used+n <= g.all && g.of[c]+n <= share(g.all) {
		g.used += n
		g.of[c] += n
		return nil
	}
	if g.freed == nil {
		g.freed = make(chan struct{})
	}
	return g.freed
}

// enter waits until n can be taken, up to a time. The caller leaves.
func (g *gate) enter(ctx context.Context, c Client, n int64, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		freed := g.take(c, n)
		if freed == nil {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return errBusy
		}
	}
}

// leave gives n back.
func (g *gate) leave(c Client, n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used -= n
	if g.of[c] -= n; g.of[c] == 0 {
		delete(g.of, c)
	}
	if g.freed != nil {
		close(g.freed)
		g.freed = nil
	}
}

// bucket holds tokens that come back with time. Its owner's lock guards it.
type bucket struct {
	rate, burst float64
	tokens      float64
	at          time.Time
}

func newBucket(rate, burst float64) bucket {
	return bucket{rate: rate, burst: burst, tokens: burst, at: time.Now()}
}

// take takes a token and says how long to wait until it is there.
func (b *bucket) take() time.Duration {
	now := time.Now()
	b.tokens = min(b.burst, b.tokens+now.Sub(b.at).Seconds()*b.rate)
	b.at = now
	b.tokens--
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.rate * float64(time.Second))
}

// giveBack returns a token that was not waited for.
func (b *bucket) giveBack() { b.tokens++ }

// pause waits, or ends with the context.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
