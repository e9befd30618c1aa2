package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Stream is one connection inside a session. It is a net.Conn with half-close;
// its methods may be called from several goroutines.
type Stream struct {
	session *Session
	id      uint32
	service string
	class   Class
	writing sync.Mutex // held by Write, so that one stream's data stays in order
	turn    waiter
	head    [headerLen]byte // of the frame being written

	mu       sync.Mutex // guards the fields below
	readable sync.Cond
	writable sync.Cond
	buffer   buffer // received and not yet consumed
	granted  uint64 // bytes that the far side may ever send
	consumed uint64 // bytes that were read
	target   int    // window that we keep granting
	renewed  time.Time
	credit   int64 // bytes that we may send
	finSent  bool
	finSeen  bool
	closed   bool  // by Close
	err      error // why nothing goes any more, other than Close
	readBy   deadline
	writeBy  deadline
}

func newStream(s *Session, id uint32, service string, class Class) *Stream {
	st := &Stream{
		session: s, id: id, service: service, class: class,
		granted: firstWindow, target: firstWindow, credit: firstWindow,
	}
	st.readable.L, st.writable.L = &st.mu, &st.mu
	return st
}

// Session is the stream's session.
func (st *Stream) Session() *Session { return st.session }

// Service is what was dialled.
func (st *Stream) Service() string { return st.service }

// LocalAddr names the service.
func (st *Stream) LocalAddr() net.Addr { return Addr{Service: st.service} }

// RemoteAddr names the service and where the session goes to or comes from.
func (st *Stream) RemoteAddr() net.Addr {
	a := Addr{Service: st.service}
	if r := st.session.RemoteAddr(); r != nil {
		a.Remote = r.String()
	}
	return a
}

// Read reads what has come. It returns io.EOF after the far side's last byte.
func (st *Stream) Read(p []byte) (int, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.waitReadable(len(p) == 0); err != nil {
		return 0, err
	}
	n := st.buffer.read(p)
	st.consume(n)
	return n, nil
}

// waitReadable waits for data; it returns nil if there is some. Callers hold mu.
func (st *Stream) waitReadable(poll bool) error {
	for {
		switch {
		case st.closed:
			return net.ErrClosed
		case st.readBy.passed:
			return os.ErrDeadlineExceeded
		case st.buffer.len() > 0 || poll && st.err == nil:
			return nil
		case st.finSeen:
			return io.EOF
		case st.err != nil:
			return st.err
		}
		st.readable.Wait()
	}
}

// consume counts bytes that were read, and grants the far side more once a
// quarter of the window is due. The window grows while it is used up faster
// than within two round trips. Callers hold mu.
func (st *Stream) consume(n int) {
	st.consumed += uint64(n)
	if st.finSeen || st.err != nil || st.closed {
		return
	}
	if uint64(st.target)-(st.granted-st.consumed) < uint64(st.target)/4 {
		return
	}
	moment := time.Now()
	want := startWindow
	if st.target >= startWindow {
		if rtt := st.session.RTT(); rtt == 0 || moment.Sub(st.renewed) < 2*rtt {
			want = min(2*st.target, maxWindow)
		} else {
			want = st.target
		}
	}
	st.target = st.session.grow(st.target, want)
	st.renewed = moment
	more := uint64(st.target) - (st.granted - st.consumed)
	st.granted += more
	st.session.writer.push(now, func(b []byte) []byte { return appendUint32(b, st.id, frameCredit, uint32(more)) })
}

// Write sends data. It waits for the far side's window and for its turn.
func (st *Stream) Write(p []byte) (int, error) {
	st.writing.Lock()
	defer st.writing.Unlock()
	done := 0
	for {
		n, err := st.reserve(len(p) - done)
		if err != nil || n == 0 {
			return done, err
		}
		if err := st.send(p[done : done+n]); err != nil {
			return done, err
		}
		if done += n; done == len(p) {
			return done, nil
		}
	}
}

