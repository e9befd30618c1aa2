package tunnelserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/tunnel"
)

// A Listener makes TLS connections of TCP connections, a bounded number at a
// time: when thousands of hosts come back at once, each handshake ends soon,
// instead of all of them late. Connections beyond the bounded queue wait in
// the kernel.
type Listener struct {
	tcp   net.Listener
	conf  *tls.Config
	log   *slog.Logger
	ready chan net.Conn
	ended chan struct{}
	once  sync.Once
}

// handshakeFor is how long a handshake may take. It bounds what clients that
// say nothing can hold up.
const handshakeFor = 5 * time.Second

// NewListener takes connections from tcp and shakes hands with at most atOnce
// of them at a time; 0 means 256. Accept works while Run does.
func NewListener(tcp net.Listener, conf *tls.Config, atOnce int, log *slog.Logger) *Listener {
	if atOnce <= 0 {
		atOnce = 256
	}
	return &Listener{tcp: tunnel.Cork(tcp), conf: conf, log: log, ready: make(chan net.Conn, atOnce), ended: make(chan struct{})}
}

// Run accepts until ctx ends or the listener is closed.
func (l *Listener) Run(ctx context.Context) error {
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	slots := make(chan struct{}, cap(l.ready))
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case slots <- struct{}{}:
		case <-l.ended:
			return nil
		}
		c, err := l.tcp.Accept()
		if err != nil {
			<-slots
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of file descriptors, most likely: try again, later.
			l.log.Warn("accept", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-l.ended:
				return nil
			}
		}
		wg.Go(func() {
			l.shake(ctx, c)
			<-slots
		})
	}
}

// shake hands the connection over once its handshake is done.
func (l *Listener) shake(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, handshakeFor)
	defer cancel()
	t := tls.Server(c, l.conf)
	if err := t.HandshakeContext(ctx); err != nil {
		l.log.Debug("tls handshake", "address", c.RemoteAddr().String(), "err", err)
		c.Close()
		return
	}
	select {
	case l.ready <- t:
	case <-l.ended:
		c.Close()
	}
}

// Accept is part of [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// Close is part of [net.Listener].
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.ended)
		err = l.tcp.Close()
	})
	return err
}

// Addr is part of [net.Listener].
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }
