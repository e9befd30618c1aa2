package certrepo

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

// Certificates lists the certificates that have not expired, by host and age.
// An empty host means all.
func (r *Repository) Certificates(host wire.HostID) api.IssuedCertificates {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := api.IssuedCertificates{Certificates: []api.IssuedCertificate{}}
	now := time.Now()
	for _, c := range r.certs {
		if (host == "" || c.host == host) && now.Before(c.notAfter) {
			out.Certificates = append(out.Certificates, c.view())
		}
	}
	slices.SortFunc(out.Certificates, func(a, b api.IssuedCertificate) int {
		if c := strings.Compare(string(a.Host), string(b.Host)); c != 0 {
			return c
		}
		if c := a.Issued.Compare(b.Issued); c != 0 {
			return c
		}
		return strings.Compare(a.Serial, b.Serial)
	})
	return out
}

func (c *certificate) view() api.IssuedCertificate {
	return api.IssuedCertificate{
		Serial: c.serial, Host: c.host, Kind: c.kind, NotBefore: c.notBefore, NotAfter: c.notAfter,
		Issued: c.issued, How: c.how, Revoked: c.revoked, Reason: c.reason,
	}
}

// Routes is the package's part of the API.
func (r *Repository) Routes() []httpapi.Route {
	return []httpapi.Route{
		{
			Pattern: "POST /api/v1/enroll", Access: httpapi.Open, Summary: "Trade a join token for a host certificate.",
			Request: wire.EnrollRequest{}, Response: wire.Certificate{}, Do: r.serveEnroll,
		},
		{
			Pattern: "GET /api/v1/ca", Access: httpapi.Open, Summary: "The deployment unit's authority, as PEM.", Stream: "application/x-pem-file",
			Do: func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Type", "application/x-pem-file")
				_, _ = w.Write(pki.EncodeCertificates(r.Authority()...)) // the client may be gone
				return nil
			},
		},
		{
			Pattern: "GET /api/v1/join-tokens", Access: httpapi.Operator, Summary: "Join tokens, without their secrets.", Response: api.JoinTokens{},
			Do: func(w http.ResponseWriter, req *http.Request) error {
				list, err := r.Tokens(req.Context())
				if err != nil {
					return err
				}
				return httpapi.WriteJSON(w, http.StatusOK, list)
			},
		},
		{
			Pattern: "POST /api/v1/join-tokens", Access: httpapi.Operator, Audit: "join_token.create", Summary: "Make a join token; the answer is the only place that shows its secret.",
			Request: api.JoinTokenRequest{}, Response: api.NewJoinToken{},
			Do: func(w http.ResponseWriter, req *http.Request) error {
				var q api.JoinTokenRequest
				if err := httpapi.ReadJSON(req, &q); err != nil {
					return err
				}
				made, err := r.CreateToken(req.Context(), q, httpapi.CallerOf(req.Context()).Name)
				if err != nil {
					return err
				}
				return httpapi.WriteJSON(w, http.StatusCreated, made)
			},
		},
		{
			Pattern: "DELETE /api/v1/join-tokens/{id}", Access: httpapi.Operator, Audit: "join_token.revoke", Summary: "Revoke a join token. Hosts that used it stay.",
			Do: func(w http.ResponseWriter, req *http.Request) error {
				if err := r.RevokeToken(req.Context(), req.PathValue("id")); err != nil {
					return err
				}
				w.WriteHeader(http.StatusNoContent)
				return nil
			},
		},
		{
			Pattern: "GET /api/v1/certificates", Access: httpapi.Operator, Summary: "Host certificates that have not expired.", Response: api.IssuedCertificates{},
			Query: []httpapi.Param{{Name: "host", Summary: "Only of this host."}},
			Do: func(w http.ResponseWriter, req *http.Request) error {
				return httpapi.WriteJSON(w, http.StatusOK, r.Certificates(wire.HostID(req.URL.Query().Get("host"))))
			},
		},
		{
			Pattern: "POST /api/v1/hosts/{id}/revoke", Access: httpapi.Operator, Audit: "host.revoke", Summary: "Revoke all certificates of a host and cut its tunnel.",
			Request: api.Revocation{}, Do: r.serveRevoke,
		},
	}
}

func (r *Repository) serveEnroll(w http.ResponseWriter, req *http.Request) error {
	remote := httpapi.CallerOf(req.Context()).Remote
	if wait := r.enrolling.wait(remote, time.Now()); wait > 0 {
		return &httpapi.Error{Status: http.StatusTooManyRequests, Message: "too many failed enrolments from this address", RetryAfter: wait}
	}
	var q wire.EnrollRequest
	if err := httpapi.ReadJSON(req, &q); err != nil {
		return err
	}
	cert, err := r.Enroll(req.Context(), q, remote)
	if err != nil {
		r.enrolling.fail(remote, time.Now())
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, cert)
}

func (r *Repository) serveRevoke(w http.ResponseWriter, req *http.Request) error {
	var q api.Revocation
	if req.ContentLength != 0 {
		if err := httpapi.ReadJSON(req, &q); err != nil {
			return err
		}
	}
	if q.Reason == "" {
		q.Reason = "by " + httpapi.CallerOf(req.Context()).Name
	}
	if len(q.Reason) > 200 {
		return httpapi.Errorf(http.StatusBadRequest, "the reason has more than 200 bytes")
	}
	id := wire.HostID(req.PathValue("id"))
	if err := id.Validate(); err != nil {
		return httpapi.Errorf(http.StatusBadRequest, "%v", err)
	}
	if err := r.Revoke(req.Context(), id, q.Reason); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
