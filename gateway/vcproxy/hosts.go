package vcproxy

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Host is a hypervisor host that files may be exchanged with.
type Host struct {
	Ref     Ref
	Address string // where it is reached, with its port; never taken from a client
	// Thumbprint is of its certificate, in hexadecimal with or without colons:
	// SHA-256, or SHA-1 where vCenter has no other. Nothing else is trusted.
	Thumbprint string
}

// Hosts is the live inventory's view of hosts.
type Hosts interface {
	// Host finds a connected host by the name or address that vCenter and its
	// clients use for it.
	Host(name string) (Host, bool)
}

// hostClients keeps the connections to hosts.
type hostClients struct {
	mu sync.Mutex // guards by
	by map[Host]*http.Transport
}

// hostClientsMax bounds the hosts with open connections; beyond, all are dropped.
const hostClientsMax = 64

func newHostClients() *hostClients { return &hostClients{by: make(map[Host]*http.Transport)} }

func (h *hostClients) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.by {
		t.CloseIdleConnections()
	}
	clear(h.by)
}

// to returns the way to a host, which is to nobody else.
func (h *hostClients) to(host Host) (http.RoundTripper, error) {
	pin, err := parseThumbprint(host.Thumbprint)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	t := h.by[host]
	h.mu.Unlock()
	if t != nil {
		return t, nil
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	t = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", host.Address)
		},
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: true, // the pin below is checked instead, always
			VerifyConnection:   func(s tls.ConnectionState) error { return checkPin(s, pin) },
		},
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: transferIdle,
		IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2, DisableCompression: true,
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.by) >= hostClientsMax {
		for _, old := range h.by {
			old.CloseIdleConnections()
		}
		clear(h.by)
	}
	h.by[host] = t
	return t, nil
}

func parseThumbprint(text string) ([]byte, error) {
	pin, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(pin) != sha256.Size && len(pin) != sha1.Size {
		return nil, errors.New("the inventory has no thumbprint of this host's certificate")
	}
	return pin, nil
}

func checkPin(s tls.ConnectionState, pin []byte) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the host shows no certificate")
	}
	leaf := s.PeerCertificates[0].Raw
	long, brief := sha256.Sum256(leaf), sha1.Sum(leaf)
	if bytes.Equal(pin, long[:]) || bytes.Equal(pin, brief[:]) {
		return nil
	}
	return fmt.Errorf("the host's certificate is %x, not the one that vCenter knows", long)
}
