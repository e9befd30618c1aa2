package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// wsBuffer holds the largest write of any peer's mux: 64 KiB and a header.
const wsBuffer = 68 << 10

// wsConn is a byte stream over a WebSocket: one binary frame and one write on
// the connection below per Write. Reads of several messages run together.
type wsConn struct {
	*websocket.Conn
	r  io.Reader
	mu sync.Mutex // orders writers; some muxes write from several goroutines
}

func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.r == nil {
			_, r, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			c.r = r
		}
		n, err := c.r.Read(p)
		if errors.Is(err, io.EOF) {
			c.r, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *wsConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// NextWriter, not WriteMessage: at a server over TLS the latter writes the
	// header as a record of its own.
	w, err := c.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(p)
	if err != nil {
		return n, err
	}
	return n, w.Close()
}

func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// serveHTTP serves h over TLS on l without HTTP/2.
func serveHTTP(l net.Listener, c *tls.Config, h http.Handler) io.Closer {
	s := &http.Server{
		Handler:           h,
		TLSConfig:         c,
		ReadHeaderTimeout: 20 * time.Second,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.ServeTLS(l, "", "") })
	return closeFunc(func() error {
		err := s.Close()
		wg.Wait()
		return err
	})
}

// serveWS upgrades each request to a byte stream and gives it to accept, after
// which the handler returns so that net/http keeps nothing.
func serveWS(l net.Listener, c *tls.Config, accept func(net.Conn)) io.Closer {
	up := websocket.Upgrader{
		WriteBufferSize: wsBuffer,
		WriteBufferPool: &sync.Pool{},
		CheckOrigin:     func(*http.Request) bool { return true },
	}
	return serveHTTP(l, c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		accept(&wsConn{Conn: ws})
	}))
}

// wsDialer makes byte streams over WebSockets.
type wsDialer struct {
	pool sync.Pool
}

func (d *wsDialer) dial(ctx context.Context, addr string, c *tls.Config) (net.Conn, error) {
	wd := websocket.Dialer{
		TLSClientConfig:  c,
		HandshakeTimeout: 30 * time.Second,
		WriteBufferSize:  wsBuffer,
		WriteBufferPool:  &d.pool,
	}
	ws, _, err := wd.DialContext(ctx, "wss://"+addr+"/", nil)
	if err != nil {
		return nil, err
	}
	return &wsConn{Conn: ws}, nil
}
