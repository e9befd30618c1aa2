package gateway

import (
	"net/http"

	"github.com/openpf9/openpf9/gateway/firstboot/status"
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
