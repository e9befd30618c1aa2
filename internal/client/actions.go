package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
)

// MaxWait is how long a call for an action may wait for it.
const MaxWait = 20 * time.Second

func actionsPath(host wire.HostID) string {
	return "/api/v1/hosts/" + url.PathEscape(string(host)) + "/actions"
}

func waiting(wait time.Duration) url.Values {
	q := make(url.Values)
	if wait > 0 {
		q.Set("wait", fmt.Sprint(min(wait, MaxWait)))
	}
	return q
}

// Act has a host do something, and waits up to MaxWait for its end. key names
// the request: called again with the same key and request, after an answer was
// lost, it does nothing twice. A key is never used for another request.
func (c *Client) Act(ctx context.Context, host wire.HostID, key string, q api.ActionRequest, wait time.Duration) (api.Action, error) {
	var out api.Action
	header := http.Header{"Idempotency-Key": {strconv.Quote(key)}}
	err := c.callWith(ctx, http.MethodPost, actionsPath(host), waiting(wait), header, q, &out)
	return out, err
}

// Action returns an action. It waits up to MaxWait for a revision after since,
// or for its end if since is negative.
func (c *Client) Action(ctx context.Context, host wire.HostID, id string, since int, wait time.Duration) (api.Action, error) {
	var out api.Action
	q := waiting(wait)
	if since >= 0 && wait > 0 {
		q.Set("since", strconv.Itoa(since))
	}
	err := c.call(ctx, http.MethodGet, actionsPath(host)+"/"+url.PathEscape(id), q, nil, &out)
	return out, err
}

// ActionByID returns an action of any host.
func (c *Client) ActionByID(ctx context.Context, id string) (api.Action, error) {
	var out api.Action
	err := c.call(ctx, http.MethodGet, "/api/v1/actions/"+url.PathEscape(id), nil, nil, &out)
	return out, err
}

// ActionFilter selects actions. Zero fields select everything.
type ActionFilter struct {
	Host  wire.HostID
	VM    string // by its id, or the name that it had then
	State string // as of an action, or "open"
	Limit int    // of the newest; 0: 100, at most 1,000
}

// Actions returns the newest actions that a filter selects, newest first.
func (c *Client) Actions(ctx context.Context, f ActionFilter) ([]api.Action, error) {
	q := make(url.Values)
	for k, v := range map[string]string{"host": string(f.Host), "vm": f.VM, "state": f.State} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var out api.Actions
	err := c.call(ctx, http.MethodGet, "/api/v1/actions", q, nil, &out)
	return out.Items, err
}
