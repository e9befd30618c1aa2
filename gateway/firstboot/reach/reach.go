// Package reach asks whether what the gateway needs can be reached: the
// deployment unit, its proxy, name and time servers, a vCenter. It serves the
// first boot, which must not enrol with a wrong clock, a change of the network,
// which is kept only if somebody answers, and the console's diagnostics. It
// changes nothing.
package reach

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/openpf9/openpf9/internal/netcause"
	"github.com/openpf9/openpf9/internal/pki"
)

const (
	dialLimit  = 10 * time.Second
	headerSize = 64 << 10
)

// SkewLimit is how far the clock may be from the deployment unit's.
const SkewLimit = 5 * time.Minute

// Unit is a deployment unit and the way to it.
type Unit struct {
	URL string // "https://host[:port]"
	// Pin is its authority's, from a join token or [PinOf]; empty asks anybody
	// that answers, which proves nothing about who it is.
	Pin   string
	Proxy *url.URL // nil: none
}

// Answer is what a deployment unit said.
type Answer struct {
	Status int           // of HTTP
	Took   time.Duration // from the first packet to the answer
	Date   time.Time     // by its clock; zero: it did not say
	Skew   time.Duration // how far our clock is ahead of its, to about a second
}

// CheckSkew is an error if the clocks are too far apart.
func (a Answer) CheckSkew() error {
	if a.Date.IsZero() {
		return errors.New("the deployment unit did not say what time it has, so the clock cannot be checked; is that the deployment unit?")
	}
	if a.Skew.Abs() <= SkewLimit {
		return nil
	}
	side := "ahead of"
	if a.Skew < 0 {
		side = "behind"
	}
	return fmt.Errorf("the clock is %s %s the deployment unit's, more than the %s that certificates bear; name a time server that answers (gw.ntp), or correct the ESXi host's clock", a.Skew.Abs().Round(time.Second), side, SkewLimit)
}

// Ask asks the deployment unit for a sign of life. Any answer of HTTP counts.
// The connection is a new one, through the proxy if there is one. With a pin the
// far side has to prove that it is the deployment unit, by certificates whose
// dates are not looked at, because the clock here is what is in question.
func (u Unit) Ask(ctx context.Context) (Answer, error) {
	base, err := url.Parse(u.URL)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return Answer{}, fmt.Errorf("deployment unit %q: want https://host[:port]", u.URL)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*dialLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, base.JoinPath("/healthz").String(), nil)
	if err != nil {
		return Answer{}, err
	}
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialLimit}).DialContext,
		TLSClientConfig:        pinned(u.Pin),
		TLSHandshakeTimeout:    dialLimit,
		ResponseHeaderTimeout:  dialLimit,
		MaxResponseHeaderBytes: headerSize,
		DisableKeepAlives:      true,
	}
	if u.Proxy != nil {
		transport.Proxy = http.ProxyURL(u.Proxy)
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, unreached(base.Host, withoutURL(err))
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, headerSize)) // HEAD has no body
	_ = resp.Body.Close()
	now := time.Now()
	a := Answer{Status: resp.StatusCode, Took: now.Sub(began)}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// The header has whole seconds, cut off, and is half an answer old.
		middle := now.Add(-a.Took / 2)
		a.Date, a.Skew = date, middle.Sub(date.Add(500*time.Millisecond))
	}
	return a, nil
}

// unreached says why the deployment unit of the host did not answer.
func unreached(host string, err error) error {
	if !netcause.Is(err) { // it did, and is not ours
		return fmt.Errorf("ask the deployment unit %s: %w", host, err)
	}
	return fmt.Errorf("the deployment unit %s cannot be reached (%s)", host, netcause.Words(err))
}

// withoutURL leaves out what the caller knows, and a proxy's password.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// pinned trusts a chain that ends in the authority with the pin, at whatever
// time. Its host name must be right.
func pinned(pin string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it, against the pin
		VerifyConnection: func(state tls.ConnectionState) error {
			if pin == "" {
				return nil
			}
			leaf, roots, found := state.PeerCertificates[0], x509.NewCertPool(), false
			for _, c := range state.PeerCertificates {
				if c.IsCA && pki.Pin(c) == pin {
					roots.AddCert(c)
					found = true
				}
			}
			if !found {
				return errors.New("who answers is not the deployment unit that the pin is of: its authority is another")
			}
			within := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
			_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: state.ServerName, CurrentTime: within})
			return err
		},
	}
}

// PinOf is what the deployment unit has to prove: the authority that the gateway
// is enrolled with, which is in the file, or without one what was typed.
func PinOf(caFile, typed string) string {
	if b, err := os.ReadFile(caFile); err == nil {
		if certs, err := pki.ParseCertificates(b); err == nil {
			return pki.Pin(certs[0])
		}
	}
	return typed
}

// Dial opens and closes a TCP connection, "host:port".
func Dial(ctx context.Context, address string) (time.Duration, error) {
	began := time.Now()
	c, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	_ = c.Close()
	return time.Since(began), nil
}
