// Package httpapi turns functions that return errors into JSON handlers.
//
// An API is a table of [Route]s: path, who may call, what goes in and out. The
// table is served, checked for access, logged and described (OpenAPI) from the
// same rows, so that what is documented is what runs. Errors leave as RFC 9457
// problem documents that also carry "message", the field's older name for it.
package httpapi

import (
	"context"
	"net/http"
)

// Access is who may call a route. Each level includes those before it.
type Access int

// The levels of access.
const (
	Open     Access = iota // anybody
	Reader                 // may look
	Operator               // may act on hosts
	Admin                  // may grant access
)

// String returns the level's name in tokens, documents and audit entries.
func (a Access) String() string {
	return [...]string{"open", "reader", "operator", "admin"}[a]
}

// Route is one row of an API's table.
type Route struct {
	// Pattern is as in [http.ServeMux], with a method: "GET /v1/hosts/{id}".
	Pattern string
	Access  Access
	// Summary is one line for the OpenAPI document.
	Summary string
	// Query documents the query parameters. A parameter that is not named
	// here is refused with status 400.
	Query []Param
	// Headers documents the request headers that the route reads.
	Headers []Param
	// Request and Response are samples of the JSON bodies, for the document;
	// nil means no body.
	Request, Response any
	// Stream is the media type of a response that is not JSON, such as
	// "text/event-stream".
	Stream string
	// Audit, if set, names the action in the audit log: every call of the
	// route is recorded with its outcome.
	Audit string
	// Do answers the request: it writes the response itself and returns nil,
	// or writes nothing and returns an error.
	Do func(w http.ResponseWriter, r *http.Request) error
}

// Param documents one query parameter or header.
type Param struct{ Name, Summary string }

// Caller is who a request comes from.
type Caller struct {
	Name   string // of the API token
	Access Access
	Remote string // address
}

type callerKey struct{}

// WithCaller and CallerOf carry the caller in a request's context.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns the caller that the server put into the context; the zero
// Caller where there is none.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

type objectKey struct{}

// SetObject says in the audit what the request is about, for a route whose path
// does not.
func SetObject(ctx context.Context, object string) {
	if o, ok := ctx.Value(objectKey{}).(*string); ok {
		*o = object
	}
}
