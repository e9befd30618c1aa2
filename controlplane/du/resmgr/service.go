package resmgr

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
)

// Service is what hosts reach through their tunnels, as wire.ServiceResmgr.
func (m *Manager) Service() http.Handler {
	mux, all := http.NewServeMux(), &turns{of: make(map[wire.HostID]int)}
	mux.Handle("POST /v1/hello", message(m, all, "hello", func(r *http.Request, p Peer, in *wire.Hello) (any, error) {
		return m.Hello(p, in)
	}))
	mux.Handle("POST /v1/report", message(m, all, "report", func(r *http.Request, p Peer, in *wire.Report) (any, error) {
		return m.Report(p, in)
	}))
	mux.Handle("POST /v1/events", message(m, all, "events", func(r *http.Request, p Peer, in *wire.Events) (any, error) {
		return m.Events(r.Context(), p, in)
	}))
	return mux
}

// message decodes a message, gives it to do with who sent it, and encodes the
// answer.
func message[T any](m *Manager, all *turns, name string, do func(*http.Request, Peer, *T) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		var out any
		p, ok := m.cfg.PeerOf(r.Context())
		err := refuse(http.StatusForbidden, "not from a tunnel")
		if ok && !all.enter(p.Host) {
			err = refuse(http.StatusTooManyRequests, "more than %d messages at once", maxAtOnce)
		} else if ok {
			defer all.leave(p.Host)
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

// What one host may take of the memory that is everybody's: an empty element of three
// bytes becomes a resource of 200.
const (
	maxElements = 100_000 // of all lists of one message
	maxAtOnce   = 4       // messages of one host; others are refused, for agents send one after the other
)

// elements counts those of the lists that a message consists of, from their commas:
// what is deeper stays text.
func elements(message []byte) (n int) {
	depth, inString := 0, false
	for i := 0; i < len(message); i++ {
		switch c := message[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth == 2:
			n++
		}
	}
	return n
}

// turns counts the messages that are read and dealt with, by host.
type turns struct {
	mu sync.Mutex // guards of
	of map[wire.HostID]int
}

// enter is false if the host has too many already. Else it leaves.
func (t *turns) enter(host wire.HostID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[host] >= maxAtOnce {
		return false
	}
	t.of[host]++
	return true
}

func (t *turns) leave(host wire.HostID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[host]--; t.of[host] == 0 {
		delete(t.of, host)
	}
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
	text, err := io.ReadAll(body)
	if err == nil && elements(text) > maxElements {
		return refuse(http.StatusRequestEntityTooLarge, "message has more than %d elements", maxElements)
	}
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, "message has more than %d bytes", large.Limit)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "decode message: %w", err)
	}
	return nil
}
