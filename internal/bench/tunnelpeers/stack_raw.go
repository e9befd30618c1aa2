package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// rawStack is TLS with nothing on it. A session is one connection, which the
// rows about sessions measure: the handshake and no more. Each stream is a
// connection of its own, made by the DU to a port that the agent tells it, so
// that a row with one stream is one TLS connection and a row with eight is
// eight.
type rawStack struct {
	mu   sync.Mutex
	port int // the agent's; 0 until the first session
}

func (s *rawStack) Listen(l net.Listener, c *tls.Config, up func(Opener)) (io.Closer, error) {
	tl := tls.NewListener(l, c)
	go serveConns(tl, func(conn net.Conn) {
		o, err := rawAccept(conn, c)
		if err != nil {
			conn.Close()
			return
		}
		up(o)
		// As any mux does, wait for the connection's end.
		_, _ = conn.Read(make([]byte, 1))
	})
	return tl, nil
}

// rawAccept reads the agent's port and confirms the session, as the answer to
// a WebSocket upgrade does for the others.
func rawAccept(conn net.Conn, c *tls.Config) (*rawOpener, error) {
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	var port [2]byte
	if _, err := io.ReadFull(conn, port[:]); err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return nil, err
	}
	return &rawOpener{
		conn: conn, tls: c,
		agent: net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port[:])))),
	}, conn.SetDeadline(time.Time{})
}

func (s *rawStack) Connect(ctx context.Context, addr string, c *tls.Config, serve func(net.Conn)) (io.Closer, error) {
	port, err := s.listenAgent(c, serve)
	if err != nil {
		return nil, err
	}
	d := tls.Dialer{Config: c}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = conn.Write(binary.BigEndian.AppendUint16(nil, uint16(port)))
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, conn.SetDeadline(time.Time{})
}

// listenAgent opens the agent's port at the first session. It stays open until
// the process ends.
func (s *rawStack) listenAgent(c *tls.Config, serve func(net.Conn)) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port != 0 {
		return s.port, nil
	}
	l, err := tls.Listen("tcp", ":0", c)
	if err != nil {
		return 0, err
	}
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		l.Close()
		return 0, errors.New("agent's listener is not TCP")
	}
	s.port = tcp.Port
	go serveConns(l, serve)
	return s.port, nil
}

func serveConns(l net.Listener, serve func(net.Conn)) { serveStreams(l.Accept, serve) }

type rawOpener struct {
	conn  net.Conn
	tls   *tls.Config
	agent string
}

func (o *rawOpener) Open(ctx context.Context, _ Use) (net.Conn, error) {
	d := tls.Dialer{Config: o.tls}
	return d.DialContext(ctx, "tcp", o.agent)
}

func (o *rawOpener) Close() error { return o.conn.Close() }
