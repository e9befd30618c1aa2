package tunnel

import (
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readAhead stands below TLS beside corked. crypto/tls reads the socket about
// once a record, of 16 KiB; this reads what is there, to 64 KiB, at once. It
// takes its buffer only when the socket has something, so that an idle
// connection holds none.
//
// While data comes fast it looks again for a moment before it sleeps: to be
// woken by the kernel costs more than to take in what came.
type readAhead struct {
	conn net.Conn
	raw  syscall.RawConn // nil: the connection is no socket, read as usual
	slab *[]byte
	rest []byte // of slab, not yet read

	n      int   // of the last read
	failed error // likewise
	once   func(fd uintptr) bool
	dry    func() // called before looking again or waiting; nil: nobody cares
	looks  looks
}

// looks decides whether to look again before waiting. It is worth it where it
// was lately.
type looks struct {
	worth int       // from 0 to lookMost; one is lost when it was in vain, one gained otherwise
	waits int       // without looking, since the last look
	since time.Time // of the look under way; zero: there is none
	fast  bool      // a lot came last time
}

const (
	lookFor   = 100 * time.Microsecond
	lookMost  = 8
	lookAgain = 32       // waits between tries where it was not worth it
	lookBytes = 16 << 10 // that must have come last time
)

// more says whether to look once more now that there is nothing.
func (l *looks) more() bool {
	if l.since.IsZero() {
		if l.waits++; !l.fast || l.worth == 0 && l.waits < lookAgain {
			return false
		}
		l.since, l.waits = time.Now(), 0
		return true
	}
	if time.Since(l.since) < lookFor {
		return true
	}
	l.worth, l.since = max(l.worth-1, 0), time.Time{}
	return false
}

// came notes that there is something.
func (l *looks) came(n int) {
	if !l.since.IsZero() {
		l.worth, l.since = min(l.worth+1, lookMost), time.Time{}
	}
	l.fast = n >= lookBytes
}

var slabs = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

func (r *readAhead) init(c net.Conn) {
	r.conn = c
	if s, ok := c.(syscall.Conn); ok {
		r.raw, _ = s.SyscallConn()
		r.once = r.readOnce
	}
}

// Read is for one goroutine at a time, as crypto/tls does it.
func (r *readAhead) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.raw == nil || len(p) == 0 {
			return r.conn.Read(p)
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	if r.rest = r.rest[n:]; len(r.rest) == 0 {
		slabs.Put(r.slab)
		r.slab = nil
	}
	return n, nil
}

// fill waits for data and takes what there is.
func (r *readAhead) fill() error {
	err := r.raw.Read(r.once)
	switch {
	case err != nil:
		return &net.OpError{Op: "read", Net: "tcp", Addr: r.conn.RemoteAddr(), Err: err}
	case r.failed != nil:
		return &net.OpError{Op: "read", Net: "tcp", Addr: r.conn.RemoteAddr(), Err: r.failed}
	case r.n == 0:
		return io.EOF
	}
	return nil
}

// readOnce reads into a slab of its own; false: there is nothing yet.
func (r *readAhead) readOnce(fd uintptr) bool {
	slab := slabs.Get().(*[]byte)
	for {
		r.n, r.failed = unix.Read(int(fd), *slab)
		switch {
		case r.failed == unix.EINTR:
			continue
		case r.failed == unix.EAGAIN:
			if r.looks.since.IsZero() && r.dry != nil {
				r.dry()
			}
			if r.looks.more() {
				runtime.Gosched()
				continue
			}
		case r.failed == nil && r.n > 0:
			r.looks.came(r.n)
			r.slab, r.rest = slab, (*slab)[:r.n]
			return true
		}
		slabs.Put(slab)
		return r.failed != unix.EAGAIN
	}
}
