package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/vmware/govmomi/vapi/rest"
)

const restLimit = 2 * time.Minute // for all that is asked at once

// REST lets f ask vCenter's REST interface, which has sessions of its own: this
// one begins and ends here, so that none grows old or is left behind. The shared
// session must be logged in.
func (s *Session) REST(ctx context.Context, f func(context.Context, *rest.Client) error) error {
	l, err := s.live()
	if l == nil && err == nil {
		err = errors.New("there is no session")
	}
	if err != nil {
		return fmt.Errorf("vCenter %s: %w", s.opts.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, restLimit)
	defer cancel()
	a, err := s.opts.Account()
	if err == nil {
		s.mu.Lock()
		err = s.restRefused.check(a, s.now())
		s.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("vCenter %s: %w", s.opts.Name, err)
	}
	c := rest.NewClient(l.Client)
	c.Client.Client.Transport = replyLimit{s.transport} // which checks the certificate
	if err := c.Login(ctx, url.UserPassword(a.User, a.Password)); err != nil {
		if rest.IsStatusError(err, http.StatusUnauthorized) {
			s.mu.Lock()
			_ = s.restRefused.set(a, s.now(), err) // it has no file
			s.mu.Unlock()
		}
		return fmt.Errorf("log in to vCenter %s by REST as %s: %w", s.opts.Name, a.User, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), logoutLimit)
		defer cancel()
		if err := c.Logout(ctx); err != nil {
			s.log.Debug("a REST session is left to end by itself", "vcenter", s.opts.Name, "err", err)
		}
	}()
	return f(ctx, c)
}
