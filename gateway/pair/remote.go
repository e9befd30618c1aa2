package pair

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pairingcode"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	offerFor    = 15 * time.Minute // a pairing code is good
	maxTries    = 5                // pairings with one code, also those that nobody with the code asked for
	maxLooks    = 20               // addresses that are looked at with one code
	remoteLimit = 45 * time.Second // of a pairing: the deployment unit waits for a minute
	maxMessage  = 64 << 10

	remoteCaller = "pairing code" // who pairs by way of the deployment unit, in the journal
)

// remote is what the deployment unit may ask for, while there is an offer. A
// deployment unit that asks by itself has no code, and gets nowhere: it would else
// make the gateway look around in the customer's network, and log in with a kept
// account to a vCenter of its own.
type remote struct {
	mu    sync.Mutex         // guards the fields below
	offer *pairingcode.Offer // nil: none was made, or it was used up
	until time.Time
	tries int // that are left
	looks int
	seen  map[[sha256.Size]byte]bool // messages that came, for each counts once; at most maxTries and maxLooks
}

// errNoOffer is what the deployment unit reads while nobody allows it to pair.
var errNoOffer = httpapi.Errorf(http.StatusForbidden, "the gateway takes no pairing now: make a pairing code on it, by pf9-gateway pairing-code, which is good once and for %d minutes", offerFor/time.Minute)

// Offer makes a pairing code, with which somebody at the deployment unit may pair
// once. It takes the place of an earlier one, and is gone when the daemon ends.
func (d *Daemon) Offer() (wire.PairingCode, error) {
	o, err := pairingcode.NewOffer()
	if err != nil {
		return wire.PairingCode{}, err
	}
	r := &d.remote
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offer, r.until, r.tries, r.looks = o, time.Now().Add(offerFor).UTC().Truncate(time.Second), maxTries, maxLooks
	r.seen = make(map[[sha256.Size]byte]bool)
	d.log.Info("pairing by way of the deployment unit is allowed", "until", r.until)
	return wire.PairingCode{Code: o.Code().String(), Until: r.until}, nil
}

// current returns the offer and lets f, if not nil, take of what is left of it.
func (r *remote) current(f func() error) (*pairingcode.Offer, time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.offer == nil || time.Now().After(r.until) {
		r.offer = nil
		return nil, time.Time{}, errNoOffer
	}
	if f != nil {
		if err := f(); err != nil {
			return nil, time.Time{}, err
		}
	}
	return r.offer, r.until, nil
}

// end takes an offer back that was used.
func (r *remote) end(o *pairingcode.Offer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.offer == o {
		r.offer = nil
	}
}

// open reads a sealed message into out. Each counts once: one that asks for a look
// as such, and all others, whatever they ask for, as an attempt to pair.
func (r *remote) open(sealed []byte, look bool, out any) (*pairingcode.Offer, error) {
	o, _, err := r.current(func() error {
		digest := sha256.Sum256(sealed)
		switch {
		case r.seen[digest]:
			return httpapi.Errorf(http.StatusConflict, "this very message came before, and is not taken twice")
		case r.tries == 0:
			r.offer = nil
			return errNoOffer
		case look && r.looks == 0:
			return httpapi.Errorf(http.StatusForbidden, "%d addresses were looked at with this pairing code: make another one", maxLooks)
		}
		r.tries--
		r.seen[digest] = true
		plain, err := r.offer.Open(sealed)
		if err != nil {
			return httpapi.Errorf(http.StatusForbidden, "%v; type the one that it showed last", err)
		}
		in := json.NewDecoder(bytes.NewReader(plain))
		in.DisallowUnknownFields()
		if err := in.Decode(out); err != nil {
			return httpapi.Errorf(http.StatusBadRequest, "the sealed request is not the JSON that is wanted")
		}
		if look {
			r.tries, r.looks = r.tries+1, r.looks-1
		}
		return nil
	})
	return o, err
}

