package gateway

import (
	"maps"
	"net/http"
	"slices"

	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/httpapi"
)

// routes are what people on the appliance may ask besides the agent's API.
func (g *Gateway) routes() []httpapi.Route {
	return append(g.controlRoutes(), httpapi.Route{
		Pattern: "GET /v1/vcenters", Summary: "The vCenters, and how they are.", Response: []status.VCenter{},
		Do: func(w http.ResponseWriter, _ *http.Request) error {
			return httpapi.WriteJSON(w, http.StatusOK, g.sites.status())
		},
	})
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
