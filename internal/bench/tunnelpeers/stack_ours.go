package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"

	"github.com/openpf9/openpf9/internal/tunnel"
)

// ourStack is the product's tunnel with its zero configuration. All streams are
// of class Normal, so that the pings have no advantage over the peers' except
// with classes set.
type ourStack struct{ classes bool }

const ourService = "bench"

func (s ourStack) Listen(l net.Listener, c *tls.Config, up func(Opener)) (io.Closer, error) {
	return serveHTTP(tunnel.Cork(l), c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, err := tunnel.Upgrade(w, r, tunnel.Config{})
		if err != nil {
			return
		}
		up(ourOpener{t, s.classes})
	})), nil
}

func (s ourStack) Connect(ctx context.Context, addr string, c *tls.Config, serve func(net.Conn)) (io.Closer, error) {
	services := tunnel.NewServices()
	l, err := services.Listen(ourService)
	if err != nil {
		return nil, err
	}
	d := &tunnel.Dialer{TLS: c}
	t, err := d.Connect(ctx, "wss://"+addr+"/", tunnel.Config{Services: services})
	if err != nil {
		l.Close()
		return nil, err
	}
	go serveStreams(l.Accept, serve)
	return closeFunc(func() error {
		l.Close()
		return t.Close("bench over")
	}), nil
}

type ourOpener struct {
	*tunnel.Session
	classes bool
}

func (o ourOpener) Open(ctx context.Context, use Use) (net.Conn, error) {
	class := tunnel.Normal
	if o.classes && use == UsePing {
		class = tunnel.Interactive
	} else if o.classes {
		class = tunnel.Bulk
	}
	return o.DialClass(ctx, ourService, class)
}

func (o ourOpener) Close() error { return o.Session.Close("bench over") }
