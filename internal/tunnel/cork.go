package tunnel

import (
	"crypto/tls"
	"net"
	"sync"
)

// corked stands below TLS. While a message is written it gathers the TLS
// records, which crypto/tls writes one by one, and hands them to the kernel
// together.
type corked struct {
	net.Conn
	ahead readAhead

	mu     sync.Mutex // guards the fields below
	on     bool
	buffer *[]byte // from corks; nil while empty
}

// corks hold a message of the largest size with its TLS overhead.
var corks = sync.Pool{New: func() any { b := make([]byte, 0, 80<<10); return &b }}

// Cork wraps what a TLS listener will stand on, so that tunnels that are
// accepted through it cost fewer system calls. It is optional.
func Cork(l net.Listener) net.Listener { return corkListener{l} }

type corkListener struct{ net.Listener }

func (l corkListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newCorked(c), nil
}

func newCorked(c net.Conn) *corked {
	w := &corked{Conn: c}
	w.ahead.init(c)
	return w
}

// Read reads ahead.
func (c *corked) Read(p []byte) (int, error) { return c.ahead.Read(p) }

// corkOf finds the wrapping below a connection's TLS; nil if there is none.
func corkOf(c net.Conn) *corked {
	t, ok := c.(*tls.Conn)
	if !ok {
		return nil
	}
	w, _ := t.NetConn().(*corked)
	return w
}

// Write gathers while corked.
func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	if !c.on {
		c.mu.Unlock()
		return c.Conn.Write(p)
	}
	defer c.mu.Unlock()
	if c.buffer == nil {
		c.buffer = corks.Get().(*[]byte)
	}
	if len(*c.buffer)+len(p) > cap(*c.buffer) {
		if err := c.flush(); err != nil {
			return 0, err
		}
		if c.buffer = corks.Get().(*[]byte); len(p) > cap(*c.buffer) {
			return c.Conn.Write(p)
		}
	}
	*c.buffer = append(*c.buffer, p...)
	return len(p), nil
}

// flush hands over what was gathered. Callers hold mu.
func (c *corked) flush() error {
	if c.buffer == nil {
		return nil
	}
	_, err := c.Conn.Write(*c.buffer)
	*c.buffer = (*c.buffer)[:0]
	corks.Put(c.buffer)
	c.buffer = nil
	return err
}

func (c *corked) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = true
}

func (c *corked) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
	return c.flush()
}
