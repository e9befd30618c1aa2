package du

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pairingcode"
	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
)

// TestAnAccountGoesThroughTheTunnel pairs by the API with a far side that opens
// what it gets, and looks what the audit has of it.
func TestAnAccountGoesThroughTheTunnel(t *testing.T) {
	u := start(t, t.TempDir())
	a := u.enroll("0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a")
	offer, err := pairingcode.NewOffer()
	if err != nil {
		t.Fatal(err)
	}
	services := tunnel.NewServices()
	l, err := services.Listen(wire.ServicePairing)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	far := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/key" {
			_ = httpapi.WriteJSON(w, http.StatusOK, wire.PairingKey{PublicKey: offer.PublicKey()})
			return
		}
		var in wire.SealedPairing
		_ = json.NewDecoder(r.Body).Decode(&in) // what is wrong does not open
		plain, _ := offer.Open(in.Sealed)
		read <- string(plain)
		_ = httpapi.WriteJSON(w, http.StatusOK, wire.PairingResult{As: "east"})
	})}
	go func() { _ = far.Serve(l) }()
	t.Cleanup(func() { _ = far.Close() })
	if a.s, err = u.dial(&a.cert, services); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.s.Close("test ends") })

	path := "/api/v1/hosts/" + string(a.id) + "/pairing"
	var key wire.PairingKey
	u.eventually("the gateway shows its key", func() bool { return u.call("GET", path, nil, &key) == http.StatusOK })
	sealed, err := offer.Code().Seal(key.PublicKey, []byte("the account"))
	if err != nil {
		t.Fatal(err)
	}
	var res wire.PairingResult
	if status := u.call("POST", path, wire.SealedPairing{Sealed: sealed}, &res); status != http.StatusOK || res.As != "east" {
		t.Errorf("pair: status %d, %+v", status, res)
	}
	if got := <-read; got != "the account" {
		t.Errorf("the gateway reads %q", got)
	}
	u.eventually("the audit has the pairing", func() bool {
		var log api.Audit
		u.call("GET", "/api/v1/audit", nil, &log)
		for _, e := range log.Entries {
			if e.Action == "pairing.pair" && strings.HasPrefix(e.Object, "vCenter east at ") && strings.Contains(e.Object, " beside gateway ") && strings.Contains(e.Object, string(a.id)) {
				return true
			}
		}
		return false
	})
}
