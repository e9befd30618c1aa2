package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rancher/remotedialer"
	"github.com/sirupsen/logrus"
)

// remotedialerStack is rancher/remotedialer with its own server, client and
// WebSocket settings. The agent's service is reached through net.Pipe, cheaper
// than the TCP connection its users have there.
type remotedialerStack struct{}

func (remotedialerStack) Listen(l net.Listener, c *tls.Config, up func(Opener)) (io.Closer, error) {
	logrus.SetOutput(io.Discard)
	var n atomic.Int64
	var srv *remotedialer.Server
	srv = remotedialer.New(func(r *http.Request) (string, bool, error) {
		key := strconv.FormatInt(n.Add(1), 10)
		up(&remotedialerOpener{srv: srv, key: key})
		return key, true, nil
	}, remotedialer.DefaultErrorWriter)
	return serveHTTP(l, c, srv), nil
}

func (remotedialerStack) Connect(ctx context.Context, addr string, c *tls.Config, serve func(net.Conn)) (io.Closer, error) {
	logrus.SetOutput(io.Discard)
	local := func(context.Context, string, string) (net.Conn, error) {
		mine, theirs := net.Pipe()
		go func() {
			defer mine.Close()
			serve(mine)
		}()
		return theirs, nil
	}
	run, stop := context.WithCancel(context.Background())
	up, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		d := &websocket.Dialer{TLSClientConfig: c, HandshakeTimeout: 30 * time.Second}
		ended <- remotedialer.ConnectToProxyWithDialer(run, "wss://"+addr+"/", nil,
			func(string, string) bool { return true }, d, local,
			func(context.Context, *remotedialer.Session) error { close(up); return nil })
	}()
	select {
	case <-up:
		return closeFunc(func() error { stop(); return nil }), nil
	case err := <-ended:
		stop()
		return nil, errors.Join(errors.New("remotedialer connect"), err)
	case <-ctx.Done():
		stop()
		return nil, ctx.Err()
	}
}

type remotedialerOpener struct {
	srv *remotedialer.Server
	key string
}

// Open waits for the session first: it is announced a moment before it exists.
func (o *remotedialerOpener) Open(ctx context.Context, _ Use) (net.Conn, error) {
	for !o.srv.HasSession(o.key) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return o.srv.Dialer(o.key)(ctx, "tcp", "bench:1")
}

// Close does nothing: the server offers no way to end a session. It ends with
// the agent's.
func (o *remotedialerOpener) Close() error { return nil }
