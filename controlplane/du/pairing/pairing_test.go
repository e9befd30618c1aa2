package pairing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/controlplane/du/pairing"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pairingcode"
	"github.com/openpf9/openpf9/internal/wire"
)

const host = wire.HostID("0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a")

// gateway is one that is reached over real connections.
type gateway struct {
	offer  *pairingcode.Offer
	opened []byte // what it could read
	raw    []byte // what went through the deployment unit
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/key":
		_ = httpapi.WriteJSON(w, http.StatusOK, wire.PairingKey{PublicKey: g.offer.PublicKey(), Until: time.Unix(0, 0).UTC()})
	case "POST /v1/look":
		var in wire.PairingLook
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Address != "vc.example" {
			httpapi.WriteError(w, httpapi.Errorf(http.StatusBadGateway, "look at the certificate of %s: refused", in.Address))
			return
		}
		_ = httpapi.WriteJSON(w, http.StatusOK, map[string]any{"thumbprint": "AB:CD", "subject": "CN=vc", "internal": "not for others"})
	case "POST /v1/pair":
		var in wire.SealedPairing
		err := json.NewDecoder(r.Body).Decode(&in)
		g.raw = in.Sealed
		if err == nil {
			g.opened, err = g.offer.Open(in.Sealed)
		}
		if err != nil {
			httpapi.WriteError(w, httpapi.Errorf(http.StatusForbidden, "%v", err))
			return
		}
		_ = httpapi.WriteJSON(w, http.StatusOK, wire.PairingResult{
			As: "east", Name: "VMware vCenter Server 8.0.3", Instance: "4f2b", Missing: []wire.MissingPrivilege{},
			Now: wire.Pairing{Address: "https://vc.example", Control: true},
		})
	default:
		http.NotFound(w, r)
	}
}

func hostname(h wire.HostID) string {
	if h == host {
		return "gw1"
	}
	return ""
}

// unit is the deployment unit's API, as somebody of an access calls it.
type unit struct {
	api   http.Handler
	calls []string // of the audit
}

func newUnit(t *testing.T, g http.Handler, access httpapi.Access) *unit {
	t.Helper()
	far := httptest.NewServer(g)
	t.Cleanup(far.Close)
	u := &unit{}
	gateways := pairing.Gateways{Hostname: hostname, Dial: func(ctx context.Context, h wire.HostID, service string) (net.Conn, error) {
		if h != host || service != wire.ServicePairing {
			return nil, fmt.Errorf("host %s is not connected: %w", h, fs.ErrNotExist)
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", far.Listener.Addr().String())
	}}
	u.api = httpapi.New(gateways.Routes(), httpapi.Options{
		Authenticate: func(*http.Request) (httpapi.Caller, error) {
			return httpapi.Caller{Name: "joe", Access: access}, nil
		},
		Audit: func(_ context.Context, c httpapi.Call) {
			u.calls = append(u.calls, fmt.Sprintf("%s %s %s %d %v", c.Caller.Name, c.Action, c.Object, c.Status, c.Err))
		},
	})
	return u
}

func (u *unit) call(t *testing.T, method, path string, in, out any) (int, string) {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	u.api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, bytes.NewReader(b)))
	var problem struct{ Message string }
	if w.Code/100 != 2 {
		out = &problem
	}
	if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
		t.Fatal(err)
	}
	return w.Code, problem.Message
}

