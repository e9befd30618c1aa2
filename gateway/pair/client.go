package pair

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	dialLimit   = 5 * time.Second
	answerLimit = pairLimit + 10*time.Second // the daemon has its own, shorter ones
	maxAnswer   = 1 << 20
)

// Client asks the daemon for pairings over its socket. It implements
// [pairing.Pairer], for the console and the command.
type Client struct{ http *http.Client }

// NewClient returns a client of the daemon that listens on socket.
func NewClient(socket string) *Client {
	return &Client{&http.Client{Timeout: answerLimit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "unix", socket)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
				return nil, fmt.Errorf("the gateway's daemon does not listen on %s: systemctl start pf9-gateway", socket)
			}
			return c, err
		},
	}}}
}

// Look fetches the certificate of who answers at the address.
func (c *Client) Look(ctx context.Context, address string) (pairing.Certificate, error) {
	var cert pairing.Certificate
	err := c.call(ctx, http.MethodPost, "/v1/vcenters/look", wire.PairingLook{Address: address}, &cert)
	return cert, err
}

// Pair pairs with who has the certificate of the request.
func (c *Client) Pair(ctx context.Context, r pairing.Request) (pairing.Result, error) {
	method, path := http.MethodPost, "/v1/vcenters"
	if r.Name != "" {
		method, path = http.MethodPut, path+"/"+url.PathEscape(r.Name)
	}
	var res pairing.Result
	err := c.call(ctx, method, path, r, &res)
	return res, err
}

// Unpair forgets a vCenter and its accounts.
func (c *Client) Unpair(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/vcenters/"+url.PathEscape(name), nil, nil)
}

// Offer allows one pairing by way of the deployment unit, to who has the code.
func (c *Client) Offer(ctx context.Context) (wire.PairingCode, error) {
	var code wire.PairingCode
	err := c.call(ctx, http.MethodPost, "/v1/pairing-codes", nil, &code)
	return code, err
}

// call sends in and reads out, each if it is not nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://gateway"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			return inner.Err // its path and method say nothing to people
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		var problem struct{ Message string }
		if answer.Decode(&problem) != nil || problem.Message == "" {
			return fmt.Errorf("the gateway's daemon answers %s", resp.Status)
		}
		return errors.New(problem.Message)
	}
	if out == nil {
		return nil
	}
	if err := answer.Decode(out); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}
