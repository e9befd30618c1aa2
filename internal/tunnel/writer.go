package tunnel

import (
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// writer shares the connection among those who write. There is no goroutine
// for it: whoever has the turn writes, with its own frame behind the control
// frames that have gathered, and passes the turn on.
type writer struct {
	ws   *websocket.Conn
	cork *corked     // below ws; may be nil
	fail func(error) // ends the session

	wg *sync.WaitGroup // of the session

	mu      sync.Mutex    // guards the fields below
	closing chan struct{} // set by finish; closed when the last frame is written
	closed  bool          // nothing is written any more
	turn    bool          // somebody is writing
	control []byte        // frames to write before any other
	spare   []byte        // the other buffer of control
	small   int           // bytes of small data in control
	timer   *time.Timer
	armed   bool // timer will flush
	queue   [classes]fifo

	patience time.Duration // of one write

	past [classes]float64 // what each class has had, by its weight
	pipe pipe
}

// weights are the shares of the classes below Control.
var weights = [classes]float64{Normal: 4, Interactive: 8, Bulk: 1, Control: 1}

// waiter waits for the turn. granted gets true with the turn, false when the
// wait was cancelled; exactly one of them.
type waiter struct {
	granted chan bool
	n       int
	class   Class
	queued  bool
}

// fifo is a queue of waiters.
type fifo struct{ waiters []*waiter }

func (q *fifo) push(w *waiter) { q.waiters = append(q.waiters, w); w.queued = true }

func (q *fifo) pop() *waiter {
	w := q.waiters[0]
	q.waiters[0] = nil
	if q.waiters = q.waiters[1:]; len(q.waiters) == 0 {
		q.waiters = nil
	}
	w.queued = false
	return w
}

func (q *fifo) remove(w *waiter) {
	for i, o := range q.waiters {
		if o == w {
			q.waiters = append(q.waiters[:i:i], q.waiters[i+1:]...)
			w.queued = false
			return
		}
	}
}

// acquire asks for the turn to write n bytes of data. It returns true with the
// turn; else the caller waits on w.granted.
func (wr *writer) acquire(w *waiter, n int, class Class) bool {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	if !wr.ended() && !wr.turn && wr.pipe.openTo(n) && (n <= smallFrame || !wr.waiting()) {
		wr.turn = true
		return true
	}
	w.n, w.class = n, class
	if w.granted == nil {
		w.granted = make(chan bool, 1)
	}
	if wr.ended() {
		w.granted <- false
		return false
	}
	if len(wr.queue[class].waiters) == 0 {
		wr.past[class] = max(wr.past[class], wr.least()) // no credit for time spent idle
	}
	wr.queue[class].push(w)
	return false
}

// cancel ends a wait, unless the turn has been granted already.
func (wr *writer) cancel(w *waiter) {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	if w.queued {
		wr.queue[w.class].remove(w)
		w.granted <- false
	}
}

func (wr *writer) waiting() bool {
	for i := range wr.queue {
		if len(wr.queue[i].waiters) > 0 {
			return true
		}
	}
	return false
}

func (wr *writer) least() float64 {
	least, found := 0.0, false
	for c := range wr.queue {
		if len(wr.queue[c].waiters) > 0 && (!found || wr.past[c] < least) {
			least, found = wr.past[c], true
		}
	}
	return least
}

// pick takes the waiter whose turn is next: of the control class, else of the
// class that has had the least for its weight. nil: nobody may send data now.
func (wr *writer) pick() *waiter {
	if !wr.pipe.open() {
		return nil
	}
	next := classes
	for c := range classes {
		switch {
		case len(wr.queue[c].waiters) == 0:
		case c == Control:
			return wr.queue[c].pop()
		case next == classes || wr.past[c] < wr.past[next]:
			next = c
		}
	}
	if next == classes {
		return nil
	}
	w := wr.queue[next].pop()
	wr.past[next] += float64(w.n) / weights[next]
	return w
}

// write sends a frame of data with the turn, and passes the turn on.
func (wr *writer) write(head, body []byte) error {
	wr.mu.Lock()
	control := wr.take()
	var tail []byte
	if wr.pipe.send(len(body)) {
		tail = askFrame
	}
	wr.mu.Unlock()
	err := wr.message(control, head, body, tail)
	wr.give(control)
	wr.pass()
	return err
}

// askFrame asks for an acknowledgement of what stands before it.
var askFrame = appendFrame(nil, 0, frameAsk)

// take empties the control queue; give returns its buffer. Both need the turn,
// take wr.mu too.
func (wr *writer) take() []byte {
	control := wr.control
	wr.control, wr.spare, wr.small = wr.spare[:0], nil, 0
	return control
}

func (wr *writer) give(control []byte) {
	if cap(control) > 4<<10 {
		return // an idle session keeps no large buffer
	}
	wr.mu.Lock()
	wr.spare = control[:0]
	wr.mu.Unlock()
}

// pass gives the turn to the next in line, or ends it after writing what
// control frames there are.
func (wr *writer) pass() {
	for {
		wr.mu.Lock()
		if next := wr.pick(); next != nil {
			wr.mu.Unlock()
			next.granted <- true
			return
		}
		if len(wr.control) == 0 || wr.closed {
			wr.turn = false
			if wr.closing != nil {
				close(wr.closing)
				wr.closed, wr.closing = true, nil
			}
			wr.mu.Unlock()
			return
		}
		control := wr.take()
		wr.mu.Unlock()
		if wr.message(control, nil, nil) != nil {
			continue // the session is over; closed by now
		}
		wr.give(control)
	}
}

// message writes one WebSocket message. A far side that takes nothing for a
// while has left: the session ends.
func (wr *writer) message(parts ...[]byte) error {
	_ = wr.ws.SetWriteDeadline(time.Now().Add(wr.patience)) // never fails
	if wr.cork != nil {
		wr.cork.cork()
	}
	w, err := wr.ws.NextWriter(websocket.BinaryMessage)
	for _, p := range parts {
		if err == nil && len(p) > 0 {
			_, err = w.Write(p)
		}
	}
	if err == nil {
		err = w.Close()
	}
	if wr.cork != nil {
		if e := wr.cork.uncork(); err == nil {
			err = e
		}
	}
	if err != nil {
		wr.fail(err)
	}
	return err
}

// urgency says how soon control frames must leave.
type urgency int

const (
	later urgency = iota // with whatever goes next, or after a moment
	now
)

// push queues control frames that add appends. It never blocks: they leave
// with the next data, or by a goroutine of their own.
func (wr *writer) push(u urgency, add func([]byte) []byte) {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	if wr.ended() {
		return
	}
	wr.control = add(wr.control)
	if len(wr.control) > maxControl {
		wr.closed = true // no more pushes; fail takes it from here
		wr.wg.Go(func() { wr.fail(errStuck) })
		return
	}
	wr.wake(u)
}

// pushSmall queues a small frame of data, unless too many wait.
func (wr *writer) pushSmall(head, body []byte) bool {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	if wr.ended() || !wr.turn || wr.small+len(body) > maxSmall {
		return false
	}
	wr.small += len(body)
	wr.control = append(append(wr.control, head...), body...)
	if wr.pipe.send(len(body)) {
		wr.control = append(wr.control, askFrame...)
	}
	return true
}

// wake sees to it that somebody writes. The caller holds wr.mu.
func (wr *writer) wake(u urgency) {
	switch {
	case wr.turn: // whoever has it sees the frames before giving it up
	case u == now:
		wr.turn = true
		wr.wg.Go(wr.pass)
	case !wr.armed:
		wr.armed = true
		if wr.timer == nil {
			wr.timer = time.AfterFunc(soon, wr.flush)
		} else {
			wr.timer.Reset(soon)
		}
	}
}

// flush runs when the timer has ended.
func (wr *writer) flush() {
	wr.mu.Lock()
	wr.armed = false
	if wr.turn || wr.closed || len(wr.control) == 0 {
		wr.mu.Unlock()
		return
	}
	wr.turn = true
	wr.mu.Unlock()
	wr.pass()
}

// acked takes an acknowledgement and wakes whoever waited for it.
func (wr *writer) acked(n uint32) bool {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	if !wr.pipe.ack(n, !wr.turn && !wr.waiting()) {
		return false
	}
	if wr.ended() {
		return true
	}
	if wr.pipe.ask(false) { // the bound has shrunk below what is in flight
		wr.control = append(wr.control, askFrame...)
		wr.wake(now)
	}
	if !wr.turn {
		if next := wr.pick(); next != nil {
			wr.turn = true
			next.granted <- true
		}
	}
	return true
}

func (wr *writer) ended() bool { return wr.closed || wr.closing != nil }

// finish queues the last frame and cancels all waits. The channel is closed
// when the frame has been written; who waits for it needs a limit.
func (wr *writer) finish(add func([]byte) []byte) <-chan struct{} {
	done := make(chan struct{})
	wr.mu.Lock()
	if wr.ended() {
		wr.mu.Unlock()
		close(done)
		return done
	}
	wr.control = add(wr.control)
	wr.closing = done
	wr.cancelAll()
	mine := !wr.turn
	wr.turn = true
	wr.mu.Unlock()
	if mine {
		wr.wg.Go(wr.pass)
	}
	return done
}

// close cancels all waits. Nothing is written afterwards.
func (wr *writer) close() {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	wr.closed = true
	wr.control = nil
	wr.cancelAll()
	if wr.closing != nil {
		close(wr.closing)
		wr.closing = nil
	}
}

func (wr *writer) cancelAll() {
	if wr.timer != nil {
		wr.timer.Stop()
	}
	for c := range wr.queue {
		for len(wr.queue[c].waiters) > 0 {
			wr.queue[c].pop().granted <- false
		}
	}
}
