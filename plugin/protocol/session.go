package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is what a session runs on; a net.Conn is one.
type Conn interface {
	io.ReadWriteCloser
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Options say how a host talks with one plugin. Functions that are nil are not
// called. They are called by one goroutine, in the order of what the plugin
// sent, and while one runs nothing else of the plugin is read: they must be
// quick beside PongTimeout.
type Options struct {
	// Agent names the host's program and version, "pf9-hostagent 0.1.0".
	Agent string
	// Admit judges the plugin and returns its configuration, nil for none. Its
	// error refuses the plugin, which is told why.
	Admit func(Hello) (json.RawMessage, error)
	// Apply takes a complete list or changes in. The delta is acknowledged when
	// it returns nil; its error ends the session.
	Apply func(Batch) error
	// Status hears of each change in the plugin's health.
	Status func(Status)
	// Event hears of entries for the history.
	Event func(Event)

	Interval     time.Duration // between lists that nothing hinted; 0 leaves it to the plugin
	Window       int           // unacknowledged deltas; 0 means 8
	Limits       Limits
	HelloTimeout time.Duration // until the first line; 0 means 10 s
	PingInterval time.Duration // 0 means 15 s
	PongTimeout  time.Duration // after which the plugin counts as hung; 0 means 10 s
	Grace        time.Duration // to leave when told; 0 means 2 s
}

// The ends of a session that are nobody's breach of the protocol.
var (
	ErrLeft = errors.New("the plugin has left")
	ErrHung = errors.New("the plugin does not answer")
)

const (
	writeTimeout = 5 * time.Second
	lastWords    = time.Second // to tell the plugin why it is dismissed
	outQueue     = 16          // frames to the plugin; who sends one more waits
	preamble     = 100         // unknown lines that may come before a hello
)

// Session is the host's end of a conversation with one plugin. [Open] makes it,
// Run holds it.
type Session struct {
	conn     Conn
	opt      Options
	hello    Hello
	protocol int
	in       *Reader
	receiver *Receiver
	pace     pace

	out      chan Frame  // what the writer sends
	pongs    chan uint64 // the newest nonce that came back
	stopping atomic.Bool
	failed   string // the plugin's last words, of the reading goroutine

	once sync.Once
	over chan struct{} // closed when the session has ended
	told chan struct{} // closed when the plugin was told why it is dismissed
	err  error         // why it is over; set before over is closed
}

// Open shakes hands: it waits for the plugin's hello, judges it and welcomes
// the plugin. After an error the connection is closed. Otherwise Run must be
// called, which closes it.
func Open(ctx context.Context, conn Conn, o Options) (*Session, error) {
	o = o.withDefaults()
	s := &Session{
		conn: conn, opt: o, in: NewReader(conn, o.Limits.MaxLine), pace: newPace(o.Limits),
		out: make(chan Frame, outQueue), pongs: make(chan uint64, 1),
		over: make(chan struct{}), told: make(chan struct{}),
	}
	if err := s.open(ctx); err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, err
	}
	return s, nil
}

func (s *Session) open(ctx context.Context) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.opt.HelloTimeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Now()) })
	err := s.readHello()
	if !stop() {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	config, err := s.judge()
	answer := Frame{Welcome: &Welcome{
		Protocol: s.protocol, Window: s.opt.Window, IntervalMS: s.opt.Interval.Milliseconds(),
		Config: config, Agent: s.opt.Agent,
	}}
	if err != nil {
		answer = Frame{Stop: &Stop{Reason: err.Error()}}
	}
	if sent := s.write(NewWriter(s.conn), answer); err == nil && !hasLeft(sent) { // one that has left may have said why
		err = sent
	}
	s.receiver = NewReceiver(s.hello.Kinds, s.opt.Limits)
	return err
}

func (s *Session) readHello() error {
	for range preamble {
		f, err := s.in.Frame()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("%w: no hello within %v", ErrHung, s.opt.HelloTimeout)
		case hasLeft(err):
			return fmt.Errorf("%w before its hello", ErrLeft)
		case err != nil:
			return err
		case f.Status != nil && f.Status.Level == Failed:
			return fmt.Errorf("%w before its hello: %.4096s", ErrLeft, f.Status.Text)
		case f.Hello != nil:
			s.hello = *f.Hello
			return nil
		case f.count() > 0:
			return violation(RuleHello, "the first line is no hello")
		}
	}
	return violation(RuleHello, "no hello among the first %d lines", preamble)
}

func (s *Session) judge() (config json.RawMessage, err error) {
	if s.protocol, err = Choose(&s.hello, s.opt.Agent); err != nil {
		return nil, err
	}
	if err := s.hello.Validate(); err != nil {
		return nil, err
	}
	if s.opt.Admit == nil {
		return nil, nil
	}
	return s.opt.Admit(s.hello)
}

// Hello is what the plugin said of itself.
func (s *Session) Hello() Hello { return s.hello }

// Run takes in what the plugin sends until it leaves, breaks a rule or hangs,
// and returns why. When ctx ends it tells the plugin to leave, waits up to
// Grace for that and returns ctx's error, wrapped if the plugin stayed.
func (s *Session) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(s.writeAll)
	wg.Go(s.pingAll)
	wg.Go(func() { s.stopAfter(ctx) })
	err := s.read()
	if v, ok := errors.AsType[*Violation](err); ok {
		s.dismiss(v)
	}
	s.end(s.explain(ctx, err))
	wg.Wait()
	return s.err
}

// dismiss tells the plugin which rule it broke, if it can still be told.
func (s *Session) dismiss(v *Violation) {
	limit, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if s.send(limit, Frame{Stop: &Stop{Reason: v.Error()}}) != nil {
		return
	}
	select {
	case <-s.told:
	case <-s.over:
	case <-limit.Done():
	}
}

