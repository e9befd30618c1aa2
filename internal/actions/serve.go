package actions

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	againEvery = 15 * time.Second // the outcome is said again, as a sign of life
	writeLimit = 20 * time.Second // a reader that takes nothing for so long is cut
)

// Handler serves wire.ServiceActions. It is for the tunnel alone, whose far side
// is the deployment unit.
func (x *Executor) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(w, r); err != nil {
				httpapi.WriteError(w, err)
			}
		})
	}
	handle("GET /v1/actions", func(w http.ResponseWriter, _ *http.Request) error {
		offer := wire.ActionsOffer{Actions: x.o.Actions}
		if err := x.o.Control(); err != nil {
			offer.Reason = err.Error()
		}
		return httpapi.WriteJSON(w, http.StatusOK, offer)
	})
	handle("POST /v1/actions", func(w http.ResponseWriter, r *http.Request) error {
		var q wire.ActionRequest
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, wire.MaxActionRequest)).Decode(&q); err != nil {
			return httpapi.Errorf(http.StatusBadRequest, "decode message: %v", err)
		}
		e, refused, err := x.accept(&q)
		switch {
		case errors.Is(err, errConflict):
			return httpapi.Errorf(http.StatusConflict, "%v", err)
		case err != nil:
			return httpapi.Errorf(http.StatusBadRequest, "%v", err)
		case e == nil:
			return writeLine(w, http.NewResponseController(w), &refused)
		}
		return x.stream(w, r, e)
	})
	handle("POST /v1/actions/{id}/settle", func(w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		if len(id) < 8 || len(id) > 64 {
			return httpapi.Errorf(http.StatusBadRequest, "%.80q is not an action's id", id)
		}
		e, err := x.settle(id)
		if err != nil {
			return &httpapi.Error{Status: http.StatusServiceUnavailable, Message: "the journal cannot be written", Err: err}
		}
		return x.stream(w, r, e)
	})
	return mux
}

// stream says how far an action is until it has ended.
func (x *Executor) stream(w http.ResponseWriter, r *http.Request, e *Action) error {
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	again := time.NewTicker(againEvery)
	defer again.Stop()
	for {
		now, changed := x.view(e)
		if err := writeLine(w, rc, &now); err != nil || now.Done() {
			return nil // the answer has begun
		}
		select {
		case <-changed:
		case <-again.C:
		case <-x.ended:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}

func writeLine(w http.ResponseWriter, rc *http.ResponseController, o *wire.ActionOutcome) error {
	if err := rc.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	w.Header().Set("Content-Type", "application/jsonl")
	if err := json.NewEncoder(w).Encode(o); err != nil {
		return err
	}
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
