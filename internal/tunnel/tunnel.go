// Package tunnel carries many streams over one outbound WebSocket. It gives
// both ends Dial, which opens a stream to a named service of the far side, and
// a net.Listener for each service that this side offers; everything above it is
// ordinary HTTP or TCP. It is the only package that knows WebSocket.
//
// A message is a run of frames: control frames first, then at most one frame of
// data. A frame is eight bytes of header (stream, type, length) and a body. The
// protocol is described in docs/tunnel.md. What shapes it:
//
//   - Nobody waits for anybody else's data. A stream has a window of its own,
//     there is none for the session, and the goroutine that reads the
//     connection never writes and never waits for a consumer.
//   - Control frames and small data ride in front of the next large frame, and
//     what is under way is bounded to what the path holds, so that a ping
//     beside a bulk transfer waits for a fraction of a millisecond, not for
//     the buffers of two kernels.
//   - Opening a stream waits for no answer; a refusal resets that stream only.
//   - A session ends with a reason that reaches both ends.
//   - An idle session is one goroutine and a timer.
//
// The package does not say who the far side is; that is TLS's and the caller's
// to find out before Upgrade, and is carried as Config.Peer.
package tunnel

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Subprotocol is the WebSocket subprotocol, and the version of this protocol.
const Subprotocol = "pf9.tunnel.1"

// Class says what a stream's data is, for the order in which streams share the
// connection. It is given at Dial and holds for both directions.
type Class uint8

// The classes. Control goes first; of the others interactive gets eight parts,
// normal four and bulk one while they compete.
const (
	Normal Class = iota
	Control
	Interactive
	Bulk
	classes
)

// Sizes in bytes.
const (
	maxFrame      = 64 << 10  // body of a data frame
	smallFrame    = 4 << 10   // data that rides with control frames
	firstWindow   = 64 << 10  // of every stream, each way, before any credit
	startWindow   = 256 << 10 // once a stream's data is consumed at all
	maxWindow     = 16 << 20  // of one stream
	sessionBudget = 32 << 20  // of all windows that grew, per session
	maxControl    = 256 << 10 // control frames waiting to be written; beyond, the far side does not read
	maxSmall      = 64 << 10  // small data among them
	maxService    = 255       // of a service's name
	maxReason     = 1024      // of a reason's text
)

const (
	defaultKeepalive  = 20 * time.Second
	defaultMaxStreams = 1024
	closeLinger       = time.Second            // for the last message to leave
	soon              = 500 * time.Microsecond // how long frames that can wait do wait for company
)

// Config is what both ends of a session have to say. The zero value lets the
// far side dial nothing.
type Config struct {
	// Services are what the far side may dial; nil: nothing.
	Services *Services
	// Allow refuses a stream to a service before it reaches the listener; nil
	// allows all. The error's text goes to the far side. It must not block.
	Allow func(s *Session, service string) error
	// Refused is told of every refused stream, for the audit; may be nil. It
	// must not block.
	Refused func(s *Session, service string, err error)
	// Ended is told of the session's end, once, in a goroutine of its own; may
	// be nil. It spares a server with thousands of sessions as many goroutines
	// that wait for Done.
	Ended func(s *Session)
	// Peer is who the far side is, for Session.Peer.
	Peer any
	// Keepalive is the silence after which the far side is asked for a sign of
	// life; after twice as long without a byte the session is over. 0: 20 s.
	Keepalive time.Duration
	// MaxStreams bounds the streams that the far side may have open at once;
	// one more is refused. 0: 1,024.
	MaxStreams int
	Log        *slog.Logger // nil discards
}

func (c Config) withDefaults() Config {
	if c.Services == nil {
		c.Services = NewServices()
	}
	if c.Keepalive <= 0 {
		c.Keepalive = defaultKeepalive
	}
	if c.MaxStreams <= 0 {
		c.MaxStreams = defaultMaxStreams
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// CloseError is why a session is over.
type CloseError struct {
	Reason string
	Remote bool  // the far side said so
	Err    error // of the network, if it was that
}

// Error says who ended the session and why.
func (e *CloseError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("%s: %v", e.Reason, e.Err)
	case e.Remote:
		return "closed by the far side: " + e.Reason
	}
	return e.Reason
}

// Unwrap returns the network's error.
func (e *CloseError) Unwrap() error { return e.Err }

// StreamError is why a stream was reset.
type StreamError struct {
	Service string
	Reason  string
	Remote  bool
}

// Error says which stream and why.
func (e *StreamError) Error() string {
	if e.Remote {
		return fmt.Sprintf("stream to %s refused or reset by the far side: %s", e.Service, e.Reason)
	}
	return fmt.Sprintf("stream to %s: %s", e.Service, e.Reason)
}

var errProtocol = errors.New("protocol error")

// spread returns d give or take a fifth, so that sessions do not march in step.
func spread(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5+1)
}
