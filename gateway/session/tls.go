package session

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/internal/pki"
)

const (
	dialLimit      = 10 * time.Second
	handshakeLimit = 10 * time.Second
)

// CertificateError says that the server's certificate is not the pinned one.
// Nothing was sent to the server, no account above all.
type CertificateError struct {
	VCenter string // our name for it; empty: it is a host
	Server  string // its name in the configuration
	Pinned  string // SHA-256
	Shown   string // SHA-256
	Issuer  string // of the shown one
	From    time.Time
	Until   time.Time
}

// Error names both fingerprints, and what the difference may mean.
func (e *CertificateError) Error() string {
	return fmt.Sprintf("the certificate of %s is not the pinned one: expected SHA-256 %s, seen %s (issued by %s, valid from %s to %s): "+
		"either it was renewed, or somebody between answers in its place: compare the seen one on the server's own console, and pin it only if it is the same",
		e.Server, e.Pinned, e.Shown, e.Issuer, e.From.UTC().Format(time.DateOnly), e.Until.UTC().Format(time.DateOnly))
}

// Remedy is what a person does about it, who has compared the certificate.
func (e *CertificateError) Remedy() string { return pinBy(e.VCenter, e.Shown) }

// pinBy is the command that trusts a certificate.
func pinBy(vcenter, fingerprint string) string {
	return fmt.Sprintf("pf9-gateway pair %s --thumbprint %s", paired(vcenter), fingerprint)
}

// paired is the name that a vCenter was paired under: a Session's may have a part
// after it, such as "/control".
func paired(name string) string {
	name, _, _ = strings.Cut(name, "/")
	return name
}

// Fingerprint is a certificate's SHA-256 as pins are written and shown.
func Fingerprint(c *x509.Certificate) string { return pki.FingerprintOf(c).String() }

// NewTransport returns a transport that accepts a certificate only if its
// SHA-256 is pin and ca, in PEM, vouches for it; each may be empty, and if both
// are, the system's authorities count. The broker uses it for ESXi hosts.
func NewTransport(server, pin string, ca []byte) (*http.Transport, error) {
	return newTransport("", server, pin, ca, &lastSeen{})
}

func newTransport(name, server, pin string, ca []byte, seen *lastSeen) (*http.Transport, error) {
	want, err := pki.ParseFingerprint(pin)
	if err != nil {
		return nil, fmt.Errorf("the pin: %w", err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: server}
	if len(ca) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("the CA holds no certificate in PEM")
		}
	}
	conf.InsecureSkipVerify = want != none && len(ca) == 0 // the pin alone is checked below
	conf.VerifyConnection = func(st tls.ConnectionState) error {
		if len(st.PeerCertificates) == 0 {
			return errors.New("the server shows no certificate")
		}
		return checkPin(name, server, want, st.PeerCertificates[0], seen)
	}
	dialer := &net.Dialer{
		Timeout:         dialLimit,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4},
	}
	return &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: conf, TLSHandshakeTimeout: handshakeLimit,
		MaxIdleConnsPerHost: 4, MaxConnsPerHost: 48, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

// none is the pin of whom the authorities alone vouch for.
var none pki.Fingerprint

func checkPin(name, server string, want pki.Fingerprint, leaf *x509.Certificate, seen *lastSeen) error {
	seen.set(leaf)
	shown := pki.FingerprintOf(leaf)
	if want == none || want == shown {
		return nil
	}
	return &CertificateError{
		VCenter: name, Server: server, Pinned: want.String(), Shown: shown.String(),
		Issuer: leaf.Issuer.String(), From: leaf.NotBefore, Until: leaf.NotAfter,
	}
}

// lastSeen remembers the certificate that was shown last.
type lastSeen struct {
	mu   sync.Mutex // guards leaf
	leaf *x509.Certificate
}

func (l *lastSeen) set(leaf *x509.Certificate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaf = leaf
}

func (l *lastSeen) get() (fingerprint string, expires time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaf == nil {
		return "", time.Time{}
	}
	return Fingerprint(l.leaf), l.leaf.NotAfter
}

// Probe returns the certificates that a server shows, its own first, without
// trusting or telling it anything. It is for whoever is to compare and pin one.
func Probe(ctx context.Context, address string) ([]*x509.Certificate, error) {
	return ProbeAllowed(ctx, address, nil)
}

// ProbeAllowed is Probe where may, unless nil, says why an address, once its name was
// looked up, must not be dialled.
func ProbeAllowed(ctx context.Context, address string, may func(netip.Addr) error) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, "443")
	}
	dialer := &net.Dialer{}
	if may != nil {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			return may(at.Addr())
		}
	}
	d := tls.Dialer{NetDialer: dialer, Config: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("look at the certificate of %s: %w", address, err)
	}
	defer func() { _ = c.Close() }()
	return c.(*tls.Conn).ConnectionState().PeerCertificates, nil
}
