package gateway

import (
	"maps"
	"net/http"
	"slices"

	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/vcproxy"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/httpapi"
)

// routes are what people on the appliance may ask besides the agent's API.
func (g *Gateway) routes() []httpapi.Route {
	return []httpapi.Route{
		{
			Pattern: "GET /v1/vcenters", Summary: "The vCenters, and how they are.", Response: []status.VCenter{},
			Do: func(w http.ResponseWriter, _ *http.Request) error {
				return httpapi.WriteJSON(w, http.StatusOK, g.sites.status())
			},
		},
		{
			Pattern: "POST /v1/vcenters/{name}/control/{mode}", Access: httpapi.Operator,
			Summary: "Switch how much the deployment unit may do in a vCenter: open, read-only or off.", Do: g.setControl,
		},
	}
}

func (g *Gateway) setControl(w http.ResponseWriter, r *http.Request) error {
	b, mode := g.sites.brokerOf(r.PathValue("name")), vcproxy.Mode(r.PathValue("mode"))
	switch {
	case b == nil:
		return httpapi.Errorf(http.StatusNotFound, "there is no vCenter %.40q whose control is delegated", r.PathValue("name"))
	case mode != vcproxy.ModeOpen && mode != vcproxy.ModeReadOnly && mode != vcproxy.ModeOff:
		return httpapi.Errorf(http.StatusBadRequest, "mode %.40q: want open, read-only or off", mode)
	}
	if err := b.SetMode(r.Context(), mode, "local API"); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// status tells how each vCenter is.
func (s *sites) status() []status.VCenter {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := []status.VCenter{}
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		st := s.byName[name]
		seen, link := st.source.State(), st.looks.State()
		v := status.VCenter{
			Name: name, State: state(seen.OK), Since: link.Since, Counts: seen.Objects,
			Pinned: link.Fingerprint,
		}
		if st.broker != nil {
			v.Control, v.Broker = string(st.broker.Mode()), st.conf.Broker
			if st.broker.problem != nil {
				v.Problem = st.broker.problem.Error()
			}
		}
		if seen.Problem != nil {
			v.Problem = seen.Problem.Error()
		}
		all = append(all, v)
	}
	return all
}

func state(ok bool) string {
	if ok {
		return discovery.OK
	}
	return discovery.Degraded
}