// reserve takes some of the window for up to n bytes.
func (st *Stream) reserve(n int) (int, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for {
		switch {
		case st.closed || st.finSent:
			return 0, net.ErrClosed
		case st.writeBy.passed:
			return 0, os.ErrDeadlineExceeded
		case st.err != nil:
			return 0, st.err
		case n == 0:
			return 0, nil
		case st.credit > 0:
			n = int(min(int64(n), st.credit, int64(maxFrame)))
			st.credit -= int64(n)
			return n, nil
		}
		st.writable.Wait()
	}
}

// giveBack undoes reserve.
func (st *Stream) giveBack(n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.credit += int64(n)
}

// send writes reserved data, in one or more frames.
func (st *Stream) send(p []byte) error {
	wr := &st.session.writer
	for len(p) > 0 {
		h := appendHeader(st.head[:0], header{st.id, frameData, len(p)})
		if len(p) <= smallFrame && wr.pushSmall(h, p) {
			return nil
		}
		if !wr.acquire(&st.turn, len(p), st.class) && !st.awaitTurn() {
			st.giveBack(len(p))
			return st.whyNot()
		}
		wr.mu.Lock()
		n := min(len(p), wr.pipe.frame())
		wr.mu.Unlock()
		h = appendHeader(st.head[:0], header{st.id, frameData, n})
		if err := wr.write(h, p[:n]); err != nil {
			return st.whyNot()
		}
		p = p[n:]
	}
	return nil
}

// awaitTurn waits for the turn; false if the wait was cancelled. A deadline,
// Close and a reset cancel it.
func (st *Stream) awaitTurn() bool {
	st.mu.Lock()
	stop := st.closed || st.err != nil || st.writeBy.passed
	st.mu.Unlock()
	if stop {
		st.session.writer.cancel(&st.turn)
	}
	return <-st.turn.granted
}

// whyNot says why a write did not go through.
func (st *Stream) whyNot() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.closed:
		return net.ErrClosed
	case st.err != nil:
		return st.err
	case st.writeBy.passed:
		return os.ErrDeadlineExceeded
	}
	if err := st.session.Err(); err != nil {
		return err
	}
	return net.ErrClosed
}

// CloseWrite says that no more data comes. Reading goes on.
func (st *Stream) CloseWrite() error {
	st.writing.Lock()
	defer st.writing.Unlock()
	st.mu.Lock()
	if st.closed || st.finSent || st.err != nil {
		err := st.err
		if st.closed {
			err = net.ErrClosed
		}
		st.mu.Unlock()
		return err
	}
	st.finSent = true
	over := st.finSeen
	st.mu.Unlock()
	st.session.writer.push(now, func(b []byte) []byte { return appendFrame(b, st.id, frameFin) })
	if over {
		st.session.forget(st)
	}
	return nil
}

// Close ends both directions. Data that was written still arrives; data that
// was not read is lost, as is what the far side still sends.
func (st *Stream) Close() error {
	st.mu.Lock()
	if st.closed {
		st.mu.Unlock()
		return nil
	}
	st.closed = true
	tell := st.err == nil && !(st.finSent && st.finSeen)
	st.release()
	st.mu.Unlock()
	st.session.writer.cancel(&st.turn)
	if tell {
		st.session.afterWrite(st, func() {
			st.session.writer.push(later, func(b []byte) []byte { return appendFrame(b, st.id, frameClose) })
		})
	}
	st.session.forget(st)
	return nil
}

// reset ends the stream and tells the far side why.
func (st *Stream) reset(reason string) {
	st.session.writer.push(now, func(b []byte) []byte { return appendText(b, st.id, frameReset, reason) })
	st.sever(&StreamError{Service: st.service, Reason: reason})
	st.session.forget(st)
}

