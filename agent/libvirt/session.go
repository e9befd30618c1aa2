package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"syscall"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
)

// A session is one open connection to a daemon. It is never used again once
// it is down.
type session struct {
	target target
	lib    *rpc.Libvirt
	conn   net.Conn
	slots  chan struct{}  // one held by each ask
	down   chan struct{}  // closed by the first cut
	wg     sync.WaitGroup // only start adds to it

	mu    sync.Mutex // guards cause
	cause error      // why the session is down
}

// connect opens the first target that works. The session takes so many asks.
func (c *Conn) connect(ctx context.Context, targets []target, asked int) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	var errs []error
	for _, t := range targets {
		s, err := open(ctx, t, asked)
		if err == nil {
			s.start(func() { s.ping(c.began, c.time.pingEvery, c.time.pingLimit) })
			return s, nil
		}
		errs = append(errs, fmt.Errorf("connect to libvirt at %s: %w", t.socket, remedy(err)))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func open(ctx context.Context, t target, asked int) (*session, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unix", t.socket)
	if err != nil {
		return nil, err
	}
	s := &session{target: t, slots: make(chan struct{}, asked), down: make(chan struct{})}
	s.conn = &guard{Conn: raw, failed: s.lost}
	s.lib = rpc.NewWithDialer(s)
	err = s.call(ctx, "open "+t.uri, func() error { return s.lib.ConnectToURI(rpc.ConnectURI(t.uri)) })
	if err != nil {
		s.cut(err)
		s.wait()
		return nil, err
	}
	return s, nil
}

// Dial implements go-libvirt's socket.Dialer with the connection that we keep
// and can close whatever go-libvirt waits for.
func (s *session) Dial() (net.Conn, error) { return s.conn, nil }

// remedy adds what to do about a refused connection.
func remedy(err error) error {
	var r rpc.Error
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run the agent as root or in the group that owns the socket", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody listens; start the daemon", err)
	case errors.As(err, &r) && (r.Code == uint32(rpc.ErrAuthFailed) || r.Code == uint32(rpc.ErrAuthUnavailable) || r.Code == uint32(rpc.ErrAccessDenied)):
		return fmt.Errorf("%w: allow org.libvirt.unix.monitor to the agent's user in polkit, or set auth_unix_ro", err)
	}
	return err
}

// cut closes the session at once, for the reason given. Only the first counts.
func (s *session) cut(cause error) {
	s.mu.Lock()
	first := s.cause == nil
	if first {
		s.cause = cause
		close(s.down)
	}
	s.mu.Unlock()
	if first {
		_ = s.conn.Close() // frees every call that waits in go-libvirt
	}
}

// start runs f in a goroutine of the session, unless that is down.
func (s *session) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return false
	}
	s.wg.Go(f)
	return true
}

// lost is called when reading or writing fails.
func (s *session) lost(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		err = errors.New("the daemon closed the connection")
	}
	s.cut(fmt.Errorf("libvirt connection lost: %w", err))
}

func (s *session) isDown() bool {
	select {
	case <-s.down:
		return true
	default:
		return false
	}
}

// err says why the session is down.
func (s *session) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// close says goodbye and ends the session.
func (s *session) close() {
	if !s.isDown() {
		ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
		_ = s.call(ctx, "close", s.lib.ConnectClose) // the daemon logs an error otherwise
		cancel()
	}
	s.cut(errClosed)
	s.wait()
}

// wait returns when the session's goroutines have ended. It must be down.
func (s *session) wait() { s.wg.Wait() }

// call runs f, one remote call. It ends the session if ctx ends first: a call
// cannot be taken back, and one that is late says that the daemon hangs.
func (s *session) call(ctx context.Context, what string, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.isDown() {
		return s.err()
	}
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			s.cut(fmt.Errorf("%s: given up: %w", what, ctx.Err()))
		} else {
			s.cut(fmt.Errorf("libvirt does not answer (%s): %w", what, ctx.Err()))
		}
	})
	err := f()
	stop()
	return s.explain(what, err)
}

// explain replaces go-libvirt's words for a dead connection, among them
// "invalid argument", by the reason.
func (s *session) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[rpc.Error](err); !ok && s.isDown() {
		return s.err()
	}
	return fmt.Errorf("%s: %w", what, err)
}

// maxAsked bounds the calls that wait for guests. Each guest that hangs holds
// one, and others then leave that guest out. The daemon takes 5 calls of a
// client at a time: what is left is for lists and pings.
const maxAsked = 3

// errBusy says that as many calls as may wait do.
var errBusy = errors.New("earlier questions are not answered yet; a guest or a storage pool may hang")

// busy reports whether an ask would have to wait for another.
func (s *session) busy() bool { return len(s.slots) == cap(s.slots) }

// ask runs f, a remote call that waits for guests or storage and so may take
// for ever while the daemon is well. If ctx ends first, f is left to itself
// until it is answered or the session ends.
func ask[T any](ctx context.Context, s *session, what string, f func() (T, error)) (T, error) {
	var none T
	select {
	case s.slots <- struct{}{}:
	case <-s.down:
		return none, s.err()
	case <-ctx.Done():
		return none, fmt.Errorf("%s: %w: %w", what, errBusy, ctx.Err())
	}
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	if !s.start(func() {
		value, err := f()
		<-s.slots
		answered <- answer{value, err}
	}) {
		return none, s.err()
	}
	select {
	case a := <-answered:
		return a.value, s.explain(what, a.err)
	case <-ctx.Done():
		return none, fmt.Errorf("%s: %w", what, ctx.Err())
	}
}

// ping cuts the session when the daemon does not answer any more. Sessions with
// the same beginning ping at the same moments, so that we wake up once for all.
func (s *session) ping(began time.Time, every, limit time.Duration) {
	next := time.NewTimer(untilPing(time.Since(began), every))
	defer next.Stop()
	for {
		select {
		case <-s.down:
			return
		case <-next.C:
			next.Reset(untilPing(time.Since(began), every))
		}
		late := time.AfterFunc(limit, func() {
			s.cut(fmt.Errorf("libvirt hangs: no answer to a ping in %v", limit))
		})
		_, err := s.lib.ConnectGetLibVersion()
		late.Stop()
		if _, answered := errors.AsType[rpc.Error](err); err != nil && !answered {
			s.cut(fmt.Errorf("ping libvirt: %w", err))
		}
	}
}

// untilPing is how long it is to the next multiple of every.
func untilPing(age, every time.Duration) time.Duration { return every - age%every }
