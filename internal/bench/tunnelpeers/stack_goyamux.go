package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"

	"github.com/libp2p/go-yamux/v5"
)

// goYamuxStack is libp2p/go-yamux, whose windows grow by themselves, over the
// WebSocket byte stream.
type goYamuxStack struct{ ws *wsDialer }

func (s goYamuxStack) config() *yamux.Config {
	c := yamux.DefaultConfig()
	c.LogOutput = io.Discard
	return c
}

func (s goYamuxStack) Listen(l net.Listener, c *tls.Config, up func(Opener)) (io.Closer, error) {
	return serveWS(l, c, func(conn net.Conn) {
		m, err := yamux.Client(conn, s.config(), nil)
		if err != nil {
			conn.Close()
			return
		}
		up(goYamuxOpener{m})
	}), nil
}

func (s goYamuxStack) Connect(ctx context.Context, addr string, c *tls.Config, serve func(net.Conn)) (io.Closer, error) {
	conn, err := s.ws.dial(ctx, addr, c)
	if err != nil {
		return nil, err
	}
	m, err := yamux.Server(conn, s.config(), nil)
	if err != nil {
		conn.Close()
		return nil, err
	}
	go serveStreams(m.Accept, serve)
	return m, nil
}

type goYamuxOpener struct{ *yamux.Session }

func (o goYamuxOpener) Open(ctx context.Context, _ Use) (net.Conn, error) {
	return o.OpenStream(ctx)
}
