package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	eventDeadline  = 20 * time.Second // for one write; a slower reader is cut
	eventKeepAlive = 15 * time.Second // between comments while nothing happens
)

// EventStream writes server-sent events (text/event-stream, as the HTML
// standard describes it). A reader that does not take an event within 20 s is
// cut. Its methods may be called from several goroutines.
type EventStream struct {
	mu sync.Mutex // guards the writing
	w  http.ResponseWriter
	rc *http.ResponseController
}

// NewEventStream begins the answer.
func NewEventStream(w http.ResponseWriter) (*EventStream, error) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies must not gather
	s := &EventStream{w: w, rc: http.NewResponseController(w)}
	w.WriteHeader(http.StatusOK)
	return s, s.write(nil)
}

// Send writes one event. An empty id leaves the reader's position as it is.
func (s *EventStream) Send(event, id string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	var out []byte
	if id != "" {
		out = fmt.Appendf(out, "id: %s\n", id)
	}
	out = fmt.Appendf(out, "event: %s\ndata: %s\n\n", event, b)
	return s.write(out)
}

// KeepAlive writes a comment now and then until ctx ends or the reader is gone.
func (s *EventStream) KeepAlive(ctx context.Context) error {
	tick := time.NewTicker(eventKeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := s.write([]byte(": still here\n\n")); err != nil {
				return err
			}
		}
	}
}

func (s *EventStream) write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.rc.SetWriteDeadline(time.Now().Add(eventDeadline)); err != nil {
		return err
	}
	if len(b) > 0 {
		if _, err := s.w.Write(b); err != nil {
			return err
		}
	}
	return s.rc.Flush()
}
