package resmgr

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
)

// Service is what hosts reach through their tunnels, as wire.ServiceResmgr.
func (m *Manager) Service() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/hello", message(m, "hello", func(r *http.Request, p Peer, in *wire.Hello) (any, error) {
		return m.Hello(p, in)
	}))
	mux.Handle("POST /v1/report", message(m, "report", func(r *http.Request, p Peer, in *wire.Report) (any, error) {
		return m.Report(p, in)
	}))
	mux.Handle("POST /v1/events", message(m, "events", func(r *http.Request, p Peer, in *wire.Events) (any, error) {
		return m.Events(r.Context(), p, in)
	}))
	return mux
}

// message decodes a message, gives it to do with who sent it, and encodes the
// answer.
func message[T any](m *Manager, name string, do func(*http.Request, Peer, *T) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		var out any
		p, ok := m.cfg.PeerOf(r.Context())
		err := refuse(http.StatusForbidden, "not from a tunnel")
		if ok {
			in := new(T)
			if err = decode(w, r, in); err == nil {
				out, err = do(r, p, in)
			}
		}
		m.metrics.reports.WithLabelValues(name).Observe(time.Since(start).Seconds())
		if err != nil {
			m.log.Warn("message refused", "host", p.Host, "message", name, "err", err)
			httpapi.WriteError(w, err)
			return
		}
		if err := httpapi.WriteJSON(w, http.StatusOK, out); err != nil {
			m.log.Error("encode an answer", "message", name, "err", err)
		}
	})
}

// decode reads a message, which may be compressed.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	body := io.ReadCloser(http.MaxBytesReader(w, r.Body, wire.MaxReport))
	if e := r.Header.Get("Content-Encoding"); e == wire.EncodingGzip {
		z, err := gzip.NewReader(body)
		if err != nil {
			return refuse(http.StatusBadRequest, "decode message: %w", err)
		}
		body = http.MaxBytesReader(w, z, wire.MaxReport)
	} else if e != "" {
		return refuse(http.StatusUnsupportedMediaType, "content encoding %.20q: want gzip, or none", e)
	}
	err := json.NewDecoder(body).Decode(v)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, "message has more than %d bytes", large.Limit)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "decode message: %w", err)
	}
	return nil
}
