package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Event is one event of a watch; Type is one of the constants of package api.
type Event struct {
	Type string
	ID   string // where the watch may be resumed; empty: nowhere yet
	Data []byte // JSON, valid until the next event
}

const (
	maxEvent   = 4 << 20          // bytes of one event
	watchQuiet = 50 * time.Second // without a byte, after which the watch is tried again
	watchAgain = time.Second      // between tries
)

// Watch follows changes until ctx ends or the deployment unit refuses, calling
// each from one goroutine. query is the API's: host, kind. After an
// interruption it resumes where it was; if that is no longer possible the
// server sends api.Reset and everything again. lost, if not nil, is told of
// each interruption.
func (c *Client) Watch(ctx context.Context, query url.Values, each func(Event), lost func(error)) error {
	last := ""
	for {
		err := c.watchOnce(ctx, query, &last, each)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if refusal, ok := errors.AsType[*Error](err); ok && refusal.Status < 500 {
			return err
		}
		if lost != nil {
			lost(err)
		}
		again := time.NewTimer(watchAgain)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		}
	}
}

func (c *Client) watchOnce(ctx context.Context, query url.Values, last *string, each func(Event)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(watchQuiet, func() { cancel(errors.New("nothing heard from the deployment unit")) })
	defer quiet.Stop()
	header := http.Header{"Accept": {"text/event-stream"}}
	if *last != "" {
		header.Set("Last-Event-ID", *last)
	}
	resp, err := c.send(ctx, http.MethodGet, "/api/v1/watch", query, nil, header)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return ReadEvents(&alive{resp.Body, quiet}, func(e Event) {
		if e.ID != "" {
			*last = e.ID
		}
		each(e)
	})
}

// alive puts the timer off with each read.
type alive struct {
	r     io.Reader
	quiet *time.Timer
}

func (a *alive) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	a.quiet.Reset(watchQuiet)
	return n, err
}

// ReadEvents reads server-sent events (text/event-stream, as the HTML standard
// describes it) until r ends, which is an error: a watch has no end.
func ReadEvents(r io.Reader, each func(Event)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	var e Event
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if len(e.Data) > 0 {
				each(e)
			}
			e = Event{Data: e.Data[:0]}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.Type = string(value)
		case "id":
			e.ID = string(value)
		case "data":
			if len(e.Data) > 0 {
				e.Data = append(e.Data, '\n')
			}
			if len(e.Data)+len(value) > maxEvent {
				return fmt.Errorf("event of more than %d bytes", maxEvent)
			}
			e.Data = append(e.Data, value...)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
