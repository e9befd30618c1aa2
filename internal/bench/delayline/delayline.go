// Package delayline makes a long network path on one machine: two network
// namespaces, a TUN device in each, and a line between them that holds every
// packet for half a round trip. TCP runs through it end to end, with the
// kernel's own windows and congestion control.
//
// It is for benchmarks, needs root, and stays inside its own namespaces. The
// kernel need not have netem.
package delayline

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what the path is like.
type Options struct {
	RTT time.Duration
	// BytesPerSecond bounds each direction; 0: no bound.
	BytesPerSecond int
	// Queue is how long a packet may wait for a bounded direction before it
	// is dropped at the tail; 0 means 50 ms.
	Queue time.Duration
}

// Path is the line and its two ends.
type Path struct {
	Near, Far *End
	wg        sync.WaitGroup
}

// New makes a path. Close ends it.
func New(o Options) (*Path, error) {
	if o.Queue == 0 {
		o.Queue = 50 * time.Millisecond
	}
	near, err := newEnd(net.IPv4(192, 0, 2, 1), net.IPv4(192, 0, 2, 2))
	if err != nil {
		return nil, err
	}
	far, err := newEnd(net.IPv4(192, 0, 2, 2), net.IPv4(192, 0, 2, 1))
	if err != nil {
		near.close()
		return nil, err
	}
	p := &Path{Near: near, Far: far}
	for _, way := range [][2]*End{{near, far}, {far, near}} {
		l := &line{from: way[0].tun, to: way[1].tun, delay: o.RTT / 2, rate: o.BytesPerSecond, queue: o.Queue, held: make(chan packet, 1<<16)}
		p.wg.Go(l.take)
		p.wg.Go(l.give)
	}
	return p, nil
}

// Close ends the path and waits for its goroutines. Sockets made through the
// ends stay open, and dead, until their owners close them.
func (p *Path) Close() {
	p.Near.close()
	p.Far.close()
	p.wg.Wait()
}

// End is one end of the path: a network namespace with one address.
type End struct {
	IP  net.IP
	tun *os.File
	ns  int // file descriptor of the namespace
}

// Listen listens on the end's address and any free port.
func (e *End) Listen() (l net.Listener, err error) {
	err = e.Inside(func() error {
		l, err = net.Listen("tcp4", net.JoinHostPort(e.IP.String(), "0"))
		return err
	})
	return l, err
}

// DialContext dials from this end; the address must be a literal one. It has
// the form of net.Dialer's method, for TLS and WebSocket dialers.
func (e *End) DialContext(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = e.Inside(func() error {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Inside runs f with its thread in the end's namespace. A socket or a process
// stays in the namespace where it was made.
func (e *End) Inside(f func() error) error {
	return inNamespace(func() error {
		if err := unix.Setns(e.ns, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the namespace: %w", err)
		}
		return f()
	})
}

// inNamespace runs f on a thread that may leave its network namespace, and
// brings the thread back. A thread that cannot be brought back is thrown away.
func inNamespace(f func() error) error {
	done := make(chan error, 1)
	go func() { // ends with f
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		err = f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		_ = unix.Close(home)
		done <- err
	}()
	return <-done
}

func newEnd(own, peer net.IP) (*End, error) {
	e := &End{IP: own}
	err := inNamespace(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace (needs root): %w", err)
		}
		var err error
		if e.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		if e.tun, err = openTUN(own, peer); err != nil {
			_ = unix.Close(e.ns)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (e *End) close() {
	_ = e.tun.Close()
	_ = unix.Close(e.ns)
}
