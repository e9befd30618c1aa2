package netcause

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
)

// A Delivery tells of an HTTP request that was not answered whether it can have
// reached the other end. The zero value is for one request.
type Delivery struct{ begun atomic.Bool }

// Watch returns a context to make the request with.
func (d *Delivery) Watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { d.begun.Store(true) }, // right before the request is written to it
	})
}

// Begun says whether there was a connection to write the request to.
func (d *Delivery) Begun() bool { return d.begun.Load() }
