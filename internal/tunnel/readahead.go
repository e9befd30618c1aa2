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
}

var slabs = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

func newReadAhead(c net.Conn) readAhead {
	r := readAhead{conn: c}
	if s, ok := c.(syscall.Conn); ok {
		r.raw, _ = s.SyscallConn()
	}
	return r
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
	var n int
	var failed error
	err := r.raw.Read(func(fd uintptr) bool {
		slab := slabs.Get().(*[]byte)
		for {
			n, failed = unix.Read(int(fd), *slab)
			if failed != unix.EINTR {
				break
			}
		}
		if failed == nil && n > 0 {
			r.slab, r.rest = slab, (*slab)[:n]
			return true
		}
		slabs.Put(slab)
		return failed != unix.EAGAIN
	})
	switch {
	case err != nil:
		return &net.OpError{Op: "read", Net: "tcp", Addr: r.conn.RemoteAddr(), Err: err}
	case failed != nil:
		return &net.OpError{Op: "read", Net: "tcp", Addr: r.conn.RemoteAddr(), Err: failed}
	case n == 0:
		return io.EOF
	}
	return nil
}
