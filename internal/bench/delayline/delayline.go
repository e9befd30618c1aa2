// Package delayline makes a long path on one machine, for benchmarks: two
// network namespaces, each with a TUN device, and a line between them that
// holds every packet back for a fixed time. TCP runs end to end through it, so
// windows and congestion control behave as they do over that distance.
//
// It needs root (CAP_NET_ADMIN), touches nothing outside its own namespaces and
// leaves nothing behind: they vanish with the last process in them. It does not
// limit the rate and loses packets only when its queue is full.
package delayline

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"
)

// End is one of the two ends of a line.
type End int

// The ends.
const (
	A End = iota
	B
)

// Addr is the end's address inside its namespace.
func (e End) Addr() netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(e) + 1}) }

// queue is how many packets (of up to 64 KiB) are on the way in one direction;
// when it is full, packets are dropped.
const queue = 16 << 10

// Line is a path between two namespaces.
type Line struct {
	delay time.Duration // one way
	ends  [2]*namespace
}

// New makes the namespaces and their devices. Run moves the packets; Close ends
// it all.
func New(delay time.Duration) (*Line, error) {
	l := &Line{delay: delay}
	for e := range l.ends {
		n, err := newNamespace(End(e))
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("make end %d of the delay line: %w", e, err)
		}
		l.ends[e] = n
	}
	return l, nil
}

// In runs f on a thread inside the end's namespace and returns its error.
// Processes that f starts and sockets that it makes stay in there.
func (l *Line) In(e End, f func() error) error { return l.ends[e].do(f) }

// Run moves packets until ctx ends or the line is closed.
func (l *Line) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, l.closeDevices)()
	var wg sync.WaitGroup
	wg.Go(func() { l.direction(l.ends[A].tun, l.ends[B].tun) })
	wg.Go(func() { l.direction(l.ends[B].tun, l.ends[A].tun) })
	wg.Wait()
	return ctx.Err()
}

// Close ends Run and leaves the namespaces.
func (l *Line) Close() {
	l.closeDevices()
	for _, n := range l.ends {
		if n != nil {
			n.leave()
		}
	}
}

func (l *Line) closeDevices() {
	for _, n := range l.ends {
		if n != nil {
			_ = n.tun.Close()
		}
	}
}

// packet is a packet on its way, with the device's own header.
type packet struct {
	due time.Time
	buf *[]byte
	n   int
}

// direction moves packets one way until a device is closed.
func (l *Line) direction(from, to *os.File) {
	pool := sync.Pool{New: func() any { b := make([]byte, maxPacket); return &b }}
	line := make(chan packet, queue)
	var wg sync.WaitGroup
	wg.Go(func() {
		for p := range line {
			if wait := time.Until(p.due); wait > 0 {
				time.Sleep(wait)
			}
			// A packet that the far kernel refuses is lost, as on any network.
			_, _ = to.Write((*p.buf)[:p.n])
			pool.Put(p.buf)
		}
	})
	defer wg.Wait()
	defer close(line)
	for {
		buf, ok := pool.Get().(*[]byte)
		if !ok {
			return
		}
		n, err := from.Read(*buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			pool.Put(buf)
			continue
		}
		select {
		case line <- packet{time.Now().Add(l.delay), buf, n}:
		default:
			pool.Put(buf)
		}
	}
}

// namespace is a network namespace that a thread of ours stays in.
type namespace struct {
	tun  *os.File
	jobs chan func() // closed by leave
	once sync.Once
}

func newNamespace(e End) (*namespace, error) {
	n := &namespace{jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine.
		runtime.LockOSThread()
		err := enter()
		if err == nil {
			n.tun, err = openTun(e.Addr())
		}
		ready <- err
		if err != nil {
			return
		}
		for job := range n.jobs {
			job()
		}
	}()
	return n, <-ready
}

func (n *namespace) do(f func() error) error {
	done := make(chan error)
	n.jobs <- func() { done <- f() }
	return <-done
}

func (n *namespace) leave() { n.once.Do(func() { close(n.jobs) }) }
