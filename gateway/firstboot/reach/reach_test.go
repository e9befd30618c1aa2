package reach

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/openpf9/openpf9/internal/pki"
)

// unit is a deployment unit whose clock is ahead of ours by so much. Its
// certificates are good by its own clock.
func unit(t *testing.T, ahead time.Duration) (du *httptest.Server, authority *pki.Authority) {
	t.Helper()
	now := time.Now().Add(ahead)
	authority, err := pki.NewAuthority("du.example", now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.IssueServer([]string{"127.0.0.1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	du = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		if r.URL.Path != "/healthz" || r.Method != http.MethodHead {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		w.WriteHeader(http.StatusServiceUnavailable) // an answer all the same
	}))
	du.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS13}
	du.Config.ErrorLog = nil
	du.StartTLS()
	t.Cleanup(du.Close)
	return du, authority
}

func TestAskMeasuresTheClock(t *testing.T) {
	tests := []struct {
		ahead time.Duration
		want  string // of the error; empty: none
	}{
		{0, ""},
		{4*time.Minute + 50*time.Second, ""},
		{-4*time.Minute - 50*time.Second, ""},
		{5*time.Minute + 10*time.Second, "behind the deployment unit's"},
		{-5*time.Minute - 10*time.Second, "ahead of the deployment unit's"},
		{20 * 365 * 24 * time.Hour, "behind"}, // the certificate is not valid yet by our clock
		{-20 * 365 * 24 * time.Hour, "ahead"},
	}
	for _, test := range tests {
		t.Run(test.ahead.String(), func(t *testing.T) {
			du, authority := unit(t, test.ahead)
			a, err := Unit{URL: du.URL, Pin: pki.Pin(authority.Cert)}.Ask(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if off := (a.Skew + test.ahead).Abs(); off > 2*time.Second+a.Took {
				t.Errorf("skew = %s, want %s", a.Skew, -test.ahead)
			}
			err = a.CheckSkew()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "gw.ntp")) {
				t.Errorf("CheckSkew = %v, want %q and a remedy", err, test.want)
			}
		})
	}
}

func TestAskBelievesNobodyElse(t *testing.T) {
	du, authority := unit(t, 0)
	_, other := unit(t, 0)
	if _, err := (Unit{URL: du.URL, Pin: pki.Pin(other.Cert)}).Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "its authority is another") {
		t.Errorf("another authority: %v", err)
	}
	if _, err := (Unit{URL: du.URL}).Ask(t.Context()); err != nil {
		t.Errorf("without a pin: %v", err)
	}
	named := Unit{URL: strings.Replace(du.URL, "127.0.0.1", "localhost", 1), Pin: pki.Pin(authority.Cert)}
	if _, err := named.Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "localhost") {
		t.Errorf("another name: %v", err)
	}
}

func TestAnswerWithoutDate(t *testing.T) {
	if err := (Answer{Status: 200}).CheckSkew(); err == nil {
		t.Error("no date passed for a good clock")
	}
}

// proxy is an HTTP proxy that wants a password.
func proxy(t *testing.T) *url.URL {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic dTpwQHNz" { // u:p@ss
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		far, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = far.Close() }()
		near, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = near.Close() }()
		_, _ = io.WriteString(near, "HTTP/1.1 200 Connected\r\n\r\n")
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(far, rw)
			_ = far.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(near, far)
		_ = near.Close()
		<-done
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("u", "p@ss")
	return u
}

func TestProxy(t *testing.T) {
	du, authority := unit(t, 0)
	p := proxy(t)
	if _, err := (Unit{URL: du.URL, Pin: pki.Pin(authority.Cert), Proxy: p}).Ask(t.Context()); err != nil {
		t.Errorf("through the proxy: %v", err)
	}
	target := strings.TrimPrefix(du.URL, "https://")
	if _, err := Tunnel(t.Context(), p, target); err != nil {
		t.Errorf("tunnel: %v", err)
	}
	wrong := *p
	wrong.User = url.UserPassword("u", "hush")
	_, err := Tunnel(t.Context(), &wrong, target)
	if err == nil || !strings.Contains(err.Error(), "407") {
		t.Errorf("wrong password: %v", err)
	}
	_, err2 := Unit{URL: du.URL, Proxy: &wrong}.Ask(t.Context())
	if err2 == nil || strings.Contains(fmt.Sprint(err, err2), "hush") {
		t.Errorf("errors: %v, %v", err, err2)
	}
}

