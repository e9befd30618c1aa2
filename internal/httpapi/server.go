package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Options are what a table of routes is served with.
type Options struct {
	Title, Version string // of the API, for its document
	// Authenticate says who a request comes from. It is called for every route
	// that is not open; an error of it is answered with status 401.
	Authenticate func(*http.Request) (Caller, error)
	// Audit records the calls of audited routes and all refusals; may be nil.
	Audit func(context.Context, Call)
	Log   *slog.Logger // nil discards
}

// Call is one audited request.
type Call struct {
	Caller Caller
	Action string // the route's Audit
	Object string // the path, or what SetObject says
	Status int
	Err    error // nil: done
}

// DocumentPath is where New serves the OpenAPI document, to anybody.
const DocumentPath = "/api/v1/openapi.json"

// New serves a table of routes. It panics when two rows contradict, which is a
// mistake in the program.
func New(routes []Route, o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	routes = append(slices.Clone(routes), Route{
		Pattern: "GET " + DocumentPath, Summary: "This document.", Response: map[string]any{},
	})
	document := Document(o.Title, o.Version, routes)
	routes[len(routes)-1].Do = func(w http.ResponseWriter, _ *http.Request) error {
		return WriteJSON(w, http.StatusOK, document)
	}
	mux := http.NewServeMux()
	for _, route := range routes {
		mux.Handle(route.Pattern, &handler{route: route, options: o})
	}
	return &root{mux}
}

// root answers what no route matches in our form.
type root struct{ mux *http.ServeMux }

func (h *root) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, pattern := h.mux.Handler(r); pattern != "" {
		h.mux.ServeHTTP(w, r)
		return
	}
	// The mux knows whether it is the path or the method that fits nothing.
	probe := &statusOnly{header: make(http.Header)}
	h.mux.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.header.Get("Allow"))
		WriteError(w, Errorf(http.StatusMethodNotAllowed, "%s is not possible here; %s is", r.Method, probe.header.Get("Allow")))
		return
	}
	WriteError(w, Errorf(http.StatusNotFound, "nothing is at %s; %s describes what is where", r.URL.Path, DocumentPath))
}

type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }

// handler serves one route.
type handler struct {
	route   Route
	options Options
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	out := &recorder{ResponseWriter: w}
	caller, object := Caller{Name: "anonymous", Remote: remoteOf(r)}, r.URL.Path
	err := h.admit(r, &caller)
	refused := err != nil
	if err == nil {
		r = r.WithContext(context.WithValue(WithCaller(r.Context(), caller), objectKey{}, &object))
		err = h.do(out, r)
	}
	if err != nil {
		if out.status == 0 {
			WriteError(out, err)
		}
		if out.status >= 500 {
			h.options.Log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "status", out.status, "caller", caller.Name, "err", err)
		}
	}
	if h.options.Audit != nil && (h.route.Audit != "" || refused && out.status != http.StatusBadRequest) {
		action := h.route.Audit
		if action == "" {
			action = "api.refused"
		}
		h.options.Audit(r.Context(), Call{Caller: caller, Action: action, Object: object, Status: out.status, Err: err})
	}
	h.options.Log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", out.status, "caller", caller.Name, "took", time.Since(began))
}

// admit checks who calls and with which parameters.
func (h *handler) admit(r *http.Request, caller *Caller) error {
	if h.route.Access > Open {
		if h.options.Authenticate == nil {
			return Errorf(http.StatusForbidden, "nobody may call this here")
		}
		c, err := h.options.Authenticate(r)
		if err != nil {
			return &Error{Status: http.StatusUnauthorized, Message: err.Error()}
		}
		remote := caller.Remote
		*caller = c
		caller.Remote = remote
		if c.Access < h.route.Access {
			return Errorf(http.StatusForbidden, "this needs the level %s; the token %q has %s", h.route.Access, c.Name, c.Access)
		}
	}
	for name := range r.URL.Query() {
		if !slices.ContainsFunc(h.route.Query, func(p Param) bool { return p.Name == name }) {
			return Errorf(http.StatusBadRequest, "there is no parameter %q here; there are: %s", name, strings.Join(names(h.route.Query), ", "))
		}
	}
	return nil
}

func names(params []Param) []string {
	out := make([]string, 0, len(params))
	for _, p := range params {
		out = append(out, p.Name)
	}
	if len(out) == 0 {
		return []string{"none"}
	}
	return out
}

// do calls the route's function; a panic of it is an error like others.
func (h *handler) do(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return h.route.Do(w, r)
}

func remoteOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// recorder remembers the status. It passes everything else through.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what is below.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
