package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Session is one authenticated lifetime of a tunnel, at either end. Its methods
// may be called from several goroutines.
type Session struct {
	cfg    Config
	ws     *websocket.Conn
	conn   net.Conn // under ws
	writer writer
	client bool // dials odd streams
	wg     sync.WaitGroup
	done   chan struct{}
	began  time.Time

	heard    atomic.Int64 // when the last byte came, by time since began
	rtt      atomic.Int64 // last measured, in nanoseconds; 0: never
	received atomic.Uint64

	mu      sync.Mutex // guards the fields below
	err     *CloseError
	streams map[uint32]*Stream
	theirs  int    // of streams, opened by the far side
	next    uint32 // stream that we open next
	newest  uint32 // stream that the far side opened last
	grown   int    // bytes by which windows exceed firstWindow
	alive   *time.Timer
	goAway  func(wait time.Duration, endpoint string) // of the Keeper
	away    *goAwayFrame                              // came before the Keeper listened
	pinged  time.Time
	nonce   uint64

	// The reader's own.
	unacked uint64 // data taken off the wire
	head    [headerLen]byte
	small   [64]byte // body of a control frame
}

type goAwayFrame struct {
	wait     time.Duration
	endpoint string
}

var (
	errStuck   = errors.New("the far side does not read")
	errNumbers = errors.New("the session has used up its stream numbers")
)

// start takes over an upgraded connection.
func start(ws *websocket.Conn, cfg Config, client bool) *Session {
	s := &Session{
		cfg: cfg.withDefaults(), ws: ws, conn: ws.NetConn(), client: client, began: time.Now(),
		done: make(chan struct{}), streams: make(map[uint32]*Stream), next: 2,
	}
	if client {
		s.next = 1
	}
	s.writer = writer{ws: ws, cork: corkOf(ws.NetConn()), fail: s.broken, wg: &s.wg, pipe: newPipe(), patience: 2 * s.cfg.Keepalive}
	ws.SetReadLimit(maxControl + maxSmall + maxFrame + (1 << 16))
	ignore := func(string) error { return nil } // the reader never writes
	ws.SetPingHandler(ignore)
	ws.SetPongHandler(ignore)
	ws.SetCloseHandler(func(int, string) error { return nil })
	prepareTCP(s.conn)
	s.wg.Go(s.read)
	if client {
		s.ping() // we speak first, and learn the round trip
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.alive = time.AfterFunc(spread(s.cfg.Keepalive), s.keepAlive)
	}
	return s
}

// Peer is who the far side is, as the configuration said.
func (s *Session) Peer() any { return s.cfg.Peer }

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why the session is over, as a *CloseError; nil while it is up.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil
	}
	return s.err
}

// Wait returns when the session is over and all of its goroutines have ended.
func (s *Session) Wait() {
	<-s.done
	s.wg.Wait()
}

// RTT is the last measured round trip; 0: not measured yet.
func (s *Session) RTT() time.Duration { return time.Duration(s.rtt.Load()) }

// RemoteAddr is where the connection goes to or comes from.
func (s *Session) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// LocalAddr is this side's address.
func (s *Session) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// Stats are figures of one session.
type Stats struct {
	Age           time.Duration
	RTT           time.Duration
	Sent          uint64 // bytes of stream data
	Received      uint64
	InFlight      int64 // sent and not yet taken off the wire by the far side
	Bound         int64 // on InFlight
	Rate          float64
	Streams       int
	ControlQueued int // bytes of frames that wait to be written
}

// Stats returns the session's figures.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	n := len(s.streams)
	s.mu.Unlock()
	wr := &s.writer
	wr.mu.Lock()
	defer wr.mu.Unlock()
	return Stats{
		Age: time.Since(s.began), RTT: s.RTT(), Streams: n, Received: s.received.Load(),
		Sent: wr.pipe.sent, InFlight: wr.pipe.inFlight(), Bound: wr.pipe.bound, Rate: wr.pipe.rate(), ControlQueued: len(wr.control),
	}
}

// Close ends the session and all of its streams. The reason reaches the far
// side if the connection still carries it. Close does not wait; Wait does.
func (s *Session) Close(reason string) error {
	s.end(&CloseError{Reason: reason}, true)
	return nil
}