func TestTheAccountGoesThroughUnread(t *testing.T) {
	offer, err := pairingcode.NewOffer()
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{offer: offer}
	u := newUnit(t, g, httpapi.Operator)
	base := "/api/v1/hosts/" + string(host) + "/pairing"
	var key wire.PairingKey
	if status, message := u.call(t, "GET", base, nil, &key); status != http.StatusOK {
		t.Fatalf("key: status %d, %s", status, message)
	}
	var cert map[string]any
	status, message := u.call(t, "POST", base+"/look", wire.PairingLook{Address: "vc.example"}, &cert)
	if want := (map[string]any{"thumbprint": "AB:CD", "subject": "CN=vc", "issuer": "", "not_after": "0001-01-01T00:00:00Z"}); status != http.StatusOK || !cmp.Equal(cert, want) {
		t.Errorf("look: status %d, %s, %v", status, message, cert)
	}
	secret := []byte(`{"password":"correct horse"}`)
	sealed, err := offer.Code().Seal(key.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	var res wire.PairingResult
	if status, message := u.call(t, "POST", base, wire.SealedPairing{Sealed: sealed}, &res); status != http.StatusOK || res.As != "east" {
		t.Errorf("pair: status %d, %s, %+v", status, message, res)
	}
	if !bytes.Equal(g.opened, secret) || bytes.Contains(g.raw, []byte("horse")) {
		t.Errorf("the gateway read %q, and through the deployment unit went %q", g.opened, g.raw)
	}
	beside := " beside gateway gw1 (" + string(host) + ") 200 <nil>"
	want := []string{"joe pairing.look vc.example" + beside, "joe pairing.pair vCenter east at https://vc.example (VMware vCenter Server 8.0.3, instance 4f2b, control on)" + beside}
	if d := cmp.Diff(want, u.calls); d != "" {
		t.Error(d)
	}
}

func TestRefusalsArePassedOn(t *testing.T) {
	offer, err := pairingcode.NewOffer()
	if err != nil {
		t.Fatal(err)
	}
	base := "/api/v1/hosts/" + string(host) + "/pairing"
	for name, test := range map[string]struct {
		access     httpapi.Access
		path       string
		body       any
		status     int
		says       string
		audit      string
		middleware func(http.Handler) http.Handler
	}{
		"not for readers":      {access: httpapi.Reader, path: base, body: wire.SealedPairing{}, status: http.StatusForbidden, says: "needs the level operator"},
		"the gateway's":        {path: base, body: wire.SealedPairing{Sealed: []byte("x")}, status: http.StatusForbidden, says: "the gateway: this was not sealed", audit: "joe pairing.pair a vCenter beside gateway gw1 ("},
		"named once":           {path: base, body: wire.SealedPairing{}, status: http.StatusForbidden, says: "the gateway takes no pairing now", middleware: closed},
		"what it met":          {path: base + "/look", body: wire.PairingLook{Address: "other"}, status: http.StatusBadGateway, says: "certificate of other", audit: "joe pairing.look other beside gateway gw1 ("},
		"another host":         {path: "/api/v1/hosts/x/pairing", body: wire.SealedPairing{}, status: http.StatusServiceUnavailable, says: "host x cannot be asked to pair (it is not connected)"},
		"a key that it lacks":  {path: base, body: map[string]string{"password": "hush"}, status: http.StatusBadRequest, says: "unknown field"},
		"an answer that is no": {path: base + "/look", body: wire.PairingLook{}, status: http.StatusBadGateway, says: "cannot be read", middleware: garbled},
	} {
		t.Run(name, func(t *testing.T) {
			if test.access == httpapi.Open {
				test.access = httpapi.Operator
			}
			var far http.Handler = &gateway{offer: offer}
			if test.middleware != nil {
				far = test.middleware(far)
			}
			u := newUnit(t, far, test.access)
			if status, message := u.call(t, "POST", test.path, test.body, nil); status != test.status || !strings.Contains(message, test.says) || strings.Contains(message, "the gateway: the gateway") {
				t.Errorf("status %d, %q, want %d with %q", status, message, test.status, test.says)
			}
			if len(u.calls) != 1 || strings.Contains(u.calls[0], "hush") || test.audit != "" && !strings.Contains(u.calls[0], test.audit) {
				t.Errorf("the audit has %q", u.calls)
			}
		})
	}
}

func closed(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		httpapi.WriteError(w, httpapi.Errorf(http.StatusForbidden, "the gateway takes no pairing now"))
	})
}

func garbled(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
}

func TestAGatewayThatHangsIsLeft(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	gateways := pairing.Gateways{Dial: func(ctx context.Context, _ wire.HostID, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	api := httpapi.New(gateways.Routes(), httpapi.Options{Authenticate: func(*http.Request) (httpapi.Caller, error) {
		return httpapi.Caller{Access: httpapi.Operator}, nil
	}})
	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/api/v1/hosts/"+string(host)+"/pairing", nil))
	if w.Code != http.StatusServiceUnavailable || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("status %d, %s", w.Code, w.Body)
	}
}
