package resmgr

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Parameters that several routes have.
var (
	paramHost     = httpapi.Param{Name: "host", Summary: "only of this host id"}
	paramKind     = httpapi.Param{Name: "kind", Summary: "only of this kind"}
	paramLimit    = httpapi.Param{Name: "limit", Summary: "most items in a page, 1 to 1000; 100 if absent"}
	paramContinue = httpapi.Param{Name: "continue", Summary: "the page behind the one that gave this token"}
)

// Routes is the catalogue's part of the deployment unit's API.
func (m *Manager) Routes() []httpapi.Route {
	return []httpapi.Route{
		{
			Pattern: "GET /api/v1/hosts", Access: httpapi.Reader, Summary: "List hosts, authorised or not",
			Query: []httpapi.Param{
				{Name: "name", Summary: "glob of the host name"},
				{Name: "connected", Summary: "true or false"},
				{Name: "kind", Summary: "host or gateway"},
				paramLimit, paramContinue,
			},
			Response: api.Hosts{}, Do: m.listHosts,
		},
		{
			Pattern: "GET /api/v1/hosts/{id}", Access: httpapi.Reader, Summary: "Show a host",
			Response: api.Host{}, Do: m.getHost,
		},
		{
			Pattern: "DELETE /api/v1/hosts/{id}", Access: httpapi.Operator, Summary: "Revoke a host's certificates and forget it",
			Audit: "host.delete", Do: m.deleteHost,
		},
		{
			Pattern: "GET /api/v1/hosts/{id}/stats/vms", Access: httpapi.Reader, Summary: "Ask the host what its VMs use now",
			Response: []inventory.VMStats{}, Do: m.vmStats,
		},
		{
			Pattern: "GET /api/v1/hosts/{id}/resources/{kind}/{rid...}", Access: httpapi.Reader, Summary: "Show a resource",
			Response: api.Resource{}, Do: m.getResource,
		},
		{
			Pattern: "GET /api/v1/resources/{kind}", Access: httpapi.Reader, Summary: "List the resources of a kind by host and id",
			Query: []httpapi.Param{
				paramHost,
				{Name: "id", Summary: "only with this id"},
				{Name: "name", Summary: "glob of the name: * and ?"},
				{Name: "state", Summary: "only in this state"},
				{Name: "cluster", Summary: "only in the cluster of this name, as the spec's member cluster says; a datastore's is its datastore cluster"},
				{Name: "source", Summary: "only from this module; that of a vCenter paired as NAME is vcenter-NAME"},
				{Name: "stale", Summary: "true or false"},
				{Name: "invalid", Summary: "true or false: whether it does not fit the schema that its host declares"},
				paramLimit, paramContinue,
			},
			Response: api.Resources{}, Do: m.listResources,
		},
		{
			Pattern: "GET /api/v1/kinds", Access: httpapi.Reader, Summary: "List the kinds of resources that hosts have or declare",
			Query:    []httpapi.Param{{Name: "schemas", Summary: "true to include the schemas of declared kinds, of 8 MiB at most together"}},
			Response: api.Kinds{}, Do: m.listKinds,
		},
		{
			Pattern: "GET /api/v1/kinds/{kind}", Access: httpapi.Reader, Summary: "Show a kind with its schema and columns",
			Response: api.Kind{}, Do: m.getKind,
		},
		{
			Pattern: "GET /api/v1/watch", Access: httpapi.Reader,
			Summary: "Follow changes as server-sent events: added, modified, deleted, host, reset, synced",
			Query: []httpapi.Param{
				paramHost, paramKind,
				{Name: "since", Summary: "revision to go on from, as Last-Event-ID; a snapshot comes first if absent"},
			},
			Stream: "text/event-stream", Do: m.watch,
		},
		{
			Pattern: "GET /api/v1/events", Access: httpapi.Reader, Summary: "List the hosts' history, newest first",
			Query: []httpapi.Param{
				paramHost, paramKind,
				{Name: "id", Summary: "only about this resource id"},
				{Name: "type", Summary: "only of this type"},
				paramLimit, paramContinue,
			},
			Response: api.Events{}, Do: m.listEvents,
		},
	}
}

