//lint:file-ignore SA1019 golang.org/x/net/http2 is what the peers of this comparison use.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/http2"
)

// http2Stack is HTTP/2 over the WebSocket byte stream with the agent as the
// HTTP server, as cloudflared does it: a stream is a POST whose two bodies run
// at the same time.
type http2Stack struct {
	ws     *wsDialer
	window int32 // what the agent takes in, per stream and connection; 0: Go's 1 MiB (the DU's side has 4 MiB and 1 GiB)
}

func (s http2Stack) Listen(l net.Listener, c *tls.Config, up func(Opener)) (io.Closer, error) {
	t := &http2.Transport{AllowHTTP: true, DisableCompression: true}
	return serveWS(l, c, func(conn net.Conn) {
		cc, err := t.NewClientConn(conn)
		if err != nil {
			conn.Close()
			return
		}
		up(http2Opener{cc})
	}), nil
}

func (s http2Stack) Connect(ctx context.Context, addr string, c *tls.Config, serve func(net.Conn)) (io.Closer, error) {
	conn, err := s.ws.dial(ctx, addr, c)
	if err != nil {
		return nil, err
	}
	h2 := &http2.Server{MaxUploadBufferPerConnection: s.window, MaxUploadBufferPerStream: s.window}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := w.(http.Flusher)
		if !ok {
			return
		}
		w.WriteHeader(http.StatusOK)
		f.Flush()
		serve(&http2ServerConn{r: r.Body, w: w, f: f})
	})
	go h2.ServeConn(conn, &http2.ServeConnOpts{Handler: h})
	return conn, nil
}

type http2Opener struct{ *http2.ClientConn }

func (o http2Opener) Open(ctx context.Context, _ Use) (net.Conn, error) {
	run, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel) // ctx bounds the opening only
	body, w := io.Pipe()
	r, err := http.NewRequestWithContext(run, http.MethodPost, "http://agent/", body)
	if err != nil {
		cancel()
		return nil, err
	}
	res, err := o.RoundTrip(r)
	if err != nil {
		cancel()
		return nil, err
	}
	if !stop() {
		res.Body.Close()
		return nil, ctx.Err()
	}
	return &http2ClientConn{ReadCloser: res.Body, w: w, cancel: cancel}, nil
}

func (o http2Opener) Close() error { return o.ClientConn.Close() }

type http2ClientConn struct {
	noAddr
	io.ReadCloser
	w      *io.PipeWriter
	cancel context.CancelFunc
}

func (c *http2ClientConn) Write(p []byte) (int, error) { return c.w.Write(p) }

func (c *http2ClientConn) Close() error {
	err := errors.Join(c.w.Close(), c.ReadCloser.Close())
	c.cancel()
	return err
}

type http2ServerConn struct {
	noAddr
	r io.ReadCloser
	w io.Writer
	f http.Flusher
}

func (c *http2ServerConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *http2ServerConn) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.f.Flush()
	return n, err
}

func (c *http2ServerConn) Close() error { return c.r.Close() }

// noAddr fills in what an HTTP body lacks to be a net.Conn.
type noAddr struct{}

func (noAddr) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (noAddr) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (noAddr) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (noAddr) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (noAddr) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
