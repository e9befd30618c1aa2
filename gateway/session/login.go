package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// sessionCookie is the name that vCenter gives it.
const sessionCookie = "vmware_soap_session"

// login opens a session. The caller holds the gate.
func (s *Session) login(ctx context.Context, part string) (_ *Login, err error) {
	defer func() {
		if s.opts.Failed != nil && errors.Is(err, ErrRefused) {
			s.opts.Failed(err)
		}
	}()
	a, err := s.opts.Account()
	if err != nil {
		return nil, fmt.Errorf("vCenter %s: %w: %w", s.opts.Name, ErrNoAccount, err)
	}
	s.mu.Lock()
	err = s.refused.check(s.opts.Name, a, s.now())
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	l, err := s.open(ctx, a, s.agent(part))
	if err != nil {
		return nil, fmt.Errorf("log in to vCenter %s as %s: %w", s.opts.Name, a.User, err)
	}
	s.mu.Lock()
	err = s.refused.clear()
	s.mu.Unlock()
	s.forgetful(err)
	s.log.Info("logged in to vCenter", "vcenter", s.opts.Name, "user", a.User, "part", part, "version", l.Client.ServiceContent.About.Version)
	return l, nil
}

// open connects and logs in.
func (s *Session) open(ctx context.Context, a Account, agent string) (*Login, error) {
	c, err := s.connect(ctx, agent)
	if err != nil {
		return nil, err
	}
	if c.ServiceContent.SessionManager == nil {
		return nil, errors.New("the server has no session manager: is it a vCenter?")
	}
	if s.opts.Meet != nil {
		if err := s.opts.Meet(c.ServiceContent.About); err != nil {
			return nil, err
		}
	}
	l := &Login{Client: c, as: a.User, s: s, since: s.now()}
	res, err := methods.Login(ctx, c, &types.Login{This: *c.ServiceContent.SessionManager, UserName: a.User, Password: a.Password})
	if _, refused := fault(err).(types.InvalidLogin); refused {
		at := s.now()
		s.mu.Lock()
		unkept := s.refused.set(a, at, err)
		s.mu.Unlock()
		s.forgetful(unkept)
		s.log.Warn("vCenter refuses the account", "vcenter", s.opts.Name, "user", a.User, "err", err)
		return nil, &RefusedError{VCenter: s.opts.Name, User: a.User, Until: at.Add(refusedFor), Err: err}
	}
	if err != nil {
		s.logout(l) // the session may be there though its answer was lost
		return nil, err
	}
	l.User = res.Returnval
	return l, nil
}

// forgetful tells that a restart would not know which account was refused.
func (s *Session) forgetful(err error) {
	if err != nil {
		s.log.Warn("which account was refused is not kept for the next start", "vcenter", s.opts.Name, "err", err)
	}
}

// connect makes a client and reads what the server is.
func (s *Session) connect(ctx context.Context, agent string) (*vim25.Client, error) {
	sc := soap.NewClient(s.URL(), false)
	sc.Client.Transport = replyLimit{s.transport}
	sc.UserAgent, sc.Types = agent, Decodable
	sc.Namespace, sc.Version = "urn:"+vim25.Namespace, vim25.Version
	c, err := vim25.NewClient(ctx, deadline{sc})
	if err != nil {
		return nil, err
	}
	c.Client = sc
	if v := c.ServiceContent.About.ApiVersion; v != "" {
		sc.Version = v // what the server speaks, not the newest that we know
	}
	return c, nil
}

// agent tells our sessions from others', discovery's from the broker's, and this
// Session's from those of the gateway's earlier runs.
func (s *Session) agent(part string) string { return s.owned(part) + s.run }

func (s *Session) owned(part string) string {
	return "pf9-gateway " + part + " " + s.opts.Name + " " + s.opts.Owner + " "
}

// Tidy ends discovery sessions of this gateway that could not be logged out. Each
// login does; whoever is logged in for long calls it now and then.
func (s *Session) Tidy(ctx context.Context) {
	if l, _ := s.live(); l != nil {
		s.endOrphans(ctx, l)
	}
}