// release wakes everybody and drops the buffer. Callers hold mu.
func (st *Stream) release() {
	st.buffer.drop()
	st.readBy.stop()
	st.writeBy.stop()
	st.readable.Broadcast()
	st.writable.Broadcast()
}

// sever ends the stream from this side or because the session ended. What has
// been received can still be read.
func (st *Stream) sever(err error) {
	st.mu.Lock()
	if st.err == nil {
		st.err = err
	}
	st.readable.Broadcast()
	st.writable.Broadcast()
	st.mu.Unlock()
	st.session.writer.cancel(&st.turn)
}

// The far side's frames.

func (st *Stream) remoteFin() {
	st.mu.Lock()
	st.finSeen = true
	over := st.finSent
	st.readable.Broadcast()
	st.mu.Unlock()
	if over {
		st.session.forget(st)
	}
}

// remoteClose leaves what has been received to be read; writing fails.
func (st *Stream) remoteClose() {
	st.mu.Lock()
	st.finSeen = true
	if st.err == nil {
		st.err = &goneError{}
	}
	st.readable.Broadcast()
	st.writable.Broadcast()
	st.mu.Unlock()
	st.session.writer.cancel(&st.turn)
	st.session.forget(st)
}

// goneError is what writing meets after the far side closed; reading meets the
// end of data.
type goneError struct{}

func (*goneError) Error() string { return "the far side has closed the stream" }
func (*goneError) Is(target error) bool {
	return target == io.ErrClosedPipe
}

func (st *Stream) remoteReset(reason string) {
	st.sever(&StreamError{Service: st.service, Reason: reason, Remote: true})
	st.session.forget(st)
}

func (st *Stream) remoteCredit(n uint32) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.credit += int64(n); st.credit > 2*maxWindow {
		return errProtocol
	}
	st.writable.Signal()
	return nil
}

// fill takes n bytes of data off the connection.
func (st *Stream) fill(r io.Reader, n int) error {
	c, err := readChunk(r, n)
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || st.err != nil {
		c.free()
		return nil
	}
	if st.consumed+uint64(st.buffer.len())+uint64(n) > st.granted || st.finSeen {
		c.free()
		return errors.Join(errProtocol, errors.New("more data than the window holds"))
	}
	st.buffer.add(c)
	st.readable.Signal()
	return nil
}

// Deadlines.

// deadline is one of a stream's two; the stream's mu guards it.
type deadline struct {
	timer  *time.Timer
	number int // of the setting, so that a late timer of an old one does nothing
	passed bool
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.number++
}

// SetDeadline sets both deadlines; the zero time removes them.
func (st *Stream) SetDeadline(t time.Time) error {
	return errors.Join(st.SetReadDeadline(t), st.SetWriteDeadline(t))
}

// SetReadDeadline ends reads that wait at t.
func (st *Stream) SetReadDeadline(t time.Time) error {
	return st.setDeadline(&st.readBy, t, func() { st.readable.Broadcast() })
}

// SetWriteDeadline ends writes that wait at t. A write that failed may have
// sent a part.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	return st.setDeadline(&st.writeBy, t, func() { st.writable.Broadcast() })
}

func (st *Stream) setDeadline(d *deadline, t time.Time, wake func()) error {
	st.mu.Lock()
	if st.closed {
		st.mu.Unlock()
		return net.ErrClosed
	}
	d.stop()
	number := d.number
	wait := time.Until(t)
	d.passed = !t.IsZero() && wait <= 0
	if d.passed {
		wake()
	} else if !t.IsZero() {
		d.timer = time.AfterFunc(wait, func() {
			st.mu.Lock()
			mine := d.number == number
			if mine {
				d.passed = true
				wake()
			}
			st.mu.Unlock()
			if mine && d == &st.writeBy {
				st.session.writer.cancel(&st.turn)
			}
		})
	}
	passed := d.passed && d == &st.writeBy
	st.mu.Unlock()
	if passed {
		st.session.writer.cancel(&st.turn)
	}
	return nil
}
