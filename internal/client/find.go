package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
)

// shortID is how many characters of an id are no accident.
const shortID = 4

// Find returns a host by its id, or by its name or else the beginning of its id,
// 4 characters or more, if only one has it.
func (c *Client) Find(ctx context.Context, name string) (api.Host, error) {
	if wire.HostID(name).Validate() == nil {
		return c.Host(ctx, wire.HostID(name))
	}
	all, err := c.Hosts(ctx)
	if err != nil {
		return api.Host{}, err
	}
	var called, begun []api.Host
	for _, h := range all {
		switch {
		case h.Hostname == name:
			called = append(called, h)
		case len(name) >= shortID && strings.HasPrefix(string(h.ID), strings.ToLower(name)):
			begun = append(begun, h)
		}
	}
	switch {
	case len(called) == 1:
		return called[0], nil
	case len(called) > 1:
		return api.Host{}, fmt.Errorf("%d hosts are called %q; give the id: %s", len(called), name, candidates(called))
	case len(begun) == 1:
		return begun[0], nil
	case len(begun) > 1:
		return api.Host{}, fmt.Errorf("%d hosts have an id that begins with %s; give more of it: %s", len(begun), name, candidates(begun))
	}
	return api.Host{}, fmt.Errorf("no host is called %q; see pf9ctl host list", name)
}

// candidates tells hosts apart, ten of them at most.
func candidates(hosts []api.Host) string {
	var texts []string
	for _, h := range hosts[:min(len(hosts), 10)] {
		link := "connected"
		if !h.Connected {
			link = "disconnected"
		}
		texts = append(texts, fmt.Sprintf("%s (%s %s, %s)", h.ID, h.Kind, h.Hostname, link))
	}
	if len(hosts) > 10 {
		texts = append(texts, "...")
	}
	return strings.Join(texts, ", ")
}