// endOrphans ends the older sessions of this gateway that could not be logged out.
func (s *Session) endOrphans(ctx context.Context, l *Login) {
	if s.opts.Owner == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	orphans, err := s.orphans(ctx, l)
	if err == nil && len(orphans) > 0 {
		_, err = methods.TerminateSession(ctx, l.Client, &types.TerminateSession{
			This: *l.Client.ServiceContent.SessionManager, SessionId: orphans,
		})
	}
	switch {
	case err != nil && len(orphans) > 0:
		s.log.Warn("older sessions of this gateway cannot be ended, and end when they have idled: give the account the privilege Sessions.TerminateSession",
			"vcenter", s.opts.Name, "count", len(orphans), "err", err)
	case err != nil:
		s.log.Debug("whether older sessions of this gateway are left cannot be seen", "vcenter", s.opts.Name, "err", err)
	case len(orphans) > 0:
		s.log.Info("older sessions of this gateway ended", "vcenter", s.opts.Name, "count", len(orphans))
	}
}

// orphans returns the keys of discovery sessions of this gateway but for l.
func (s *Session) orphans(ctx context.Context, l *Login) ([]string, error) {
	manager := *l.Client.ServiceContent.SessionManager
	now := l.User.LoginTime.Add(s.now().Sub(l.since)) // by vCenter's clock
	res, err := methods.RetrievePropertiesEx(ctx, l.Client, &types.RetrievePropertiesEx{
		This: l.Client.ServiceContent.PropertyCollector,
		SpecSet: []types.PropertyFilterSpec{{
			PropSet:   []types.PropertySpec{{Type: manager.Type, PathSet: []string{"sessionList"}}},
			ObjectSet: []types.ObjectSpec{{Obj: manager}},
		}},
	})
	if err != nil || res.Returnval == nil {
		return nil, err
	}
	var keys []string
	for _, o := range res.Returnval.Objects {
		for _, p := range o.PropSet {
			list, _ := p.Val.(types.ArrayOfUserSession)
			for _, u := range list.UserSession {
				if u.Key != l.User.Key && u.UserName == l.User.UserName && s.orphaned(&u, now) {
					keys = append(keys, u.Key)
				}
			}
		}
	}
	return keys, nil
}

// orphaned says whether a session that is not the shared one is left over: of this
// run, which has one only, or of another that is not heard of any more. Another
// that is may be a copy of this gateway, and each would end the other's for ever.
func (s *Session) orphaned(u *types.UserSession, now time.Time) bool {
	return u.UserAgent == s.agent("discovery") ||
		strings.HasPrefix(u.UserAgent, s.owned("discovery")) && now.Sub(u.LastActiveTime) > orphanAfter
}

// logout ends a session, if it has begun. It has its own deadline: whoever leaves
// often does so because a context ended.
func (s *Session) logout(l *Login) {
	if l == nil || cookie(l.Client.Client) == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), logoutLimit)
	defer cancel()
	err := l.end(ctx)
	for range logoutTries - 1 {
		if err == nil || IsNotAuthenticated(err) || ctx.Err() != nil {
			break
		}
		s.transport.CloseIdleConnections() // they may be as dead as the one that was used
		err = l.end(ctx)
	}
	if err != nil && !IsNotAuthenticated(err) {
		s.log.Warn("a session is left behind on vCenter", "vcenter", s.opts.Name, "err", err)
	}
}

func (l *Login) end(ctx context.Context) error {
	_, err := methods.Logout(ctx, l.Client, &types.Logout{This: *l.Client.ServiceContent.SessionManager})
	return err
}

func cookie(c *soap.Client) *http.Cookie {
	for _, k := range c.Jar.Cookies(c.URL()) {
		if k.Name == sessionCookie {
			return k
		}
	}
	return nil
}

// deadline gives every call one.
type deadline struct{ soap.RoundTripper }

// RoundTrip makes the call within 30 s, unless ctx has its own deadline. govmomi
// panics at replies with one type in the place of another, which anybody can write.
func (d deadline) RoundTrip(ctx context.Context, req, res soap.HasFault) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("vCenter's reply cannot be decoded: %v", p)
		}
	}()
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callLimit)
		defer cancel()
	}
	err = d.RoundTripper.RoundTrip(ctx, req, res)
	if err != nil && len(err.Error()) > maxText {
		err = longError{err}
	}
	return err
}
