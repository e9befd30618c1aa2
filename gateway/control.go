package gateway

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/gateway/actions"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/vcenter"
	"github.com/openpf9/openpf9/gateway/vcproxy"
	"github.com/openpf9/openpf9/internal/httpapi"
)

// controlRoutes show and set the switches of vCenters.
func (g *Gateway) controlRoutes() []httpapi.Route {
	return []httpapi.Route{
		{
			Pattern: "GET /v1/vcenters/{name}/control", Summary: "How much of a vCenter the deployment unit may do something with.",
			Response: status.Control{}, Do: g.showControl,
		},
		{
			Pattern: "POST /v1/vcenters/{name}/control/{mode}", Access: httpapi.Operator,
			Summary: "Switch how much the deployment unit may do in a vCenter: open, read-only or off.", Response: status.Control{}, Do: g.setControl,
		},
	}
}

func (g *Gateway) showControl(w http.ResponseWriter, r *http.Request) error {
	st, err := g.sites.named(r.PathValue("name"))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, st.control())
}

func (g *Gateway) setControl(w http.ResponseWriter, r *http.Request) error {
	st, err := g.sites.named(r.PathValue("name"))
	mode := vcproxy.Mode(r.PathValue("mode"))
	switch {
	case err != nil:
		return err
	case mode != vcproxy.ModeOpen && mode != vcproxy.ModeReadOnly && mode != vcproxy.ModeOff:
		return httpapi.Errorf(http.StatusBadRequest, "mode %.40q: want open, read-only or off", mode)
	case st.broker == nil:
		return httpapi.Errorf(http.StatusConflict, "there is nothing to switch: %s", notDelegated(st))
	}
	if err := st.broker.SetMode(r.Context(), mode, "local API"); err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, st.control())
}

// named returns the site of a vCenter by our name for it.
func (s *sites) named(name string) (*site, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if st := s.byName[name]; st != nil {
		return st, nil
	}
	return nil, httpapi.Errorf(http.StatusNotFound, "there is no vCenter %.40q; pf9-gateway vcenters lists them", name)
}

// notDelegated is why nothing may be done in a vCenter, with the remedy.
func notDelegated(st *site) string {
	return fmt.Sprintf("control of vCenter %s is not delegated to the deployment unit, which may only look; on the appliance, %s delegates it", st.name, st.delegate("--control"))
}

// controllable says why nothing may be done in the vCenter now; nil: it may.
func (s *site) controllable() error {
	if s.broker == nil {
		return actions.Denied(notDelegated(s))
	}
	if mode := s.broker.Mode(); mode != vcproxy.ModeOpen {
		return actions.Denied(fmt.Sprintf("control of vCenter %s is switched to %s; on the appliance, pf9-gateway control %s open switches it back", s.name, mode, s.name))
	}
	return nil
}

// delegate is the command that delegates control, or other clusters.
func (s *site) delegate(flags string) string {
	return fmt.Sprintf("pf9-gateway pair %s %s", s.name, flags)
}

// control is what is delegated, and how far the switch lets it through.
func (s *site) control() status.Control {
	c := status.Control{Name: s.name, Clusters: []string{}, Broker: s.conf.Broker}
	if s.broker == nil {
		c.Remedy = s.delegate("--control")
		return c
	}
	c.Mode = string(s.broker.Mode())
	for _, o := range s.source.Objects() {
		switch {
		case !o.Listed:
		case o.Type == "VirtualMachine":
			c.VMs++
		case strings.HasSuffix(o.Type, "ComputeResource"):
			c.Clusters = append(c.Clusters, o.Name)
		case o.Type == "HostSystem" && s.standalone(&o):
			c.Hosts = append(c.Hosts, o.Name)
		}
	}
	c.Kept = s.scope.kept.in(s.source)
	c.VMs -= len(c.Kept)
	slices.Sort(c.Clusters)
	slices.Sort(c.Hosts)
	if c.Broker != "" {
		c.BrokerSecret, c.BrokerCA = s.broker.files+".secret", s.broker.files+".crt"
	}
	var missing []string
	for _, name := range s.conf.Clusters {
		if !slices.Contains(c.Clusters, name) {
			missing = append(missing, name)
		}
	}
	seen := s.source.State()
	switch {
	case !seen.OK:
		c.Problem = cmp.Or(errorText(seen.Problem), "it is being looked at for the first time")
	case len(missing) > 0:
		c.Problem, c.Remedy = "it has no cluster of the name "+strings.Join(missing, ", "), s.delegate("--clusters NAMES")
	case len(c.Clusters)+len(c.Hosts) == 0:
		c.Problem = "it has neither a cluster nor a host"
	case s.broker.problem != nil:
		c.Problem = s.broker.problem.Error()
	}
	return c
}

// standalone says whether a host is in no cluster.
func (s *site) standalone(host *vcenter.Object) bool {
	if len(host.Within) == 0 {
		return false
	}
	above, ok := s.source.Lookup(host.Within[0])
	return ok && above.Type == "ComputeResource"
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