// Handler answers the deployment unit on the service [wire.ServicePairing].
func (d *Daemon) Handler() http.Handler {
	log := slog.New(slog.DiscardHandler) // a refusal is the sender's to read, and what is done is logged
	return httpapi.New([]httpapi.Route{
		{Pattern: "GET /v1/key", Summary: "The key to seal a pairing to.", Response: wire.PairingKey{}, Do: d.serveKey},
		{Pattern: "POST /v1/look", Summary: "The certificate of who answers at an address.", Request: wire.PairingLook{}, Response: wire.PairingCertificate{}, Do: d.serveRemoteLook},
		{Pattern: "POST /v1/pair", Summary: "Pair a vCenter.", Request: wire.SealedPairing{}, Response: wire.PairingResult{}, Do: d.serveRemotePair},
	}, httpapi.Options{Title: "openpf9 gateway pairing", Log: log})
}

func (d *Daemon) serveOffer(w http.ResponseWriter, _ *http.Request) error {
	c, err := d.Offer()
	if err != nil {
		return told(err)
	}
	return httpapi.WriteJSON(w, http.StatusCreated, c)
}

func (d *Daemon) serveKey(w http.ResponseWriter, _ *http.Request) error {
	o, until, err := d.remote.current(nil)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, wire.PairingKey{PublicKey: o.PublicKey(), Until: until})
}

func (d *Daemon) serveRemoteLook(w http.ResponseWriter, r *http.Request) error {
	var req wire.PairingLook
	if err := readMessage(r, &req); err != nil {
		return err
	}
	if len(req.Sealed) == 0 {
		if _, _, err := d.remote.current(nil); err != nil {
			return err
		}
		return httpapi.Errorf(http.StatusForbidden, "the address is not sealed with the pairing code, as an older pf9ctl leaves it: update pf9ctl, or give it the vCenter's --thumbprint")
	}
	var in wire.PairingAddress
	if _, err := d.remote.open(req.Sealed, true, &in); err != nil {
		d.log.Warn("a look by way of the deployment unit was refused", "err", err)
		return err
	}
	if in.Look != req.Address { // the deployment unit's audit has it
		return httpapi.Errorf(http.StatusBadRequest, "the address %.80q is not the one that is sealed", req.Address)
	}
	d.log.Info("a certificate is looked at for the deployment unit", "address", shown(in.Look))
	c, err := d.look(r.Context(), in.Look, d.o.Distant)
	if err != nil {
		return told(err)
	}
	return httpapi.WriteJSON(w, http.StatusOK, c)
}

func (d *Daemon) serveRemotePair(w http.ResponseWriter, r *http.Request) error {
	var req wire.SealedPairing
	if err := readMessage(r, &req); err != nil {
		return err
	}
	var want wire.PairingRequest
	o, err := d.remote.open(req.Sealed, false, &want)
	if err != nil {
		d.log.Warn("a pairing by way of the deployment unit was refused", "err", err)
		return err
	}
	ctx, cancel := context.WithTimeout(httpapi.WithCaller(r.Context(), httpapi.Caller{Name: remoteCaller}), remoteLimit)
	defer cancel()
	res, err := d.Pair(ctx, want)
	if err != nil {
		return told(err)
	}
	d.remote.end(o)
	res.Now.User, res.Now.ControlUser = "", "" // whoever sealed them knows them
	return httpapi.WriteJSON(w, http.StatusOK, res)
}

// distant refuses the addresses of this machine, and those that its link gives out.
func distant(a netip.Addr) error {
	if a = a.Unmap(); a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.IsMulticast() {
		return fmt.Errorf("%s is this machine's own, or its link's, where nobody else looks: pair on the gateway, by pf9-gateway pair", a)
	}
	return nil
}

// readMessage reads what the deployment unit sends, as tolerant as all messages.
func readMessage(r *http.Request, out any) error {
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxMessage))
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	if err != nil {
		return httpapi.Errorf(http.StatusBadRequest, "the body is not the JSON that is wanted")
	}
	return nil
}
