// Package pairing hands pairings with vCenters on to gateways. It reads nothing of
// them: the account is sealed to the gateway by who asks, and the gateway takes
// it only from who has a code that was made on it. It keeps nothing; the audit
// says who asked for which gateway, where the vCenter is, and how it ended.
package pairing

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/netcause"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	callLimit = 50 * time.Second // the gateway ends a pairing earlier by itself
	maxAnswer = 1 << 20
)

// Gateways reaches gateways. Dial must be given.
type Gateways struct {
	// Dial reaches a service of a connected host.
	Dial func(ctx context.Context, host wire.HostID, service string) (net.Conn, error)
	// Hostname is what people call a host; empty, or nil: nobody knows.
	Hostname func(wire.HostID) string
}

// Routes are the package's part of the API.
func (g Gateways) Routes() []httpapi.Route {
	return []httpapi.Route{
		{
			Pattern: "GET /api/v1/hosts/{host}/pairing", Access: httpapi.Operator, Summary: "The key to seal an account for a vCenter to, while the gateway takes one.",
			Response: wire.PairingKey{}, Do: func(w http.ResponseWriter, r *http.Request) error {
				var key wire.PairingKey
				return g.pass(w, r, http.MethodGet, "/v1/key", nil, &key)
			},
		},
		{
			Pattern: "POST /api/v1/hosts/{host}/pairing/look", Access: httpapi.Operator, Summary: "The certificate of who answers at an address beside the gateway.",
			Request: wire.PairingLook{}, Response: wire.PairingCertificate{}, Audit: "pairing.look", Do: func(w http.ResponseWriter, r *http.Request) error {
				var in wire.PairingLook
				if err := httpapi.ReadJSON(r, &in); err != nil {
					return err
				}
				httpapi.SetObject(r.Context(), fmt.Sprintf("%.255s beside %s", in.Address, g.gateway(r)))
				var cert wire.PairingCertificate
				return g.pass(w, r, http.MethodPost, "/v1/look", in, &cert)
			},
		},
		{
			Pattern: "POST /api/v1/hosts/{host}/pairing", Access: httpapi.Operator, Summary: "Pair the gateway with a vCenter; the request is sealed to the gateway.",
			Request: wire.SealedPairing{}, Response: wire.PairingResult{}, Audit: "pairing.pair", Do: func(w http.ResponseWriter, r *http.Request) error {
				var in wire.SealedPairing
				if err := httpapi.ReadJSON(r, &in); err != nil {
					return err
				}
				httpapi.SetObject(r.Context(), "a vCenter beside "+g.gateway(r)) // the gateway's refusal names it
				var res wire.PairingResult
				err := g.pass(w, r, http.MethodPost, "/v1/pair", in, &res)
				if res.As != "" { // it was made, whatever became of our answer
					httpapi.SetObject(r.Context(), made(&res)+" beside "+g.gateway(r))
				}
				return err
			},
		},
	}
}

// made is what the audit has of a pairing.
func made(res *wire.PairingResult) string {
	control := "off"
	if res.Now.Control {
		control = "on"
	}
	address := cmp.Or(res.Now.Address, "an address that this older gateway does not say")
	return fmt.Sprintf("vCenter %.64s at %.255s (%.128s, instance %.64s, control %s)", res.As, address, res.Name, res.Instance, control)
}

// gateway names the gateway of the path.
func (g Gateways) gateway(r *http.Request) string {
	id := r.PathValue("host")
	if g.Hostname != nil {
		if name := g.Hostname(wire.HostID(id)); name != "" {
			return fmt.Sprintf("gateway %s (%s)", name, id)
		}
	}
	return "gateway " + id
}

// pass asks the gateway of the path and answers with what it says, no more than
// out has.
func (g Gateways) pass(w http.ResponseWriter, r *http.Request, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(r.Context(), callLimit)
	defer cancel()
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+wire.ServicePairing+path, body)
	if err != nil {
		return err
	}
	host := wire.HostID(r.PathValue("host"))
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return g.Dial(ctx, host, wire.ServicePairing)
	}}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return unreached(host, err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil && res.StatusCode/100 != 2 {
		return refusal(res.StatusCode, answer)
	}
	if err == nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		return &httpapi.Error{Status: http.StatusBadGateway, Message: "the gateway's answer cannot be read", Err: err}
	}
	return httpapi.WriteJSON(w, http.StatusOK, out)
}

// unreached says that a gateway does not answer.
func unreached(host wire.HostID, err error) error {
	words := netcause.Words(err)
	if errors.Is(err, fs.ErrNotExist) {
		words = "it is not connected"
	}
	return &httpapi.Error{
		Status: http.StatusServiceUnavailable, Err: err,
		Message: fmt.Sprintf("host %s cannot be asked to pair (%s): is it a gateway, connected and not too old? pf9ctl host show says how it is", host, words),
	}
}

// refusal passes on what the gateway says, as the caller's mistake where it is one.
func refusal(status int, answer []byte) error {
	var problem struct{ Message string }
	if json.Unmarshal(answer, &problem) != nil || problem.Message == "" {
		problem.Message = fmt.Sprintf("it answers with status %d", status)
	}
	if status < 400 || status >= 500 || status == http.StatusUnauthorized {
		status = http.StatusBadGateway
	}
	if !strings.HasPrefix(problem.Message, "the gateway ") { // it may speak of itself
		problem.Message = "the gateway: " + problem.Message
	}
	return httpapi.Errorf(status, "%s", problem.Message)
}
