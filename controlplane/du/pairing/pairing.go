// Package pairing hands pairings with vCenters on to gateways. It reads nothing of
// them: the account is sealed to the gateway by who asks, and the gateway takes
// it only from who has a code that was made on it. It keeps nothing; the audit
// says who asked for which gateway, and how it ended.
package pairing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/openpf9/openpf9/internal/httpapi"
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
				var res wire.PairingResult
				return g.pass(w, r, http.MethodPost, "/v1/pair", in, &res)
			},
		},
	}
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
	answer := json.NewDecoder(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 != 2 {
		return refusal(res.StatusCode, answer)
	}
	if err := answer.Decode(out); err != nil {
		return &httpapi.Error{Status: http.StatusBadGateway, Message: "the gateway's answer cannot be read", Err: err}
	}
	return httpapi.WriteJSON(w, http.StatusOK, out)
}

// unreached says that a gateway does not answer.
func unreached(host wire.HostID, err error) error {
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	return &httpapi.Error{
		Status: http.StatusServiceUnavailable, Err: err,
		Message: fmt.Sprintf("host %s cannot be asked to pair: it is not connected, no gateway, or an older one (%v)", host, err),
	}
}

// refusal passes on what the gateway says, as the caller's mistake where it is one.
func refusal(status int, answer *json.Decoder) error {
	var problem struct{ Message string }
	if answer.Decode(&problem) != nil || problem.Message == "" {
		problem.Message = fmt.Sprintf("it answers with status %d", status)
	}
	if status < 400 || status >= 500 || status == http.StatusUnauthorized {
		status = http.StatusBadGateway
	}
	return httpapi.Errorf(status, "the gateway: %s", problem.Message)
}
