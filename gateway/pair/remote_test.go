package pair_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/internal/pairingcode"
	"github.com/openpf9/openpf9/internal/wire"
)

// ask is what the deployment unit does: it sends and reads, and understands nothing.
func (s *site) ask(t *testing.T, method, path string, in, out any) (status int, message string) {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, bytes.NewReader(b)))
	var problem struct{ Message string }
	if w.Code/100 == 2 {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			t.Fatal(err)
		}
	} else if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil {
		t.Fatal(err)
	}
	return w.Code, problem.Message
}

// seal is what somebody with the code does at the other end.
func (s *site) seal(t *testing.T, code string, message any) wire.SealedPairing {
	t.Helper()
	c, err := pairingcode.Parse(code)
	if err != nil {
		t.Fatal(err)
	}
	var key wire.PairingKey
	if status, message := s.ask(t, "GET", "/v1/key", nil, &key); status != http.StatusOK {
		t.Fatalf("key: status %d, %s", status, message)
	}
	b, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := c.Seal(key.PublicKey, b)
	if err != nil {
		t.Fatal(err)
	}
	return wire.SealedPairing{Sealed: sealed}
}

// looking is what somebody with the code asks for a certificate with.
func (s *site) looking(t *testing.T, code, address string) wire.PairingLook {
	t.Helper()
	return wire.PairingLook{Address: address, Sealed: s.seal(t, code, wire.PairingAddress{Look: address}).Sealed}
}

func (s *site) offer(t *testing.T) string {
	t.Helper()
	c, err := s.Offer()
	if err != nil {
		t.Fatal(err)
	}
	return c.Code
}

func TestPairingByWayOfTheDeploymentUnit(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	code := s.offer(t)
	var cert wire.PairingCertificate
	if status, message := s.ask(t, "POST", "/v1/look", s.looking(t, code, v.host), &cert); status != http.StatusOK || cert != must(s.Look(t.Context(), v.host)) {
		t.Fatalf("look: status %d, %s, %+v", status, message, cert)
	}
	typo := s.request(t, v, "east")
	typo.Password = "typo"
	var res wire.PairingResult
	if status, message := s.ask(t, "POST", "/v1/pair", s.seal(t, code, typo), &res); status != http.StatusForbidden || !strings.Contains(message, "refuses the account") {
		t.Errorf("a wrong password: status %d, %s", status, message)
	}
	sealed := s.seal(t, code, s.request(t, v, "east"))
	if status, message := s.ask(t, "POST", "/v1/pair", sealed, &res); status != http.StatusOK || res.As != "east" || res.Instance != "uuid-1" {
		t.Fatalf("pair: status %d, %s, %+v", status, message, res)
	}
	if got, err := s.vault.Get("east"); err != nil || got.Password != "secret-1" {
		t.Errorf("the vault has %v, %v", got, err)
	}
	before := len(v.took())
	if status, message := s.ask(t, "POST", "/v1/pair", sealed, &res); status != http.StatusForbidden || !strings.Contains(message, "takes no pairing now") {
		t.Errorf("the same again: status %d, %s", status, message)
	}
	if got := v.took(); before != 2 || len(got) > 0 {
		t.Errorf("logins %d, then %q, want 2 and none", before, got)
	}
}

func TestPairingAgainByWayOfTheDeploymentUnit(t *testing.T) {
	_, s, want := full(t)
	broker := "127.0.0.1:9443"
	var res wire.PairingResult
	if status, message := s.ask(t, "POST", "/v1/pair", s.seal(t, s.offer(t), wire.PairingRequest{Name: "east", Broker: &broker}), &res); status != http.StatusOK {
		t.Fatalf("pair: status %d, %s", status, message)
	}
	want.Broker, want.User, want.ControlUser = broker, "", "" // the users are not the deployment unit's to know
	if d := cmp.Diff(want, res.Now); d != "" || !cmp.Equal(res.Changed, []wire.PairingChange{{What: "broker", From: "127.0.0.1:8443", To: broker}}) {
		t.Errorf("%+v: %s", res, d)
	}
}

func must[T any](v T, _ error) T { return v }

func TestNothingGoesWithoutAPairingCode(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	for path, in := range map[string]any{"/v1/look": wire.PairingLook{Address: v.host}, "/v1/pair": wire.SealedPairing{Sealed: []byte("x")}} {
		if status, message := s.ask(t, "POST", path, in, nil); status != http.StatusForbidden || !strings.Contains(message, "pf9-gateway pairing-code") {
			t.Errorf("%s: status %d, %s", path, status, message)
		}
	}
	if status, _ := s.ask(t, "GET", "/v1/key", nil, nil); status != http.StatusForbidden {
		t.Errorf("key: status %d", status)
	}
}

func TestAMessageIsTakenOnce(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	r := s.request(t, v, "east")
	r.Clusters = []string{"gone"} // so that the pairing fails and the code stays good
	sealed := s.seal(t, s.offer(t), r)
	if status, message := s.ask(t, "POST", "/v1/pair", sealed, nil); status/100 == 2 || !strings.Contains(message, "no cluster") {
		t.Errorf("first: status %d, %s", status, message)
	}
	if status, message := s.ask(t, "POST", "/v1/pair", sealed, nil); status != http.StatusConflict || !strings.Contains(message, "came before") {
		t.Errorf("second: status %d, %s", status, message)
	}
	if got := v.took(); len(got) != 1 {
		t.Errorf("logins %q, want one", got)
	}
}

