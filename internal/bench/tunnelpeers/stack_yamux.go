package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"

	"github.com/hashicorp/yamux"
)

// yamuxStack is hashicorp/yamux over the WebSocket byte stream.
type yamuxStack struct {
	ws     *wsDialer
	window uint32 // 0: the default, 256 KiB
}

func (s yamuxStack) config() *yamux.Config {
	c := yamux.DefaultConfig()
	c.LogOutput = io.Discard
	if s.window != 0 {
		c.MaxStreamWindowSize = s.window
	}
	return c
}

func (s yamuxStack) Listen(l net.Listener, c *tls.Config, up func(Opener)) (io.Closer, error) {
	return serveWS(l, c, func(conn net.Conn) {
		m, err := yamux.Client(conn, s.config())
		if err != nil {
			conn.Close()
			return
		}
		up(yamuxOpener{m})
	}), nil
}

func (s yamuxStack) Connect(ctx context.Context, addr string, c *tls.Config, serve func(net.Conn)) (io.Closer, error) {
	conn, err := s.ws.dial(ctx, addr, c)
	if err != nil {
		return nil, err
	}
	m, err := yamux.Server(conn, s.config())
	if err != nil {
		conn.Close()
		return nil, err
	}
	go serveStreams(m.Accept, serve)
	return m, nil
}

type yamuxOpener struct{ *yamux.Session }

func (o yamuxOpener) Open(context.Context, Use) (net.Conn, error) { return o.Session.Open() }
