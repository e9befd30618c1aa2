package pair

import (
	"errors"
	"net/http"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
)

// Routes are the part of the local API that pairs: for this machine only, since
// passwords come in.
func (d *Daemon) Routes() []httpapi.Route {
	return []httpapi.Route{
		{Pattern: "POST /v1/vcenters/look", Access: httpapi.Operator, Summary: "The certificate of who answers at an address.", Request: wire.PairingLook{}, Response: pairing.Certificate{}, Do: d.serveLook},
		{Pattern: "POST /v1/vcenters", Access: httpapi.Operator, Summary: "Pair a vCenter under the name that it has, or a free one.", Request: pairing.Request{}, Response: pairing.Result{}, Do: d.servePair},
		{Pattern: "PUT /v1/vcenters/{name}", Access: httpapi.Operator, Summary: "Pair a vCenter.", Request: pairing.Request{}, Response: pairing.Result{}, Do: d.servePair},
		{Pattern: "DELETE /v1/vcenters/{name}", Access: httpapi.Operator, Summary: "Forget a vCenter and its accounts.", Do: d.serveUnpair},
		{Pattern: "POST /v1/pairing-codes", Access: httpapi.Operator, Summary: "Allow one pairing by way of the deployment unit.", Response: wire.PairingCode{}, Do: d.serveOffer},
	}
}

// told lets the caller read the whole error: it is root on this machine.
func told(err error) error {
	if e, ok := errors.AsType[*httpapi.Error](err); ok {
		return &httpapi.Error{Status: e.Status, Message: err.Error()}
	}
	return &httpapi.Error{Status: http.StatusInternalServerError, Message: err.Error()}
}

func (d *Daemon) serveLook(w http.ResponseWriter, r *http.Request) error {
	var req wire.PairingLook
	if err := httpapi.ReadJSON(r, &req); err != nil {
		return err
	}
	c, err := d.Look(r.Context(), req.Address)
	if err != nil {
		return told(err)
	}
	return httpapi.WriteJSON(w, http.StatusOK, c)
}

func (d *Daemon) servePair(w http.ResponseWriter, r *http.Request) error {
	var req pairing.Request
	if err := httpapi.ReadJSON(r, &req); err != nil {
		return err
	}
	if name := r.PathValue("name"); name != "" {
		if req.Name != "" && req.Name != name {
			return httpapi.Errorf(http.StatusBadRequest, "the body names another vCenter, %q, than the path", req.Name)
		}
		req.Name = name
	}
	res, err := d.Pair(r.Context(), req)
	if err != nil {
		return told(err)
	}
	return httpapi.WriteJSON(w, http.StatusOK, res)
}

func (d *Daemon) serveUnpair(w http.ResponseWriter, r *http.Request) error {
	if err := d.Unpair(r.Context(), r.PathValue("name")); err != nil {
		return told(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