// broken ends the session because of the connection.
func (s *Session) broken(err error) {
	e := &CloseError{Reason: "connection lost", Err: err}
	switch {
	case errors.Is(err, errProtocol), errors.Is(err, errStuck):
		e = &CloseError{Reason: err.Error()}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), websocket.IsCloseError(err, websocket.CloseAbnormalClosure):
		e.Err = io.ErrUnexpectedEOF
	}
	s.end(e, e.Err == nil)
}

// end ends the session once. If told, the far side learns why.
func (s *Session) end(e *CloseError, tell bool) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = e
	streams := s.streams
	s.streams = nil
	if s.alive != nil {
		s.alive.Stop()
	}
	s.mu.Unlock()
	for _, st := range streams {
		st.sever(e)
	}
	finished := make(<-chan struct{})
	if tell {
		_ = s.conn.SetWriteDeadline(time.Now().Add(closeLinger))
		finished = s.writer.finish(func(b []byte) []byte { return appendText(b, 0, frameEnd, e.Reason) })
	} else {
		s.writer.close()
	}
	close(s.done)
	go s.hangUp(finished, tell) // ends within closeLinger; the reader, which Wait waits for, ends by it
}

func (s *Session) hangUp(finished <-chan struct{}, wait bool) {
	if wait {
		limit := time.NewTimer(closeLinger)
		defer limit.Stop()
		select {
		case <-finished:
		case <-limit.C:
		}
		s.writer.close()
	}
	_ = s.conn.Close()
	if s.cfg.Ended != nil {
		s.cfg.Ended(s)
	}
}

// Drain asks the far side to go: its Keeper makes a new session, after
// retryAfter and at the endpoint if one is named, before it drops this one.
// Streams go on until then.
func (s *Session) Drain(retryAfter time.Duration, endpoint string) {
	s.writer.push(now, func(b []byte) []byte {
		endpoint = endpoint[:min(len(endpoint), maxReason)]
		b = appendHeader(b, header{0, frameGoAway, 4 + len(endpoint)})
		b = binary.BigEndian.AppendUint32(b, uint32(min(retryAfter.Milliseconds(), 1<<31)))
		return append(b, endpoint...)
	})
}

// onGoAway sets who is told of Drain.
func (s *Session) onGoAway(f func(time.Duration, string)) {
	s.mu.Lock()
	s.goAway = f
	early := s.away
	s.mu.Unlock()
	if early != nil {
		f(early.wait, early.endpoint)
	}
}

func (s *Session) wentAway(body []byte) {
	f := goAwayFrame{time.Duration(binary.BigEndian.Uint32(body)) * time.Millisecond, string(body[4:])}
	s.mu.Lock()
	tell := s.goAway
	if tell == nil {
		s.away = &f
	}
	s.mu.Unlock()
	if tell != nil {
		tell(f.wait, f.endpoint)
	}
}

// ping asks for a sign of life, if no ping is under way.
func (s *Session) ping() {
	s.mu.Lock()
	if !s.pinged.IsZero() {
		s.mu.Unlock()
		return
	}
	s.pinged, s.nonce = time.Now(), rand.Uint64()
	nonce := s.nonce
	s.mu.Unlock()
	s.writer.push(now, func(b []byte) []byte {
		return binary.BigEndian.AppendUint64(appendHeader(b, header{0, framePing, 8}), nonce)
	})
}

func (s *Session) ponged(nonce uint64) {
	s.mu.Lock()
	if s.pinged.IsZero() || nonce != s.nonce {
		s.mu.Unlock()
		return // late, or a stranger's
	}
	took := time.Since(s.pinged)
	s.pinged = time.Time{}
	s.mu.Unlock()
	s.rtt.Store(int64(max(took, 1)))
	wr := &s.writer
	wr.mu.Lock()
	defer wr.mu.Unlock()
	wr.pipe.measured(took, time.Now())
}

// keepAlive runs when the connection may have been silent for a while.
func (s *Session) keepAlive() {
	silent := time.Since(s.began) - time.Duration(s.heard.Load())
	if silent >= 2*s.cfg.Keepalive {
		s.end(&CloseError{Reason: fmt.Sprintf("timeout: nothing heard for %v", silent.Round(time.Second))}, false)
		return
	}
	again := s.cfg.Keepalive - silent
	if again <= s.cfg.Keepalive/4 {
		s.ping()
		again = min(spread(s.cfg.Keepalive), 2*s.cfg.Keepalive-silent)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.alive.Reset(max(again, time.Millisecond))
	}
}
