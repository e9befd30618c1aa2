package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
)

const pairLimit = 58 * time.Second // what a gateway needs to log in and look, and more than the deployment unit waits

// PairingKey fetches the key that a gateway takes an account for a vCenter by.
func (c *Client) PairingKey(ctx context.Context, gateway wire.HostID) (wire.PairingKey, error) {
	var key wire.PairingKey
	err := c.call(ctx, http.MethodGet, pairingPath(gateway), nil, nil, &key)
	return key, err
}

// LookFrom fetches the certificate of who answers a gateway at an address.
func (c *Client) LookFrom(ctx context.Context, gateway wire.HostID, look wire.PairingLook) (wire.PairingCertificate, error) {
	var cert wire.PairingCertificate
	err := c.call(ctx, http.MethodPost, pairingPath(gateway)+"/look", nil, look, &cert)
	return cert, err
}

// Pair sends a sealed request to a gateway.
func (c *Client) Pair(ctx context.Context, gateway wire.HostID, sealed []byte) (wire.PairingResult, error) {
	ctx, cancel := context.WithTimeout(ctx, pairLimit)
	defer cancel()
	var res wire.PairingResult
	resp, err := c.send(ctx, http.MethodPost, pairingPath(gateway), nil, wire.SealedPairing{Sealed: sealed}, nil)
	if err != nil {
		return res, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&res); err != nil {
		return res, fmt.Errorf("read what became of the pairing: %w", err)
	}
	return res, nil
}

func pairingPath(gateway wire.HostID) string { return "/api/v1/hosts/" + string(gateway) + "/pairing" }
