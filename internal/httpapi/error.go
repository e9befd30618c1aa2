package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"time"
)

// Error is an error with the status and the words that the client shall see.
// Err, if set, is for the log only.
type Error struct {
	Status     int
	Message    string
	RetryAfter time.Duration // 0: not said
	Err        error
}

// Error returns what the log shall say.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Err)
	}
	return e.Message
}

// Unwrap returns the cause that only the log sees.
func (e *Error) Unwrap() error { return e.Err }

// StatusCode is the HTTP status. An error of any package that has this method
// is answered with its own text and that status.
func (e *Error) StatusCode() int { return e.Status }

// Errorf returns an error that the client sees.
func Errorf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// Problem is the body of every error answer: RFC 9457, and "message", which
// clients of the older interface read.
type Problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Message string `json:"message"`
}

// describe maps an error to what the client sees.
func describe(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if s, ok := errors.AsType[interface {
		error
		StatusCode() int
	}](err); ok && s.StatusCode() >= 400 {
		return &Error{Status: s.StatusCode(), Message: s.Error(), Err: err}
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return Errorf(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", e.Limit)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Status: http.StatusNotFound, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Status: http.StatusGatewayTimeout, Message: "the answer took too long", Err: err}
	}
	return &Error{Status: http.StatusInternalServerError, Message: "internal error; the log of the server has more", Err: err}
}

// WriteError answers with a problem document. It returns what it wrote.
func WriteError(w http.ResponseWriter, err error) *Error {
	e := describe(err)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(Problem{ // the client may be gone
		Type: "about:blank", Title: http.StatusText(e.Status), Status: e.Status, Detail: e.Message, Message: e.Message,
	})
	return e
}
