package tunnel

import (
	"context"
	"fmt"
	"net"
	"time"
)

// Dial opens a stream of the class Normal to a service of the far side. It
// waits for no answer: a refusal is met by the first Read, or by a later Write,
// as a *StreamError. ctx matters only until Dial returns.
func (s *Session) Dial(ctx context.Context, service string) (net.Conn, error) {
	return s.DialClass(ctx, service, Normal)
}

// DialClass opens a stream of some class.
func (s *Session) DialClass(ctx context.Context, service string, class Class) (net.Conn, error) {
	if service == "" || len(service) > maxService || class >= classes {
		return nil, fmt.Errorf("dial service %.40q, class %d: no such thing", service, class)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return nil, s.err
	}
	if s.next > 1<<31 {
		s.mu.Unlock()
		return nil, errNumbers
	}
	st := newStream(s, s.next, service, class)
	s.next += 2
	s.streams[st.id] = st
	// Under mu, so that the frames leave in the order of their numbers.
	s.writer.push(later, func(b []byte) []byte { return opening{class: class, service: service}.appendTo(b, st.id) })
	s.mu.Unlock()
	return st, nil
}

// forget drops a stream that no frame concerns any more.
func (s *Session) forget(st *Stream) {
	st.mu.Lock()
	grown := st.target - firstWindow
	st.target = firstWindow
	st.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grown -= grown
	if s.streams[st.id] != st {
		return
	}
	delete(s.streams, st.id)
	if !s.ours(st.id) {
		s.theirs--
	}
}

// grow lets a window grow from one size to another if the session's budget
// allows it, and returns the size that it may have.
func (s *Session) grow(from, to int) int {
	if to <= from {
		return from
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown+to-from > sessionBudget {
		return from
	}
	s.grown += to - from
	return to
}

// afterWrite calls f when no write of the stream is under way, whose data must
// come first. It does not wait for it.
func (s *Session) afterWrite(st *Stream, f func()) {
	if st.writing.TryLock() {
		f()
		st.writing.Unlock()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.wg.Go(func() { // ends with the write, which ends with the session at the latest
		st.writing.Lock()
		defer st.writing.Unlock()
		f()
	})
}

// retireFor is how long streams of a replaced session may go on.
const retireFor = 30 * time.Second

// retire waits for the session's streams to end, and ends it.
func (s *Session) retire() error {
	limit := time.NewTimer(retireFor)
	defer limit.Stop()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for s.Stats().Streams > 0 {
		select {
		case <-look.C:
		case <-limit.C:
			return s.Close("replaced by a newer session")
		case <-s.done:
			return nil
		}
	}
	return s.Close("replaced by a newer session")
}
