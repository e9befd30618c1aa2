package netcause_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/netcause"
)

// get returns the error of a real call.
func get(t *testing.T, address string, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{}}
	res, err := c.Do(req)
	if err == nil {
		_ = res.Body.Close()
		t.Fatalf("%s answers %s", address, res.Status)
	}
	return fmt.Errorf("log in: %w", err)
}

func dial(t *testing.T) error {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", filepath.Join(t.TempDir(), "none"))
	if err == nil {
		_ = c.Close()
		t.Fatal("somebody listens")
	}
	return err
}

func TestWordsOfRealErrors(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	breaks := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer breaks.Close()
	held := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-held }))
	defer silent.Close()
	defer close(held)
	tests := []struct {
		name  string
		err   error
		words string
	}{
		{"nobody listens", get(t, gone.URL, time.Minute), "connection refused"},
		{"the far side breaks off", get(t, breaks.URL, time.Minute), "the connection broke off"},
		{"the far side is silent", get(t, silent.URL, 50*time.Millisecond), "no answer in time"},
		{"no such name", &url.Error{Op: "Post", URL: "https://x", Err: &net.DNSError{Name: "vc.example", IsNotFound: true}}, "there is no host of the name vc.example"},
		{"no name server", &net.DNSError{Name: "vc.example", Err: "server misbehaving"}, "the name vc.example cannot be looked up (server misbehaving)"},
		{"something else", &url.Error{Op: "Post", URL: "https://x", Err: errors.New("tls: bad record MAC")}, "tls: bad record MAC"},
		{"a dial of a strange kind", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("too odd")}, "too odd"},
		{"no socket", dial(t), "no such file or directory"},
		{"a half answer", fmt.Errorf("read: %w", io.ErrUnexpectedEOF), "the connection broke off"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := netcause.Words(test.err); got != test.words {
				t.Errorf("got %q, want %q", got, test.words)
			}
			if !netcause.Is(test.err) {
				t.Error("it is not taken for an error of a connection")
			}
		})
	}
	if other := errors.New("the VM is off"); netcause.Is(other) || netcause.Words(other) != "the VM is off" {
		t.Errorf("another error: %q", netcause.Words(other))
	}
}

func TestWordsTellTheProxyFromTheOtherEnd(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	proxy, err := url.Parse(gone.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://du.example", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	res, err := c.Do(req)
	if err == nil {
		_ = res.Body.Close()
		t.Fatal("a proxy answers")
	}
	if words := netcause.Words(err); words != "by the proxy: connection refused" {
		t.Errorf("%q", words)
	}
}
