package libvirt

import (
	"encoding/binary"
	"fmt"
	"net"
)

// The sizes that a message may have on the wire: its length word and header,
// and libvirt's own limit of 32 MiB with that word.
const (
	minMessage = 28
	maxMessage = 32<<20 + 4
)

// A guard is a connection that checks the length of each message before
// go-libvirt reads it: go-libvirt panics on a short one and allocates whatever
// a long one says. It reports failures before go-libvirt sees them and closes
// the connection, which would hide the reason. Reads come from one goroutine.
type guard struct {
	net.Conn
	failed func(error)

	word [4]byte
	have int // bytes of word read so far
	rest int // bytes left of the message after its length word
}

func (g *guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if g.rest > 0 {
		p = p[:min(len(p), g.rest)]
	} else {
		p = p[:min(len(p), len(g.word)-g.have)]
	}
	n, err := g.Conn.Read(p)
	if g.rest > 0 {
		g.rest -= n
	} else {
		g.have += copy(g.word[g.have:], p[:n])
		if g.have == len(g.word) {
			size := binary.BigEndian.Uint32(g.word[:])
			if size < minMessage || size > maxMessage {
				err = fmt.Errorf("message of %d bytes", size)
				n = 0
			}
			g.have, g.rest = 0, int(size)-len(g.word)
		}
	}
	if err != nil {
		g.failed(err)      // first, so that the reason is known before anybody else fails
		_ = g.Conn.Close() // go-libvirt goes on after some errors
	}
	return n, err
}

func (g *guard) Write(p []byte) (int, error) {
	n, err := g.Conn.Write(p)
	if err != nil {
		g.failed(err)
	}
	return n, err
}
