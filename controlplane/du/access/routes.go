package access

import (
	"net/http"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
)

// Routes is the package's part of the API.
func (t *Tokens) Routes() []httpapi.Route {
	return []httpapi.Route{
		{
			Pattern: "GET /api/v1/api-tokens", Access: httpapi.Admin, Summary: "All API tokens, without their secrets.", Response: api.Tokens{},
			Do: func(w http.ResponseWriter, _ *http.Request) error {
				return httpapi.WriteJSON(w, http.StatusOK, t.List())
			},
		},
		{
			Pattern: "POST /api/v1/api-tokens", Access: httpapi.Admin, Audit: "api_token.create", Summary: "Make an API token; the answer is the only place that shows its secret.",
			Request: api.TokenRequest{}, Response: api.NewToken{},
			Do: func(w http.ResponseWriter, r *http.Request) error {
				var q api.TokenRequest
				if err := httpapi.ReadJSON(r, &q); err != nil {
					return err
				}
				made, err := t.Create(r.Context(), q)
				if err != nil {
					return err
				}
				return httpapi.WriteJSON(w, http.StatusCreated, made)
			},
		},
		{
			Pattern: "DELETE /api/v1/api-tokens/{id}", Access: httpapi.Admin, Audit: "api_token.revoke", Summary: "Revoke an API token at once.",
			Do: func(w http.ResponseWriter, r *http.Request) error {
				if err := t.Revoke(r.Context(), r.PathValue("id")); err != nil {
					return err
				}
				w.WriteHeader(http.StatusNoContent)
				return nil
			},
		},
	}
}
