package tunnel

import (
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// readAhead stands below TLS beside corked. crypto/tls reads the socket about
// once a record, of 16 KiB; this reads what is there, to 64 KiB, at once. It
// takes its buffer only when the socket has something, so that an idle
// connection holds none.
type readAhead struct {
	conn net.Conn
	raw  syscall.RawConn // nil: the connection is no socket, read as usual
	slab *[]byte
	rest []byte // of slab, not yet read

	n      int   // of the last read
	failed error // likewise
	once   func(fd uintptr) bool
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
		if r.failed != unix.EINTR {
			break
		}
	}
	if r.failed == nil && r.n > 0 {
		r.slab, r.rest = slab, (*slab)[:r.n]
		return true
	}
	slabs.Put(slab)
	return r.failed != unix.EAGAIN
}
