// Package client calls the HTTP API of a deployment unit, for pf9ctl, the demo
// and load harnesses. Every call has a deadline; a watch goes on by itself
// after an interruption.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/netcause"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	callTimeout = 30 * time.Second
	maxAnswer   = 64 << 20 // bytes
)

// Options say which deployment unit, and who calls.
type Options struct {
	URL    string // "https://du.acme.example"
	Token  string // API token
	CAFile string // PEM; empty: the system's authorities
}

// Client calls one deployment unit. It may be used by several goroutines.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New checks the options. It does not connect.
func New(o Options) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(o.URL, "/"))
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("url %q: want https://host[:port]", o.URL)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if o.CAFile != "" {
		text, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the authority's certificate: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no PEM certificate", o.CAFile)
		}
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second,
	}
	return &Client{base: base, token: o.Token, http: &http.Client{Transport: transport}}, nil
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Error is a refusal or failure that the deployment unit answered with.
type Error struct {
	Status  int
	Message string
}

// Error returns the deployment unit's words, which say what is wrong.
func (e *Error) Error() string {
	if e.Status == http.StatusUnauthorized {
		return e.Message + " (is the context's token right? see pf9ctl context)"
	}
	return e.Message
}

// call sends in, if not nil, and decodes the answer into out, if not nil.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	return c.callWith(ctx, method, path, query, nil, in, out)
}

// callWith also sends a header.
func (c *Client) callWith(ctx context.Context, method, path string, query url.Values, header http.Header, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.send(ctx, method, path, query, in, header)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
		return err
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read the answer of %s %s: %w", method, path, err)
	}
	return nil
}

// send makes one request. An answer other than success is an *Error.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, in any, header http.Header) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	var sent netcause.Delivery
	resp, err := c.http.Do(req.WithContext(sent.Watch(ctx)))
	switch {
	case err != nil && !sent.Begun():
		return nil, unsentError{explain(c.base.Host, err)}
	case err != nil:
		return nil, explain(c.base.Host, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	e := &Error{Status: resp.StatusCode, Message: c.base.Host + " answers " + resp.Status}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 8<<10)) // the status says it too
	var problem struct{ Message string }
	if json.Unmarshal(text, &problem) == nil && problem.Message != "" {
		e.Message = problem.Message
	}
	return nil, e
}

// unsentError is of a request that was not sent.
type unsentError struct{ error }

// Unwrap returns the error itself.
func (e unsentError) Unwrap() error { return e.error }

// Unsent says whether the deployment unit cannot have got the request whose error
// it is.
func Unsent(err error) bool {
	_, ok := errors.AsType[unsentError](err)
	return ok
}

// explain puts the network's errors in words, with a remedy for the common ones.
func explain(host string, err error) error {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	remedy := ""
	switch {
	case errors.Is(err, context.Canceled):
		return err // by who asks
	case unknown:
		remedy = "; give the deployment unit's authority with --ca-file (it is at /api/v1/ca, and ca.pem in its state directory)"
	case name:
		remedy = "; the address must be one of the names in the deployment unit's certificate (fqdn and names in its configuration)"
	}
	return fmt.Errorf("the deployment unit at %s cannot be reached (%s)%s", host, netcause.Words(err), remedy)
}

// Filter selects resources. Zero fields select everything.
type Filter struct {
	Host, ID, Name, State string
	Cluster               string // name
	Source                string // module, such as inventory.VCenterModule of a vCenter's name
	Stale, Invalid        string // "true" or "false"
	Limit                 int    // of one page
	Continue              string
}

func (f Filter) query() url.Values {
	q := make(url.Values)
	for k, v := range map[string]string{
		"host": f.Host, "id": f.ID, "name": f.Name, "state": f.State, "cluster": f.Cluster, "source": f.Source,
		"stale": f.Stale, "invalid": f.Invalid, "continue": f.Continue,
	} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}

// Page returns one page of the resources of a kind.
func (c *Client) Page(ctx context.Context, kind string, f Filter) (api.Resources, error) {
	var out api.Resources
	err := c.call(ctx, http.MethodGet, "/api/v1/resources/"+url.PathEscape(kind), f.query(), nil, &out)
	return out, err
}