// Resync asks the plugin for a snapshot.
func (s *Session) Resync(ctx context.Context, reason string) error {
	return s.send(ctx, Frame{Resync: &Resync{Reason: reason}})
}

// Refresh asks the plugin to look at some resources now, or at all of them.
func (s *Session) Refresh(ctx context.Context, keys ...Key) error {
	return s.send(ctx, Frame{Refresh: &Refresh{Keys: keys}})
}

// send queues a frame. It waits while the queue is full.
func (s *Session) send(ctx context.Context, f Frame) error {
	select {
	case s.out <- f:
		return nil
	case <-s.over:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end ends the session, once.
func (s *Session) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.over)
		_ = s.conn.Close() // nothing is lost: acknowledgements are only sent after taking in
	})
}

// explain makes of a failed read why the session is over.
func (s *Session) explain(ctx context.Context, err error) error {
	switch {
	case s.stopping.Load() && errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: the plugin was told to leave and is still there after %v", ctx.Err(), s.opt.Grace)
	case s.stopping.Load():
		return ctx.Err()
	case hasLeft(err) && s.failed != "":
		return fmt.Errorf("%w: %s", ErrLeft, s.failed)
	case hasLeft(err):
		return ErrLeft
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: it takes nothing in and says nothing", ErrLeft)
	}
	return err
}

// hasLeft says whether a read or a write found the plugin gone. A plugin that
// leaves before it has read everything resets the connection.
func hasLeft(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (s *Session) read() error {
	for {
		f, err := s.in.Frame()
		if err != nil {
			return err
		}
		if s.stopping.Load() {
			continue // only its end counts now
		}
		if err := s.slowDown(s.in.line); err != nil {
			return err
		}
		if err := s.take(f); err != nil {
			return err
		}
	}
}

// slowDown leaves a plugin that sends without end to wait for its turn.
func (s *Session) slowDown(line int) error {
	wait := s.pace.take(time.Now(), line)
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.over:
		return s.err
	}
}

// take deals with one frame.
func (s *Session) take(f Frame) error {
	switch {
	case f.Delta != nil:
		return s.delta(f.Delta)
	case f.Pong != nil:
		select {
		case <-s.pongs: // an older one that nobody waits for
		default:
		}
		s.pongs <- f.Pong.Nonce
	case f.Status != nil:
		if err := f.Status.Validate(); err != nil {
			return err
		}
		if f.Status.Level == Failed {
			s.failed = f.Status.Text
		}
		if s.opt.Status != nil {
			s.opt.Status(*f.Status)
		}
	case f.Event != nil:
		if err := f.Event.Validate(); err != nil {
			return err
		}
		if s.opt.Event != nil {
			s.opt.Event(*f.Event)
		}
	case f.count() > 0:
		return violation(RuleDirection, "it sends a message that is the host's to send, or hello again")
	}
	return nil
}

func (s *Session) delta(d *Delta) error {
	batch, complete, err := s.receiver.Delta(d)
	if err != nil {
		return err
	}
	if complete && s.opt.Apply != nil {
		if err := s.opt.Apply(batch); err != nil {
			return fmt.Errorf("take in delta %d: %w", d.Seq, err)
		}
	}
	return s.send(context.Background(), Frame{Ack: &Ack{Seq: d.Seq}})
}

// writeAll writes what is queued until the session is over.
func (s *Session) writeAll() {
	w := NewWriter(s.conn)
	for {
		select {
		case f := <-s.out:
			if err := s.write(w, f); err != nil {
				s.unwritable(err)
				return
			}
			if f.Stop != nil && f.Stop.Reason != "" {
				close(s.told)
				return
			}
		case <-s.over:
			return
		}
	}
}

// unwritable ends the session, unless the plugin has only left: then the reader
// takes in what it said last and finds the end itself.
func (s *Session) unwritable(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.end(fmt.Errorf("%w: it reads nothing for %v", ErrHung, writeTimeout))
		return
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(time.Second))
	for { // nobody may wait for room
		select {
		case <-s.out:
		case <-s.over:
			return
		}
	}
}

func (s *Session) write(w *Writer, f Frame) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return w.Frame(f)
}

// pingAll asks for signs of life.
func (s *Session) pingAll() {
	timer := time.NewTimer(s.opt.PingInterval)
	defer timer.Stop()
	for nonce := uint64(1); ; nonce++ {
		select {
		case <-timer.C:
		case <-s.over:
			return
		}
		if s.send(context.Background(), Frame{Ping: &Ping{Nonce: nonce}}) != nil {
			return
		}
		timer.Reset(s.opt.PongTimeout)
		for answered := false; !answered; {
			select {
			case got := <-s.pongs:
				answered = got == nonce
			case <-timer.C:
				s.end(fmt.Errorf("%w: no pong within %v%s", ErrHung, s.opt.PongTimeout, s.pace.note()))
				return
			case <-s.over:
				return
			}
		}
		timer.Reset(s.opt.PingInterval)
	}
}

// stopAfter sees the plugin out when ctx ends.
func (s *Session) stopAfter(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.over:
		return
	}
	s.stopping.Store(true)
	_ = s.conn.SetReadDeadline(time.Now().Add(s.opt.Grace))
	_ = s.send(context.Background(), Frame{Stop: &Stop{GraceMS: s.opt.Grace.Milliseconds()}})
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.HelloTimeout, 10*time.Second)
	def(&o.PingInterval, 15*time.Second)
	def(&o.PongTimeout, 10*time.Second)
	def(&o.Grace, 2*time.Second)
	if o.Window <= 0 {
		o.Window = Window
	}
	o.Limits = o.Limits.withDefaults()
	return o
}