func TestPinOf(t *testing.T) {
	_, authority := unit(t, 0)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if got := PinOf(file, "typed"); got != "typed" {
		t.Errorf("without a file: %q", got)
	}
	if err := os.WriteFile(file, pki.EncodeCertificates(authority.Cert), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := PinOf(file, "typed"); got != pki.Pin(authority.Cert) {
		t.Errorf("with the authority's: %q", got)
	}
}

// server answers packets with answer until the test ends.
func server(t *testing.T, answer func([]byte) []byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if out := answer(b[:n]); out != nil {
				_, _ = conn.WriteToUDPAddrPort(out, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// timeServer answers as one whose clock is behind ours.
func timeServer(behind time.Duration, change func([]byte)) func([]byte) []byte {
	return func(q []byte) []byte {
		out := make([]byte, ntpBytes)
		out[0], out[1] = 4<<3|4, 2
		copy(out[24:32], q[40:48])
		now := stamp(time.Now().Add(-behind))
		binary.BigEndian.PutUint64(out[32:], now)
		binary.BigEndian.PutUint64(out[40:], now)
		if change != nil {
			change(out)
		}
		return out
	}
}

func TestNTP(t *testing.T) {
	for _, behind := range []time.Duration{0, 90 * time.Second, -24 * time.Hour, 30 * 365 * 24 * time.Hour} {
		got, err := NTP(t.Context(), server(t, timeServer(behind, nil)).String())
		if err != nil {
			t.Fatal(err)
		}
		if off := (got.Offset - behind).Abs(); off > time.Second || got.Stratum != 2 {
			t.Errorf("behind %s: %+v", behind, got)
		}
	}
}

func TestNTPRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func([]byte)
		want   string
	}{
		{"not a server", func(b []byte) { b[0] = 4<<3 | 3 }, "not a time server"},
		{"another question", func(b []byte) { b[30] ^= 1 }, "another question"},
		{"kiss of death", func(b []byte) { b[1] = 0; copy(b[12:], "RATE") }, "RATE"},
		{"no time yet", func(b []byte) { b[0] |= 3 << 6 }, "does not know"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := NTP(t.Context(), server(t, timeServer(0, test.change)).String())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := NTP(ctx, server(t, func([]byte) []byte { return nil }).String()); err == nil {
		t.Error("silence passed for an answer")
	}
}

func FuzzNTP(f *testing.F) {
	sent := time.Unix(1e9, 5e8)
	q := make([]byte, ntpBytes)
	binary.BigEndian.PutUint64(q[40:], stamp(sent))
	f.Add(timeServer(time.Hour, nil)(q), int64(5))
	f.Fuzz(func(t *testing.T, b []byte, took int64) {
		got, err := parseNTP(b, sent, sent.Add(time.Duration(took%1e10)))
		if err == nil && (got.Stratum < 1 || got.Stratum > 15) {
			t.Errorf("%+v", got)
		}
	})
}

// nameServer knows one name.
func nameServer(q []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(q) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	question := m.Questions[0]
	switch {
	case question.Name.String() != "du.example.":
		m.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}},
		}}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func TestLookupAsksThatServer(t *testing.T) {
	at := server(t, nameServer)
	got, err := Lookup(t.Context(), at, "du.example")
	if err != nil || len(got) != 1 || got[0].Unmap() != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Lookup(t.Context(), at, "other.example"); err == nil || reason(err) != "it answers that there is no such name" {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestDiagnose(t *testing.T) {
	du, authority := unit(t, 0)
	p := proxy(t)
	vcenter, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vcenter.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	checks := Diagnose(t.Context(), Targets{Unit: Unit{URL: du.URL, Pin: pki.Pin(authority.Cert), Proxy: p}, VCenters: []string{vcenter.Addr().String()}})
	if len(checks) != 3 {
		t.Fatalf("checks = %+v, want three", checks)
	}
	for _, c := range checks {
		if !c.OK || c.Result == "" || strings.Contains(c.Name, "p@ss") {
			t.Errorf("%+v", c)
		}
	}
	checks = Diagnose(t.Context(), Targets{VCenters: []string{closed.Addr().String()}})
	if len(checks) != 1 || checks[0].OK || !strings.Contains(checks[0].Result, "refused") {
		t.Errorf("checks = %+v", checks)
	}
	if got := Diagnose(t.Context(), Targets{}); len(got) != 0 {
		t.Errorf("nothing set: %+v", got)
	}
}

func TestAnUnreachableUnitIsSaidInWords(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	_, err = Unit{URL: "https://" + closed.Addr().String()}.Ask(t.Context())
	if want := "the deployment unit " + closed.Addr().String() + " cannot be reached (connection refused)"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