// Resources returns all resources of a kind, page by page.
func (c *Client) Resources(ctx context.Context, kind string, f Filter) ([]api.Resource, error) {
	var all []api.Resource
	for {
		page, err := c.Page(ctx, kind, f)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if f.Continue = page.Continue; f.Continue == "" {
			return all, nil
		}
	}
}

// Hosts returns all hosts.
func (c *Client) Hosts(ctx context.Context) ([]api.Host, error) {
	var all []api.Host
	q := make(url.Values)
	for {
		var page api.Hosts
		if err := c.call(ctx, http.MethodGet, "/api/v1/hosts", q, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Continue == "" {
			return all, nil
		}
		q.Set("continue", page.Continue)
	}
}

// Host returns one host by its id.
func (c *Client) Host(ctx context.Context, id wire.HostID) (api.Host, error) {
	var out api.Host
	err := c.call(ctx, http.MethodGet, "/api/v1/hosts/"+url.PathEscape(string(id)), nil, nil, &out)
	return out, err
}

// Forget revokes a host's certificates and removes it from the catalogue.
func (c *Client) Forget(ctx context.Context, id wire.HostID) error {
	return c.call(ctx, http.MethodDelete, "/api/v1/hosts/"+url.PathEscape(string(id)), nil, nil, nil)
}

// Revoke revokes a host's certificates and cuts its tunnel.
func (c *Client) Revoke(ctx context.Context, id wire.HostID, reason string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/hosts/"+url.PathEscape(string(id))+"/revoke", nil, api.Revocation{Reason: reason}, nil)
}

// VMStats asks a host what its VMs use now.
func (c *Client) VMStats(ctx context.Context, id wire.HostID) ([]inventory.VMStats, error) {
	var out []inventory.VMStats
	err := c.call(ctx, http.MethodGet, "/api/v1/hosts/"+url.PathEscape(string(id))+"/stats/vms", nil, nil, &out)
	return out, err
}

// Kinds returns the kinds of resources that there are.
func (c *Client) Kinds(ctx context.Context) ([]api.Kind, error) {
	var out api.Kinds
	err := c.call(ctx, http.MethodGet, "/api/v1/kinds", nil, nil, &out)
	return out.Items, err
}

// Kind returns one kind with its schema.
func (c *Client) Kind(ctx context.Context, name string) (api.Kind, error) {
	var out api.Kind
	err := c.call(ctx, http.MethodGet, "/api/v1/kinds/"+url.PathEscape(name), nil, nil, &out)
	return out, err
}

// Events returns a page of history, newest first. The query is the API's.
func (c *Client) Events(ctx context.Context, q url.Values) (api.Events, error) {
	var out api.Events
	err := c.call(ctx, http.MethodGet, "/api/v1/events", q, nil, &out)
	return out, err
}

// Audit returns a page of the audit, newest first. The query is the API's.
func (c *Client) Audit(ctx context.Context, q url.Values) (api.Audit, error) {
	var out api.Audit
	err := c.call(ctx, http.MethodGet, "/api/v1/audit", q, nil, &out)
	return out, err
}

// Certificates returns the host certificates that have not expired.
func (c *Client) Certificates(ctx context.Context) ([]api.IssuedCertificate, error) {
	var out api.IssuedCertificates
	err := c.call(ctx, http.MethodGet, "/api/v1/certificates", nil, nil, &out)
	return out.Certificates, err
}

// JoinTokens returns the join tokens, newest first.
func (c *Client) JoinTokens(ctx context.Context) ([]api.JoinToken, error) {
	var out api.JoinTokens
	err := c.call(ctx, http.MethodGet, "/api/v1/join-tokens", nil, nil, &out)
	return out.Tokens, err
}

// CreateJoinToken makes a join token.
func (c *Client) CreateJoinToken(ctx context.Context, q api.JoinTokenRequest) (api.NewJoinToken, error) {
	var out api.NewJoinToken
	err := c.call(ctx, http.MethodPost, "/api/v1/join-tokens", nil, q, &out)
	return out, err
}

// RevokeJoinToken ends a join token.
func (c *Client) RevokeJoinToken(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/api/v1/join-tokens/"+url.PathEscape(id), nil, nil, nil)
}

// URL is the deployment unit's address.
func (c *Client) URL() string { return c.base.String() }

// Metric reads one value of the deployment unit's metrics by its whole name
// with labels, as it is written there.
func (c *Client) Metric(ctx context.Context, name string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, "/metrics", nil, nil, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}
