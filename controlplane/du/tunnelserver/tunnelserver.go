// Package tunnelserver accepts the tunnels of a deployment unit's hosts and
// gateways, knows who holds one, offers services to them and dials back.
//
// It believes the client certificate only, through a function that package du
// gives it, and answers a refusal in words before the protocol is upgraded, so
// that a host can say why it is not connected. A host has one session: the
// newest wins. Everything above a stream is ordinary HTTP and not this
// package's business.
package tunnelserver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
)

// Peer is who holds a tunnel. It comes from the certificate.
type Peer struct {
	Host      wire.HostID
	Kind      string // "host" or "gateway"
	Session   uint64 // grows with each session; never 0
	Address   string // where the tunnel comes from
	Serial    string // of the certificate
	NotBefore time.Time
	NotAfter  time.Time // the session ends then
}

// Limits bound what tunnels may cost. Zero fields mean the default.
type Limits struct {
	Sessions  int // at once; 20,000
	PerSecond int // attempts, with as many again at once; 250
}

// Config is what a Server needs. Verify is required.
type Config struct {
	// Verify says who presents these certificates, leaf first, or in words
	// for the host's administrator why they are refused. It may be none.
	Verify func(ctx context.Context, chain []*x509.Certificate) (Peer, error)
	// Refused is told of each refused tunnel or stream, for the audit.
	Refused func(address string, host wire.HostID, what string, err error)
	// Connected is told of each session before any of its streams is served,
	// Disconnected of its end.
	Connected    func(Peer)
	Disconnected func(Peer, string)
	Limits       Limits
	// Keepalive is the silence after which a peer is asked for a sign of
	// life; after two of them without a byte the session ends. 0: 15 s.
	Keepalive time.Duration
	Log       *slog.Logger // nil: discard
}

// Server accepts tunnels. Make one with New.
type Server struct {
	cfg      Config
	log      *slog.Logger
	services *tunnel.Services
	offers   []offer // before Run
	limit    *bucket
	metrics  *metrics
	wg       sync.WaitGroup // one per registered session

	mu       sync.Mutex // guards the fields below
	draining bool
	last     uint64 // session number
	sessions map[wire.HostID]*session
	count    int // of all sessions that have not ended, replaced ones too
}

// A session is a tunnel's and its owner's, carried as the tunnel's peer.
type session struct {
	peer  Peer
	ready chan struct{} // closed when Connected has returned
	t     *tunnel.Session
}

// New makes a server that accepts nothing until its ServeHTTP is called, and
// serves no service until Run.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Keepalive == 0 {
		cfg.Keepalive = 15 * time.Second
	}
	if cfg.Limits.Sessions == 0 {
		cfg.Limits.Sessions = 20_000
	}
	if cfg.Limits.PerSecond == 0 {
		cfg.Limits.PerSecond = 250
	}
	if cfg.Refused == nil {
		cfg.Refused = func(string, wire.HostID, string, error) {}
	}
	if cfg.Connected == nil {
		cfg.Connected = func(Peer) {}
	}
	if cfg.Disconnected == nil {
		cfg.Disconnected = func(Peer, string) {}
	}
	return &Server{
		cfg: cfg, log: cfg.Log,
		services: tunnel.NewServices(),
		limit:    newBucket(cfg.Limits.PerSecond),
		metrics:  newMetrics(),
		sessions: map[wire.HostID]*session{},
	}
}

// An offer is a service that hosts may use.
type offer struct {
	listener net.Listener
	handler  http.Handler
}

// Handle offers a service to the hosts. Call it before Run; what hosts ask
// before that waits.
func (s *Server) Handle(service string, h http.Handler) error {
	l, err := s.services.Listen(service)
	if err != nil {
		return err
	}
	s.offers = append(s.offers, offer{l, h})
	return nil
}

type peerKey struct{}

// PeerOf returns who made a request that came through a tunnel.
func PeerOf(ctx context.Context) (Peer, bool) {
	ss, ok := ctx.Value(peerKey{}).(*session)
	if !ok {
		return Peer{}, false
	}
	return ss.peer, true
}

// acceptors is how many goroutines take streams of a service, so that they
// get their turn among the thousands of a mass reconnect.
const acceptors = 4

// Run serves the services until ctx ends. Then it asks the hosts to go and
// waits for their sessions to end, for drainFor at most.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var servers sync.WaitGroup
	var running []*http.Server
	fail := make(chan error, len(s.offers)*acceptors)
	for _, o := range s.offers {
		srv := &http.Server{
			Handler:           whenReady(o.handler),
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       60 * time.Second,
			WriteTimeout:      60 * time.Second,
			IdleTimeout:       5 * time.Second, // an idle host holds no stream
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
			ConnContext:       connContext,
		}
		running = append(running, srv)
		for range acceptors {
			servers.Go(func() {
				if err := srv.Serve(o.listener); !errors.Is(err, http.ErrServerClosed) {
					fail <- fmt.Errorf("serve %s: %w", o.listener.Addr(), err)
				}
			})
		}
	}
	servers.Go(func() { s.expire(ctx) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-fail:
	}
	s.drain()
	for _, srv := range running {
		_ = srv.Close()
	}
	stop()
	servers.Wait()
	return err
}

func connContext(ctx context.Context, c net.Conn) context.Context {
	st, ok := c.(*tunnel.Stream)
	if !ok {
		return ctx
	}
	ss, ok := st.Session().Peer().(*session)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, ss)
}

// whenReady holds requests back until Connected knows of their session.
func whenReady(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ss, ok := r.Context().Value(peerKey{}).(*session); ok {
			select {
			case <-ss.ready:
			case <-r.Context().Done():
			}
		}
		h.ServeHTTP(w, r)
	})
}

const shuttingDown = "the control plane is shutting down"

// drainFor is how long sessions have to end by themselves.
const drainFor = time.Second

// drain tells all peers to go elsewhere, then ends what is left, and waits.
func (s *Server) drain() {
	s.mu.Lock()
	s.draining = true
	all := make([]*session, 0, len(s.sessions))
	for _, ss := range s.sessions {
		all = append(all, ss)
	}
	s.mu.Unlock()
	for _, ss := range all {
		ss.t.Drain(time.Second, "")
	}
	ended := make(chan struct{})
	go func() { // ends with the sessions, which are all closed below
		s.wg.Wait()
		close(ended)
	}()
	timer := time.NewTimer(drainFor)
	defer timer.Stop()
	select {
	case <-ended:
		return
	case <-timer.C:
	}
	for _, ss := range all {
		_ = ss.t.Close(shuttingDown)
	}
	<-ended
}

// Dial opens a stream to a service of a connected host.
func (s *Server) Dial(ctx context.Context, host wire.HostID, service string) (net.Conn, error) {
	s.mu.Lock()
	ss := s.sessions[host]
	s.mu.Unlock()
	if ss == nil {
		return nil, fmt.Errorf("host %s is not connected: %w", host, fs.ErrNotExist)
	}
	return ss.t.Dial(ctx, service)
}

// Kick ends a host's session and says whether there was one.
func (s *Server) Kick(host wire.HostID, reason string) bool {
	s.mu.Lock()
	ss := s.sessions[host]
	s.mu.Unlock()
	if ss == nil {
		return false
	}
	_ = ss.t.Close(reason)
	return true
}

// Sessions returns how many hosts are connected.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}
