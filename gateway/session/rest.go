package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vim25/soap"

	"github.com/openpf9/openpf9/internal/netcause"
)

const (
	restLimit = 2 * time.Minute // for all that is asked at once
	restIdle  = time.Hour       // after which vCenter ends a REST session at the latest
)

// ErrNoREST says that a vCenter has no REST interface.
var ErrNoREST = errors.New("it has no REST interface")

// restState is what is known of the sessions on vCenter's REST interface, of which
// there is one at most. Whoever holds its place in the gate has it.
type restState struct {
	gate    chan struct{}
	left    string    // id of a session that has begun and has not been ended
	lost    time.Time // of a login whose answer never came: its session has no id, and nobody can end it
	refused refusal   // REST may refuse what SOAP takes
}

// REST lets f ask vCenter's REST interface, which has sessions of its own: this
// one begins and ends here. One that cannot be ended, because the connection broke,
// is ended before the next begins. The shared session must be logged in.
func (s *Session) REST(ctx context.Context, f func(context.Context, *rest.Client) error) error {
	err := s.withREST(ctx, f)
	if err != nil {
		return fmt.Errorf("vCenter %s by REST: %w", s.opts.Name, err)
	}
	return nil
}

func (s *Session) withREST(ctx context.Context, f func(context.Context, *rest.Client) error) error {
	l, err := s.live()
	if l == nil && err == nil {
		err = errors.New("there is no session")
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, restLimit)
	defer cancel()
	select {
	case s.rest.gate <- struct{}{}:
		defer func() { <-s.rest.gate }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c, sent := s.restClient()
	if err := s.endREST(c); err != nil {
		return fmt.Errorf("end the session before: %w", err)
	}
	a, err := s.opts.Account()
	if err == nil {
		err = s.rest.refused.check(s.opts.Name, a, s.now())
	}
	if err == nil {
		err = s.loginREST(ctx, c, a, sent)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err := s.endREST(c); err != nil {
			s.log.Debug("a REST session is ended later", "vcenter", s.opts.Name, "err", err)
		}
	}()
	return f(ctx, c)
}

// restClient makes a client, and what it notes of its last request.
func (s *Session) restClient() (*rest.Client, *lastRequest) {
	sc := soap.NewClient(s.URL(), false)
	sc.UserAgent = s.agent("discovery")
	last := &lastRequest{next: replyLimit{s.transport}, sent: new(netcause.Delivery)} // which checks the certificate
	c := &rest.Client{Client: sc.NewServiceClient(rest.Path, "")}
	c.Client.Client.Transport = last
	return c, last
}

// loginREST begins a session, but not beside one that may be left of a login whose
// answer was lost.
func (s *Session) loginREST(ctx context.Context, c *rest.Client, a Account, last *lastRequest) error {
	if again := s.rest.lost.Add(s.opts.RESTIdle); s.now().Before(again) {
		return fmt.Errorf("the answer to the last login was lost, and its session ends by itself: the next login is at %s",
			again.UTC().Format(time.TimeOnly+" MST"))
	}
	err := c.Login(ctx, url.UserPassword(a.User, a.Password))
	switch {
	case err == nil:
		s.rest.left, s.rest.lost = c.SessionID(), time.Time{}
		return nil
	case rest.IsStatusError(err, http.StatusUnauthorized):
		_ = s.rest.refused.set(a, s.now(), err) // it has no file
	case rest.IsStatusError(err, http.StatusNotFound):
		return ErrNoREST
	case last.sent.Begun() && last.status < http.StatusMultipleChoices:
		s.rest.lost = s.now()
	}
	return fmt.Errorf("log in as %s: %w", a.User, err)
}

// endREST ends the session that is there, if any.
func (s *Session) endREST(c *rest.Client) error {
	if s.rest.left == "" {
		return nil
	}
	c.SessionID(s.rest.left)
	ctx, cancel := context.WithTimeout(context.Background(), logoutLimit)
	defer cancel()
	err := c.Logout(ctx)
	if err == nil || rest.IsStatusError(err, http.StatusUnauthorized) || rest.IsStatusError(err, http.StatusNotFound) {
		s.rest.left = ""
		c.SessionID("")
		return nil
	}
	return err
}

// leaveREST ends what is left when nobody asks any more.
func (s *Session) leaveREST() {
	select {
	case s.rest.gate <- struct{}{}:
		defer func() { <-s.rest.gate }()
	default:
		return // whoever is there ends it
	}
	c, _ := s.restClient()
	if err := s.endREST(c); err != nil {
		s.log.Warn("a REST session is left behind on vCenter", "vcenter", s.opts.Name, "err", err)
	}
}

// lastRequest notes whether the last request may have been sent, for there was a
// connection, and the status of its answer; zero: there was none.
type lastRequest struct {
	next   http.RoundTripper
	sent   *netcause.Delivery
	status int
}

// RoundTrip passes a request on.
func (l *lastRequest) RoundTrip(r *http.Request) (*http.Response, error) {
	l.sent, l.status = new(netcause.Delivery), 0
	res, err := l.next.RoundTrip(r.WithContext(l.sent.Watch(r.Context())))
	if err == nil {
		l.status = res.StatusCode
	}
	return res, err
}