// CompatRoutes is the field's API, in the shapes that its clients know.
func (m *Manager) CompatRoutes() []httpapi.Route {
	var out []httpapi.Route
	for _, v := range []string{"v1", "v2"} {
		list := httpapi.Route{
			Pattern: "GET /resmgr/" + v + "/hosts", Access: httpapi.Reader, Summary: "List hosts, authorised or not",
			Response: []compatHost{}, Do: m.compatHosts,
		}
		if v == "v2" {
			list.Query = []httpapi.Param{{Name: "role_settings", Summary: "true to include the settings of roles"}}
		}
		out = append(
			out, list,
			httpapi.Route{
				Pattern: "GET /resmgr/" + v + "/hosts/{id}", Access: httpapi.Reader, Summary: "Show a host",
				Response: compatHost{}, Do: m.compatHost,
			},
			httpapi.Route{
				Pattern: "DELETE /resmgr/" + v + "/hosts/{id}", Access: httpapi.Operator, Summary: "Revoke a host's certificates and forget it",
				Audit: "host.delete", Do: m.deleteHost,
			},
			httpapi.Route{
				Pattern: "GET /resmgr/" + v + "/roles", Access: httpapi.Reader, Summary: "List roles",
				Response: []struct{}{},
				Do: func(w http.ResponseWriter, _ *http.Request) error {
					return httpapi.WriteJSON(w, http.StatusOK, []struct{}{})
				},
			},
		)
	}
	return append(out, httpapi.Route{
		Pattern: "GET /versions", Access: httpapi.Open, Summary: "List the versions of the API",
		Response: versions{},
		Do: func(w http.ResponseWriter, _ *http.Request) error {
			return httpapi.WriteJSON(w, http.StatusOK, versions{{"v1", "/resmgr/v1"}, {"v2", "/resmgr/v2"}, {"api/v1", "/api/v1"}})
		},
	})
}

type versions []struct {
	ID   string `json:"id"`
	Path string `json:"path"`
}

func pathHost(r *http.Request) (wire.HostID, error) {
	id := wire.HostID(strings.ToLower(r.PathValue("id")))
	if err := id.Validate(); err != nil {
		return "", refuse(http.StatusNotFound, "%w", err)
	}
	return id, nil
}

// boolParam returns nil if the parameter is absent.
func boolParam(r *http.Request, name string) (*bool, error) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return nil, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%s: want true or false", name)
	}
	return &b, nil
}

func limitParam(r *http.Request) (int, error) {
	v := r.URL.Query().Get("limit")
	if v == "" {
		return 100, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 1000 {
		return 0, refuse(http.StatusBadRequest, "limit: want 1 to 1000")
	}
	return n, nil
}

func (m *Manager) listHosts(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitParam(r)
	if err != nil {
		return err
	}
	connected, err := boolParam(r, "connected")
	if err != nil {
		return err
	}
	q := r.URL.Query()
	name, kind := q.Get("name"), q.Get("kind")
	g := newGlob(name)
	page, err := m.Hosts(limit, q.Get("continue"), func(h *host) bool {
		return (connected == nil || *connected == h.connected()) && (kind == "" || kind == h.kind) &&
			(name == "" || g == nil && name == h.hostname || g != nil && g.match(h.hostname))
	})
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, &page)
}

func (m *Manager) getHost(w http.ResponseWriter, r *http.Request) error {
	id, err := pathHost(r)
	if err != nil {
		return err
	}
	h, err := m.Host(id)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, &h)
}

func (m *Manager) deleteHost(w http.ResponseWriter, r *http.Request) error {
	id, err := pathHost(r)
	if err != nil {
		return err
	}
	if err := m.Forget(r.Context(), id, "forgotten by "+httpapi.CallerOf(r.Context()).Name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (m *Manager) getResource(w http.ResponseWriter, r *http.Request) error {
	id, err := pathHost(r)
	if err != nil {
		return err
	}
	v, err := m.Get(id, plugin.Key{Kind: r.PathValue("kind"), ID: r.PathValue("rid")})
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, &v)
}

func (m *Manager) listResources(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, err := limitParam(r)
	if err != nil {
		return err
	}
	stale, err := boolParam(r, "stale")
	if err != nil {
		return err
	}
	invalid, err := boolParam(r, "invalid")
	if err != nil {
		return err
	}
	page, err := m.List(&Query{
		Kind: r.PathValue("kind"), Host: wire.HostID(q.Get("host")), ID: q.Get("id"), Name: q.Get("name"), State: q.Get("state"),
		Cluster: q.Get("cluster"), Source: q.Get("source"), Stale: stale, Invalid: invalid, Limit: limit, Continue: q.Get("continue"),
	})
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, &page)
}

