package main

import (
	"context"
	"io"
	"net"
	"sync/atomic"
)

// chunk is what one Read or Write of bulk asks for, as io.Copy does.
const chunk = 32 << 10

// What the agent's service does with a stream, told by the stream's first byte.
const (
	opEcho   = 'e' // send back what comes
	opSink   = 'd' // read and count
	opSource = 'u' // write until the stream ends
	opStall  = 's' // never read again
)

// service is the far end of every stream: the agent's program. Close ends
// what the stalled streams wait for.
type service struct {
	read atomic.Int64 // bytes taken by sinks and echoes
	end  chan struct{}
}

func newService() *service { return &service{end: make(chan struct{})} }

func (s *service) serve(c net.Conn) {
	var op [1]byte
	if _, err := io.ReadFull(c, op[:]); err != nil {
		return
	}
	switch op[0] {
	case opEcho:
		s.echo(c)
	case opSink:
		drain(c, &s.read)
	case opSource:
		fill(c, nil)
	case opStall:
		<-s.end
	}
}

// echo reads no more until what it read is written: a service that, like most,
// does not buffer without bound.
func (s *service) echo(c net.Conn) {
	buf := make([]byte, chunk)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		s.read.Add(int64(n))
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// drain reads until c ends and counts.
func drain(c io.Reader, count *atomic.Int64) {
	buf := make([]byte, chunk)
	for {
		n, err := c.Read(buf)
		count.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// fill writes until c ends, and counts when count is not nil.
func fill(c io.Writer, count *atomic.Int64) {
	buf := make([]byte, chunk)
	for {
		n, err := c.Write(buf)
		if count != nil {
			count.Add(int64(n))
		}
		if err != nil {
			return
		}
	}
}

// openOp opens a stream and says what the far end shall do with it.
func openOp(ctx context.Context, o Opener, use Use, op byte, first []byte) (net.Conn, error) {
	c, err := o.Open(ctx, use)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(append([]byte{op}, first...)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
