package tunnel

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Dialer connects to a server of tunnels.
type Dialer struct {
	// TLS is cloned for each connection; nil means the system's authorities. A
	// renewed client certificate takes effect through GetClientCertificate.
	TLS *tls.Config
	// Proxy returns the HTTP proxy for a request, as http.ProxyFromEnvironment
	// does; nil: none. Its user and password are sent by basic authentication.
	Proxy   func(*http.Request) (*url.URL, error)
	Header  http.Header
	Timeout time.Duration // of all of Connect; 0 means 30 s
	// DialContext makes the TCP connection; nil means net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// StatusError is the server's refusal of a tunnel.
type StatusError struct {
	Code       int
	Message    string        // the server's words
	RetryAfter time.Duration // 0: not said
}

// Error says what the server answered.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the server refused the tunnel (%d %s): %s", e.Code, http.StatusText(e.Code), e.Message)
}

// A ConnectError is a failure before the server itself was reached.
type ConnectError struct{ Err error }

func (e *ConnectError) Error() string { return e.Err.Error() }

// Unwrap returns the network's error.
func (e *ConnectError) Unwrap() error { return e.Err }

const (
	dialTimeout = 30 * time.Second
	// tcpTimeout is short: a path that is cut is tried again soon, and notices
	// its repair by the try, not by the kernel's ever longer waits.
	tcpTimeout = 4 * time.Second
	maxRefusal = 8 << 10 // bytes of a refusal's body
)

// Connect makes one session. rawURL is "wss://host[:port]/path"; ctx bounds the
// making only.
func (d *Dialer) Connect(ctx context.Context, rawURL string, c Config) (*Session, error) {
	timeout := d.Timeout
	if timeout == 0 {
		timeout = dialTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ws := websocket.Dialer{
		ReadBufferSize: readBuffer, WriteBufferSize: writeBuffer, WriteBufferPool: &writeBuffers,
		Subprotocols: []string{Subprotocol}, NetDialContext: d.dialTCP, NetDialTLSContext: d.dialTLS,
		HandshakeTimeout: timeout,
	}
	conn, resp, err := ws.DialContext(ctx, rawURL, d.Header)
	if err != nil {
		if resp != nil && errors.Is(err, websocket.ErrBadHandshake) {
			return nil, refused(resp)
		}
		return nil, err
	}
	if conn.Subprotocol() != Subprotocol {
		_ = conn.Close()
		return nil, fmt.Errorf("the server does not speak %s", Subprotocol)
	}
	return start(conn, c, true), nil
}

func refused(resp *http.Response) error {
	e := &StatusError{Code: resp.StatusCode, Message: "no reason given"}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // gorilla has read it already
	var problem struct{ Message, Detail string }
	if json.Unmarshal(body, &problem) == nil && problem.Message+problem.Detail != "" {
		if e.Message = problem.Message; e.Message == "" {
			e.Message = problem.Detail
		}
	} else if text := strings.TrimSpace(string(body)); text != "" {
		e.Message = printable([]byte(text[:min(len(text), 200)]))
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 && seconds < 86400 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// dialTCP connects to the address, through the proxy if there is one.
func (d *Dialer) dialTCP(ctx context.Context, network, address string) (net.Conn, error) {
	dial := d.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: tcpTimeout, KeepAlive: -1}).DialContext
	}
	proxy, err := d.proxy(address)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, &ConnectError{err}
		}
		return newCorked(c), nil
	}
	c, err := dial(ctx, network, withPort(proxy))
	if err != nil {
		return nil, &ConnectError{fmt.Errorf("connect to proxy: %w", err)}
	}
	if proxy.Scheme == "https" {
		conf := &tls.Config{}
		if d.TLS != nil {
			conf = &tls.Config{RootCAs: d.TLS.RootCAs}
		}
		conf.ServerName = proxy.Hostname()
		c = tls.Client(c, conf)
	}
	if err := tunnelThrough(ctx, c, proxy, address); err != nil {
		_ = c.Close()
		return nil, err
	}
	return newCorked(c), nil
}

func (d *Dialer) proxy(address string) (*url.URL, error) {
	if d.Proxy == nil {
		return nil, nil
	}
	u, err := d.Proxy(&http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: address}})
	if err != nil {
		return nil, fmt.Errorf("choose proxy: %w", err)
	}
	if u != nil && u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("proxy %s: want the scheme http or https", u.Redacted())
	}
	return u, nil
}

func withPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// tunnelThrough asks the proxy on c to connect to the address.
func tunnelThrough(ctx context.Context, c net.Conn, proxy *url.URL, address string) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: make(http.Header)}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(c); err != nil {
		return fmt.Errorf("ask proxy %s: %w", proxy.Redacted(), err)
	}
	// The server speaks first only after TLS, so nothing follows the answer.
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 1<<10), req)
	if err != nil {
		return fmt.Errorf("ask proxy %s: %w", proxy.Redacted(), err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("proxy %s refused to connect to %s: %s", proxy.Redacted(), address, resp.Status)
	}
	return nil
}

// dialTLS connects and makes TLS.
func (d *Dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := d.dialTCP(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{}
	if d.TLS != nil {
		conf = d.TLS.Clone()
	}
	conf.MinVersion = tls.VersionTLS13
	conf.NextProtos = []string{"http/1.1"}
	if conf.ServerName == "" {
		if conf.ServerName, _, err = net.SplitHostPort(address); err != nil {
			return nil, err
		}
	}
	c := tls.Client(raw, conf)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("make TLS with %s: %w", address, err)
	}
	return c, nil
}
