package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
)

// Stack is one way to carry many streams between an agent and a control plane
// (DU). As in the product the agent connects out and both ends authenticate;
// in every row it is the DU that opens the streams.
type Stack interface {
	// Listen accepts sessions on l, at the DU, until the returned closer is
	// closed, and calls up for each session that is ready to open streams.
	Listen(l net.Listener, c *tls.Config, up func(Opener)) (io.Closer, error)
	// Connect brings up one session from the agent to addr and returns when the
	// DU has accepted it. Each stream the DU opens is given to serve, in a
	// goroutine of its own; it is closed when serve returns.
	Connect(ctx context.Context, addr string, c *tls.Config, serve func(net.Conn)) (io.Closer, error)
}

// Opener is the DU's end of a session.
type Opener interface {
	// Open opens a stream to the agent's service. The use is a hint that only
	// stacks with classes of traffic can follow.
	Open(ctx context.Context, use Use) (net.Conn, error)
	Close() error
}

// Use says what a stream is for.
type Use int

// The uses.
const (
	UseBulk Use = iota
	UsePing
)

const ourName = "ours"

// named is a stack with the name the flags and tables use.
type named struct {
	name string
	Stack
	// extra stacks run only when -stacks names them.
	extra bool
}

// allStacks returns every stack, in the order of the tables.
func allStacks() []named {
	ws := &wsDialer{}
	return []named{
		{name: "raw-tls", Stack: &rawStack{}},
		{name: ourName, Stack: ourStack{}},
		// OURS
		{name: "yamux", Stack: yamuxStack{ws: ws}},
		{name: "go-yamux", Stack: goYamuxStack{ws: ws}},
		{name: "smux-v1", Stack: smuxStack{ws: ws, version: 1}},
		{name: "smux-v2", Stack: smuxStack{ws: ws, version: 2}},
		{name: "http2", Stack: http2Stack{ws: ws}},
		{name: "remotedialer", Stack: remotedialerStack{}},
		// OURSC
		{name: "ours-classes", Stack: ourStack{classes: true}, extra: true},
		{name: "yamux-16m", Stack: yamuxStack{ws: ws, window: 16 << 20}, extra: true},
		{name: "smux-v2-4m", Stack: smuxStack{ws: ws, version: 2, window: 4 << 20}, extra: true},
		{name: "http2-16m", Stack: http2Stack{ws: ws, window: 16 << 20}, extra: true},
	}
}

func findStack(name string) (named, bool) {
	for _, s := range allStacks() {
		if s.name == name {
			return s, true
		}
	}
	return named{}, false
}

// serveStreams gives each accepted stream to serve until accept fails, and
// returns when all of them are done.
func serveStreams(accept func() (net.Conn, error), serve func(net.Conn)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer c.Close()
			serve(c)
		})
	}
}

// closeFunc is an io.Closer made of a function.
type closeFunc func() error

func (f closeFunc) Close() error { return f() }
