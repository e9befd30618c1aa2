package tunnelserver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/tunnel"
)

// ServeHTTP accepts a tunnel, or refuses it in words.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if no := s.accept(w, r); no != nil {
		httpapi.WriteError(w, no)
	}
}

// accept upgrades the request and keeps the session.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) *httpapi.Error {
	if wait := s.limit.take(time.Now()); wait > 0 {
		return s.busy("too many tunnels are being opened", wait)
	}
	var chain []*x509.Certificate
	if r.TLS != nil {
		chain = r.TLS.PeerCertificates
	}
	peer, err := s.cfg.Verify(r.Context(), chain)
	if err != nil {
		s.metrics.refused.WithLabelValues("certificate").Inc()
		s.cfg.Refused(r.RemoteAddr, peer.Host, "tunnel", err)
		return httpapi.Errorf(http.StatusForbidden, "%s", err)
	}
	ss := &session{ready: make(chan struct{})}
	s.mu.Lock()
	switch {
	case s.draining:
		s.mu.Unlock()
		return s.busy(shuttingDown, 2*time.Second)
	case s.count >= s.cfg.Limits.Sessions:
		s.mu.Unlock()
		return s.busy(fmt.Sprintf("%d tunnels are open, no more are accepted", s.cfg.Limits.Sessions), time.Minute)
	}
	s.last++
	peer.Session = s.last
	s.count++
	s.wg.Add(1) // until ended, or not upgraded; under the lock, so that drain does not miss it
	s.mu.Unlock()
	peer.Address = r.RemoteAddr
	ss.peer = peer
	ss.t, err = tunnel.Upgrade(w, r, tunnel.Config{
		Services:  s.services,
		Allow:     nil, // every host may use all that are listened for: resmgr and certrepo
		Refused:   s.streamRefused,
		Ended:     s.ended,
		Peer:      ss,
		Keepalive: s.cfg.Keepalive,
		Log:       s.log,
	})
	if err != nil { // Upgrade has answered
		s.mu.Lock()
		s.count--
		s.mu.Unlock()
		s.wg.Done()
		s.metrics.refused.WithLabelValues("upgrade").Inc()
		s.log.Debug("tunnel not upgraded", "host", peer.Host, "err", err)
		return nil
	}
	s.metrics.accepted.Inc()
	s.register(ss)
	// A revocation that came since the first look has kicked the host before
	// it was there to be kicked.
	if _, err := s.cfg.Verify(context.WithoutCancel(r.Context()), chain); err != nil {
		_ = ss.t.Close(err.Error())
	}
	return nil
}

// register makes the session its host's and ends the one before. A session
// costs no goroutine of ours: tunnel tells of its end.
func (s *Server) register(ss *session) {
	s.mu.Lock()
	old := s.sessions[ss.peer.Host]
	if old == nil || old.peer.Session < ss.peer.Session {
		s.sessions[ss.peer.Host] = ss
	} else { // a newer one has overtaken us
		old = ss
	}
	draining := s.draining
	s.mu.Unlock()
	s.cfg.Connected(ss.peer)
	close(ss.ready)
	s.log.Info("host connected", "host", ss.peer.Host, "session", ss.peer.Session, "address", ss.peer.Address)
	if old != nil {
		_ = old.t.Close("replaced by a newer session")
	}
	if draining {
		_ = ss.t.Close(shuttingDown)
	}
}

// ended cleans up behind a session.
func (s *Server) ended(t *tunnel.Session) {
	ss, ok := t.Peer().(*session)
	if !ok {
		return
	}
	<-ss.ready // register comes first, however short the session
	defer s.wg.Done()
	reason, st := why(t.Err()), t.Stats()
	s.metrics.bytes.WithLabelValues("received").Add(float64(st.Received))
	s.metrics.bytes.WithLabelValues("sent").Add(float64(st.Sent))
	s.mu.Lock()
	s.count--
	if s.sessions[ss.peer.Host] == ss {
		delete(s.sessions, ss.peer.Host)
	}
	s.mu.Unlock()
	s.cfg.Disconnected(ss.peer, reason)
	s.log.Info("host disconnected", "host", ss.peer.Host, "session", ss.peer.Session, "reason", reason)
}

// expire ends sessions whose certificates have expired, until ctx ends.
func (s *Server) expire(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var over []*session
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.mu.Lock()
			for _, ss := range s.sessions {
				if end := ss.peer.NotAfter; !end.IsZero() && now.After(end) {
					over = append(over, ss)
				}
			}
			s.mu.Unlock()
		}
		for _, ss := range over {
			_ = ss.t.Close("the host's certificate has expired")
		}
	}
}

// why puts the end of a session in words.
func why(err error) string {
	ce, ok := errors.AsType[*tunnel.CloseError](err)
	switch {
	case err == nil:
		return "closed"
	case ok && ce.Remote:
		return "closed by the agent: " + ce.Reason
	default:
		return err.Error()
	}
}

func (s *Server) streamRefused(t *tunnel.Session, service string, err error) {
	s.metrics.refused.WithLabelValues("stream").Inc()
	if ss, ok := t.Peer().(*session); ok {
		s.cfg.Refused(ss.peer.Address, ss.peer.Host, "service "+strconv.Quote(clip(service)), err)
	}
}

func clip(s string) string { return s[:min(len(s), 64)] }

// busy asks the host to come again, each at another time.
func (s *Server) busy(text string, after time.Duration) *httpapi.Error {
	s.metrics.refused.WithLabelValues("busy").Inc()
	return &httpapi.Error{Status: http.StatusServiceUnavailable, Message: text, RetryAfter: after + rand.N(after+time.Second)}
}

// A bucket lets through so many a second, and as many again at once.
type bucket struct {
	mu    sync.Mutex // guards the fields below
	rate  float64
	has   float64
	asked time.Time
}

func newBucket(perSecond int) *bucket {
	return &bucket{rate: float64(perSecond), has: float64(perSecond)}
}

// take returns 0, or how long to wait.
func (b *bucket) take(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.asked.IsZero() {
		b.has = min(b.rate, b.has+b.rate*now.Sub(b.asked).Seconds())
	}
	b.asked = now
	if b.has < 1 {
		return time.Duration(float64(time.Second) * max(1, (1-b.has)/b.rate))
	}
	b.has--
	return 0
}
