package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"

	"github.com/xtaci/smux"
)

// smuxStack is xtaci/smux over the WebSocket byte stream.
type smuxStack struct {
	ws      *wsDialer
	version int
	window  int // per stream in version 2; 0: the default, 64 KiB
}

func (s smuxStack) config() *smux.Config {
	c := smux.DefaultConfig()
	c.Version = s.version
	if s.window != 0 {
		c.MaxStreamBuffer = s.window
	}
	return c
}

func (s smuxStack) Listen(l net.Listener, c *tls.Config, up func(Opener)) (io.Closer, error) {
	return serveWS(l, c, func(conn net.Conn) {
		m, err := smux.Client(conn, s.config())
		if err != nil {
			conn.Close()
			return
		}
		up(smuxOpener{m})
	}), nil
}

func (s smuxStack) Connect(ctx context.Context, addr string, c *tls.Config, serve func(net.Conn)) (io.Closer, error) {
	conn, err := s.ws.dial(ctx, addr, c)
	if err != nil {
		return nil, err
	}
	m, err := smux.Server(conn, s.config())
	if err != nil {
		conn.Close()
		return nil, err
	}
	go serveStreams(func() (net.Conn, error) { return m.AcceptStream() }, serve)
	return m, nil
}

type smuxOpener struct{ *smux.Session }

func (o smuxOpener) Open(context.Context, Use) (net.Conn, error) { return o.OpenStream() }