func TestGuessingEndsTheCode(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	right := s.offer(t)
	head, last := right[:len(right)-1], right[len(right)-1:]
	for _, guess := range strings.Split(strings.ReplaceAll("ABCDEF", last, ""), "")[:5] {
		if status, message := s.ask(t, "POST", "/v1/pair", s.seal(t, head+guess, s.request(t, v, "east")), nil); status != http.StatusForbidden || !strings.Contains(message, "not sealed with") {
			t.Errorf("guess %s: status %d, %s", guess, status, message)
		}
	}
	if status, message := s.ask(t, "POST", "/v1/pair", s.seal(t, right, s.request(t, v, "east")), nil); status != http.StatusForbidden || !strings.Contains(message, "takes no pairing now") {
		t.Errorf("the right code after 5 wrong ones: status %d, %s", status, message)
	}
	if got := v.took(); len(got) > 0 {
		t.Errorf("guesses logged in: %q", got)
	}
}

func TestANewCodeEndsTheOldOne(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	old := s.seal(t, s.offer(t), s.request(t, v, "east"))
	s.offer(t)
	if status, message := s.ask(t, "POST", "/v1/pair", old, nil); status != http.StatusForbidden || !strings.Contains(message, "not sealed with") {
		t.Errorf("the old code: status %d, %s", status, message)
	}
}

func TestACodeIsGoodForAQuarterOfAnHour(t *testing.T) {
	s := gateway(t, nil)
	synctest.Test(t, func(t *testing.T) {
		d := pair.New(s.options)
		if _, err := d.Offer(); err != nil {
			t.Fatal(err)
		}
		at := func(want int) {
			t.Helper()
			w := httptest.NewRecorder()
			d.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/key", nil))
			if w.Code != want {
				t.Errorf("status %d, want %d", w.Code, want)
			}
		}
		time.Sleep(14 * time.Minute) // of the bubble's clock
		at(http.StatusOK)
		time.Sleep(time.Minute + time.Second)
		at(http.StatusForbidden)
	})
}

func TestAddressesLookedAtAreCounted(t *testing.T) {
	s := gateway(t, nil)
	code := s.offer(t)
	for range 20 {
		if status, message := s.ask(t, "POST", "/v1/look", s.looking(t, code, "127.0.0.1:1"), nil); status != http.StatusBadGateway {
			t.Fatalf("status %d, %s", status, message)
		}
	}
	if status, message := s.ask(t, "POST", "/v1/look", s.looking(t, code, "127.0.0.1:1"), nil); status != http.StatusForbidden || !strings.Contains(message, "20 addresses") {
		t.Errorf("status %d, %s", status, message)
	}
}

// A deployment unit that looks around has no code, and what it saw is of no use.
func TestNobodyLooksWithoutTheCode(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	code := s.offer(t)
	right := s.looking(t, code, v.host)
	another := right
	another.Address = "127.0.0.1:1"
	wrong := code[:len(code)-1] + "A"
	if wrong == code {
		wrong = code[:len(code)-1] + "B"
	}
	for _, test := range []struct {
		look   wire.PairingLook
		status int
		want   string
	}{
		{wire.PairingLook{Address: v.host}, http.StatusForbidden, "not sealed with the pairing code"},
		{wire.PairingLook{Address: v.host, Sealed: []byte("x")}, http.StatusForbidden, "not sealed with"},
		{s.looking(t, wrong, v.host), http.StatusForbidden, "not sealed with"},
		{wire.PairingLook{Address: v.host, Sealed: s.seal(t, code, s.request(t, v, "east")).Sealed}, http.StatusBadRequest, "not the JSON"},
		{another, http.StatusBadRequest, "is not the one that is sealed"},
		{right, http.StatusConflict, "came before"},
	} {
		if status, message := s.ask(t, "POST", "/v1/look", test.look, nil); status != test.status || !strings.Contains(message, test.want) {
			t.Errorf("status %d, %s; want %d, %q", status, message, test.status, test.want)
		}
	}
	if status, message := s.ask(t, "POST", "/v1/pair", wire.SealedPairing{Sealed: s.looking(t, code, v.host).Sealed}, nil); status != http.StatusBadRequest {
		t.Errorf("a look for a pairing: status %d, %s", status, message)
	}
	// Three were no looks and one no pairing: whoever guesses has one left of five.
	if status, message := s.ask(t, "POST", "/v1/look", s.looking(t, wrong, v.host), nil); status != http.StatusForbidden {
		t.Errorf("status %d, %s", status, message)
	}
	if status, message := s.ask(t, "POST", "/v1/look", s.looking(t, code, v.host), nil); status != http.StatusForbidden || !strings.Contains(message, "takes no pairing now") {
		t.Errorf("the right code after 5 wrong ones: status %d, %s", status, message)
	}
	if got := v.took(); len(got) > 0 {
		t.Errorf("somebody logged in: %q", got)
	}
}

func TestTheGatewaysOwnAddressesAreNotLookedAt(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, func(o *pair.Options) { o.Distant = nil })
	code := s.offer(t)
	_, port, err := net.SplitHostPort(v.host)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "[fe80::1]", "224.0.0.1"} {
		if status, message := s.ask(t, "POST", "/v1/look", s.looking(t, code, host+":"+port), nil); status != http.StatusBadGateway || !strings.Contains(message, "this machine's own") {
			t.Errorf("%s: status %d, %s", host, status, message)
		}
	}
}
