package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Keeper keeps one session up for as long as Run runs: it connects, waits for
// the end, and connects again. Set its fields before Run.
//
// How long it waits is chance, between nothing and a bound that doubles, so
// that thousands do not come back in step. While nobody answers at all the
// bound stays small, because trying costs the far side nothing; once a server
// has answered and refused, or ended the session by its own will, the bound
// grows to a minute. A server that names a time is obeyed.
type Keeper struct {
	Endpoints []string // URLs, tried in turn
	Dialer    *Dialer  // nil means the zero Dialer
	Config    Config
	// Up is told of each session before anybody else can use it, Down of its
	// end, in this order and never two at once. They must not block. May be nil.
	Up   func(*Session)
	Down func(*Session, error)
	// MinDelay and MaxDelay are the first and the last bound of waiting. 0
	// means a second and a minute.
	MinDelay, MaxDelay time.Duration
	// Unreachable is the last bound while nobody answers. 0 means two seconds.
	Unreachable time.Duration
	Log         *slog.Logger // nil discards

	once sync.Once
	wake chan struct{} // a reason to look again: Renew, GOAWAY

	mu      sync.Mutex // guards the fields below
	session *Session
	err     error         // of the last attempt or session; nil while up
	changed chan struct{} // closed when session changes
	renew   *renewal      // asked for and not yet done
}

// renewal asks for a new session before the old one is dropped.
type renewal struct {
	wait     time.Duration
	endpoint string // empty: any
}

// steady is how long a session must have been up to count as a success.
const steady = time.Minute

func (k *Keeper) init() {
	k.once.Do(func() {
		k.wake = make(chan struct{}, 1)
		k.changed = make(chan struct{})
	})
}

// Run keeps the session until ctx ends. Then it closes it and waits for it.
func (k *Keeper) Run(ctx context.Context) error {
	k.init()
	if len(k.Endpoints) == 0 {
		return errors.New("no endpoint to connect to")
	}
	d := k.Dialer
	if d == nil {
		d = &Dialer{}
	}
	log := k.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w := &keeping{Keeper: k, dialer: d, log: log}
	defer w.sessions.Wait()
	for ctx.Err() == nil {
		w.round(ctx)
	}
	if s := k.Session(); s != nil {
		_ = s.Close("the host agent stops")
		s.Wait()
		w.down(s)
	}
	return ctx.Err()
}

// keeping is the state of Run.
type keeping struct {
	*Keeper
	dialer   *Dialer
	log      *slog.Logger
	turn     int // of the endpoints
	failures int // that count, in a row
	unheard  int // attempts that nobody answered, in a row
	sessions sync.WaitGroup
	said     string // last logged error
}

// round makes one session and waits until it must be replaced.
func (w *keeping) round(ctx context.Context) {
	endpoint := w.Endpoints[w.turn%len(w.Endpoints)]
	s, err := w.connect(ctx, endpoint)
	if err != nil {
		w.turn++
		w.sleep(ctx, w.delay(err))
		return
	}
	for s != nil && ctx.Err() == nil {
		s = w.watch(ctx, s)
	}
}

// connect makes a session; it is not in force yet.
func (w *keeping) connect(ctx context.Context, endpoint string) (*Session, error) {
	s, err := w.dialer.Connect(ctx, endpoint, w.Config)
	if err == nil {
		w.unheard, w.said = 0, ""
		w.install(s)
		return s, nil
	}
	if ctx.Err() != nil {
		return nil, err
	}
	w.mu.Lock()
	if w.session == nil {
		w.err = fmt.Errorf("connect to %s: %w", endpoint, err)
	}
	w.mu.Unlock()
	if text := err.Error(); text != w.said { // on change, not on each turn
		w.said = text
		w.log.Warn("no tunnel", "endpoint", endpoint, "err", err)
	}
	return nil, err
}

// install puts a session in force, in the place of the one that was.
func (w *keeping) install(s *Session) {
	w.mu.Lock()
	old := w.session
	w.mu.Unlock()
	if old != nil {
		w.down(old)
		w.sessions.Go(func() { // streams of the old one may end first
			_ = old.retire()
			old.Wait()
		})
	}
	if w.Up != nil {
		w.Up(s)
	}
	w.mu.Lock()
	w.session, w.err, w.renew = s, nil, nil
	close(w.changed)
	w.changed = make(chan struct{})
	w.mu.Unlock()
	s.onGoAway(func(wait time.Duration, endpoint string) { w.ask(&renewal{wait, endpoint}) })
	w.log.Info("tunnel is up", "remote", s.RemoteAddr())
}

