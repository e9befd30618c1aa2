package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// maxBody bounds the body of a request to a route in bytes.
const maxBody = 1 << 20

// ReadJSON decodes the body strictly: an unknown field, a second value or a
// body of more than 1 MiB is refused with status 400 or 413.
func ReadJSON(r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return tooLarge
		}
		if errors.Is(err, io.EOF) {
			return Errorf(http.StatusBadRequest, "the request has no body; want a JSON document")
		}
		return Errorf(http.StatusBadRequest, "the body is not the JSON that is wanted: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Errorf(http.StatusBadRequest, "the body has more after the JSON document")
	}
	return nil
}

// An Appender writes its own JSON, valid and compact, at the end of b. Large
// documents have it, for the time and the garbage that it saves.
type Appender interface{ AppendJSON(b []byte) []byte }

// buffers of answers; one that has grown beyond keepBuffer is not kept.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const keepBuffer = 1 << 20

// WriteJSON answers with a document.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	buf := buffers.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= keepBuffer {
			buffers.Put(buf)
		}
	}()
	if a, ok := v.(Appender); ok {
		*buf = a.AppendJSON((*buf)[:0])
	} else if b, err := json.Marshal(v); err != nil {
		return err
	} else {
		*buf = append((*buf)[:0], b...)
	}
	*buf = append(*buf, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(*buf)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(*buf) // the client may be gone
	return nil
}