func (m *Manager) listKinds(w http.ResponseWriter, r *http.Request) error {
	schemas, err := boolParam(r, "schemas")
	if err != nil {
		return err
	}
	k := m.Kinds(schemas != nil && *schemas)
	return httpapi.WriteJSON(w, http.StatusOK, &k)
}

func (m *Manager) getKind(w http.ResponseWriter, r *http.Request) error {
	k, err := m.Kind(r.PathValue("kind"))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, &k)
}

func (m *Manager) watch(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	since := r.Header.Get("Last-Event-ID") // of a reconnect, thus newer
	if since == "" {
		since = q.Get("since")
	}
	return m.Watch(r.Context(), w, &Query{Kind: q.Get("kind"), Host: wire.HostID(q.Get("host"))}, since)
}

func (m *Manager) listEvents(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, err := limitParam(r)
	if err != nil {
		return err
	}
	page, err := m.History(r.Context(), &HistoryQuery{
		Host: wire.HostID(q.Get("host")), Kind: q.Get("kind"), ID: q.Get("id"), Type: q.Get("type"),
		Limit: limit, Continue: q.Get("continue"),
	})
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, &page)
}

// statsFor is how long a host may take to answer, statsMost how much it may say.
const (
	statsFor  = 10 * time.Second
	statsMost = 16 << 20
)

// vmStats asks the host through its tunnel.
func (m *Manager) vmStats(w http.ResponseWriter, r *http.Request) error {
	id, err := pathHost(r)
	if err != nil {
		return err
	}
	h, err := m.Host(id)
	switch {
	case err != nil:
		return err
	case !h.Connected:
		return refuse(http.StatusServiceUnavailable, "host %s is disconnected: %s", id, h.Reason)
	case m.cfg.Dial == nil:
		return refuse(http.StatusServiceUnavailable, "this program cannot dial hosts")
	}
	ctx, cancel := context.WithTimeout(r.Context(), statsFor)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return m.cfg.Dial(ctx, id, wire.ServiceAgent)
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/v1/stats/vms", nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return refuse(http.StatusBadGateway, "ask host %s: %w", id, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, statsMost+1))
	switch {
	case err != nil:
		return refuse(http.StatusBadGateway, "read from host %s: %w", id, err)
	case len(body) > statsMost:
		return refuse(http.StatusBadGateway, "host %s says more than %d bytes", id, statsMost)
	case res.StatusCode != http.StatusOK:
		return refuse(http.StatusBadGateway, "host %s answers %s: %.200s", id, res.Status, bytes.TrimSpace(body))
	case !json.Valid(body):
		return refuse(http.StatusBadGateway, "host %s answers something other than JSON", id)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the client may be gone
	return nil
}

func (m *Manager) compatHosts(w http.ResponseWriter, r *http.Request) error {
	settings, err := boolParam(r, "role_settings")
	if err != nil {
		return err
	}
	m.mu.RLock()
	all := make([]facts, 0, len(m.order))
	for _, h := range m.order {
		all = append(all, h.facts())
	}
	m.mu.RUnlock()
	now := time.Now()
	out := make([]compatHost, 0, len(all))
	for i := range all {
		out = append(out, all[i].compat(now, settings != nil && *settings))
	}
	return httpapi.WriteJSON(w, http.StatusOK, out)
}

func (m *Manager) compatHost(w http.ResponseWriter, r *http.Request) error {
	id, err := pathHost(r)
	if err != nil {
		return err
	}
	m.mu.RLock()
	h := m.hosts[id]
	var f facts
	if h != nil {
		f = h.facts()
	}
	m.mu.RUnlock()
	if h == nil {
		return refuse(http.StatusNotFound, "HostNotFound: no host %s", id)
	}
	return httpapi.WriteJSON(w, http.StatusOK, f.compat(time.Now(), false))
}