// down takes a session out of force.
func (w *keeping) down(s *Session) {
	err := s.Err()
	w.mu.Lock()
	if w.session == s {
		w.session = nil
		if w.err = err; err == nil {
			w.err = errors.New("replaced by a newer session")
		}
		close(w.changed)
		w.changed = make(chan struct{})
	}
	w.mu.Unlock()
	if w.Down != nil {
		w.Down(s, err)
	}
}

// watch waits for the end of a session, or replaces it when asked to. It
// returns the session in force, nil if there is none.
func (w *keeping) watch(ctx context.Context, s *Session) *Session {
	select {
	case <-ctx.Done():
		return s
	case <-w.wake:
		return w.replace(ctx, s)
	case <-s.Done():
	}
	s.Wait()
	err := s.Err()
	w.down(s)
	w.log.Warn("tunnel is down", "err", err)
	lasted := time.Since(s.began)
	if e, ok := errors.AsType[*CloseError](err); ok && e.Remote && lasted < steady {
		w.failures++ // thrown out soon after coming in
	} else if lasted >= steady {
		w.failures = 0
	}
	w.sleep(ctx, rand.N(w.bound(w.failures, w.maxDelay())))
	return nil
}

// replace makes a new session before it lets the old one go.
func (w *keeping) replace(ctx context.Context, s *Session) *Session {
	w.mu.Lock()
	r := w.renew
	w.mu.Unlock()
	if r == nil {
		return s
	}
	endpoint := r.endpoint
	if endpoint == "" {
		endpoint = w.Endpoints[w.turn%len(w.Endpoints)]
	}
	until := time.NewTimer(r.wait)
	defer until.Stop()
	select {
	case <-until.C:
	case <-s.Done():
		return s // watch sees it
	case <-ctx.Done():
		return s
	}
	for ctx.Err() == nil && s.Err() == nil {
		fresh, err := w.connect(ctx, endpoint)
		if err == nil {
			return fresh
		}
		w.turn++
		endpoint = w.Endpoints[w.turn%len(w.Endpoints)]
		w.sleep(ctx, w.delay(err), s.Done())
	}
	return s
}

// delay says how long to wait after a failed attempt.
func (w *keeping) delay(err error) time.Duration {
	if refusal, ok := errors.AsType[*StatusError](err); ok && refusal.RetryAfter > 0 {
		return refusal.RetryAfter + rand.N(refusal.RetryAfter/4+1)
	}
	if _, ok := errors.AsType[*ConnectError](err); ok {
		w.unheard++
		most := w.Unreachable
		if most == 0 {
			most = 2 * time.Second
		}
		return rand.N(w.bound(w.unheard, most))
	}
	w.failures++
	return rand.N(w.bound(w.failures, w.maxDelay()))
}

func (w *keeping) maxDelay() time.Duration {
	if w.MaxDelay > 0 {
		return w.MaxDelay
	}
	return time.Minute
}

// bound doubles with each failure; it is never zero.
func (w *keeping) bound(n int, most time.Duration) time.Duration {
	first := w.MinDelay
	if first <= 0 {
		first = time.Second
	}
	return max(min(first<<min(n, 16), most), 1)
}

func (w *keeping) sleep(ctx context.Context, d time.Duration, or ...<-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	var also <-chan struct{}
	if len(or) > 0 {
		also = or[0]
	}
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-also:
	}
}

// ask notes that a new session is wanted.
func (k *Keeper) ask(r *renewal) {
	k.init()
	k.mu.Lock()
	k.renew = r
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Renew makes a new session before the one in force is dropped, for instance
// because the certificate is a new one.
func (k *Keeper) Renew() { k.ask(&renewal{}) }

// Session is the session in force; nil while there is none.
func (k *Keeper) Session() *Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.session
}

// Err says why there is no session; nil while there is one.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Dial opens a stream on the session in force. While there is none it waits
// until ctx ends; the error then says why the tunnel is down.
func (k *Keeper) Dial(ctx context.Context, service string) (net.Conn, error) {
	k.init()
	for {
		k.mu.Lock()
		s, changed := k.session, k.changed
		k.mu.Unlock()
		if s != nil {
			if c, err := s.Dial(ctx, service); err == nil || ctx.Err() != nil {
				return c, err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if err := k.Err(); err != nil {
				return nil, fmt.Errorf("the tunnel is down: %w", err)
			}
			return nil, ctx.Err()
		}
	}
}
