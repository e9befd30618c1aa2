package reach

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

const (
	dnsLimit = 5 * time.Second
	ntpLimit = 5 * time.Second
)

// Lookup asks one name server for a name's addresses.
func Lookup(ctx context.Context, server netip.AddrPort, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dnsLimit}).DialContext(ctx, network, server.String())
	}}
	return r.LookupNetIP(ctx, "ip", name+".")
}

// System looks a name up as every program of the appliance does.
func System(ctx context.Context, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*dnsLimit)
	defer cancel()
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// Tunnel asks a proxy to connect to a target, "host:port", and hangs up.
func Tunnel(ctx context.Context, proxy *url.URL, target string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*dialLimit)
	defer cancel()
	began := time.Now()
	conn, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", proxy.Host)
	if err != nil {
		return 0, fmt.Errorf("connect to the proxy %s: %w", proxy.Host, err)
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, err
	}
	if proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
	}
	req := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		req += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, req+"\r\n"); err != nil {
		return 0, fmt.Errorf("ask the proxy: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, headerSize)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return 0, fmt.Errorf("read the proxy's answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the proxy refused to connect to %s: %s", target, resp.Status)
	}
	return time.Since(began), nil
}

// Time is what a time server said.
type Time struct {
	Offset  time.Duration // that our clock is ahead
	Took    time.Duration
	Stratum int // 1 has a clock of its own
}

const ntpBytes = 48

// NTP asks a time server, "host:port" (RFC 5905, client mode).
func NTP(ctx context.Context, address string) (Time, error) {
	ctx, cancel := context.WithTimeout(ctx, ntpLimit)
	defer cancel()
	conn, err := (&net.Dialer{Timeout: ntpLimit}).DialContext(ctx, "udp", address)
	if err != nil {
		return Time{}, err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return Time{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // the console may leave earlier
	defer stop()
	request := make([]byte, ntpBytes)
	request[0] = 4<<3 | 3 // version 4, client
	sent := time.Now()
	binary.BigEndian.PutUint64(request[40:], stamp(sent))
	if _, err := conn.Write(request); err != nil {
		return Time{}, err
	}
	answer := make([]byte, 512)
	n, err := conn.Read(answer)
	if err != nil {
		return Time{}, fmt.Errorf("no answer: %w", err)
	}
	return parseNTP(answer[:n], sent, time.Now())
}

// epoch is NTP's, in seconds before Unix'. Its era ends in 2036; the difference
// to our own clock tells which era a stamp is of.
const epoch = 2208988800

func stamp(t time.Time) uint64 {
	return uint64(t.Unix()+epoch)<<32 | uint64(t.Nanosecond())<<32/1e9
}

// parseNTP reads an answer to a request of the time sent.
func parseNTP(b []byte, sent, received time.Time) (Time, error) {
	if len(b) < ntpBytes {
		return Time{}, fmt.Errorf("the answer has %d bytes, want %d", len(b), ntpBytes)
	}
	stratum := int(b[1])
	switch {
	case b[0]&7 != 4:
		return Time{}, errors.New("the answer is not a time server's")
	case binary.BigEndian.Uint64(b[24:]) != stamp(sent):
		return Time{}, errors.New("the answer is to another question")
	case stratum == 0:
		return Time{}, fmt.Errorf("the server refuses: %.4q", b[12:16])
	case b[0]>>6 == 3 || stratum > 15:
		return Time{}, errors.New("the server does not know the time itself yet")
	}
	// Differences in NTP's own form wrap as its eras do.
	came := seconds(stamp(sent) - binary.BigEndian.Uint64(b[32:]))
	left := seconds(stamp(received) - binary.BigEndian.Uint64(b[40:]))
	return Time{Offset: came/2 + left/2, Took: received.Sub(sent), Stratum: stratum}, nil
}

// seconds reads a difference of two stamps.
func seconds(difference uint64) time.Duration {
	d := int64(difference)
	whole, part := d>>32, d&0xffffffff
	return time.Duration(whole)*time.Second + time.Duration(part*1e9>>32)
}
