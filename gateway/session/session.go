// Package session keeps the gateway's connections to one vCenter: it checks the
// certificate, logs in, notices when the session is gone, logs in again, and
// logs out. It is for discovery, which shares one session, and for the broker,
// whose clients have one each. What is asked over a session is not its concern.
//
// What it stands on:
//
//   - govmomi's thumbprint is no pin: it only admits certificates that nobody
//     vouches for. The certificate is therefore checked here, on every
//     connection, also on resumed ones.
//   - A session that is left behind lives on for up to two hours, and a few
//     thousand of them block a vCenter for everybody. Every way out logs out, a
//     session that counts as lost included; what could not be logged out is
//     found at the next login by its user agent, and ended if we may.
//   - Directories lock accounts after a few wrong passwords. A refused account is
//     not tried again for 15 minutes, unless it has changed or a person has set it again.
//   - A path that swallows packets blocks a call for ever. Every call has a
//     deadline.
package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	callLimit   = 30 * time.Second // of a call whose context has no deadline
	loginLimit  = 45 * time.Second // for all that a login takes
	logoutLimit = 5 * time.Second
	logoutTries = 5
	refusedFor  = 15 * time.Minute // until a refused account is tried again
	orphanAfter = 2 * time.Minute  // without a call: twice what discovery ever waits
)

// ErrRefused says that vCenter does not take the account. Waiting for another
// one is all that helps, and costs nothing: the same is not tried again soon.
var ErrRefused = errors.New("vCenter refuses the account")

// ErrNoAccount says that there is none to log in with.
var ErrNoAccount = errors.New("no account to log in with")

// ErrClosed says that the Session was closed.
var ErrClosed = errors.New("the connections to vCenter are closed")

// Account is what to log in with.
type Account struct {
	User, Password string
	Set            time.Time // when it was set; zero: nobody knows
}

// String leaves the password out.
func (a Account) String() string { return a.User + " (password not shown)" }

// GoString is String.
func (a Account) GoString() string { return a.String() }

// Options says which vCenter it is and how to get in. URL and Account must be given.
type Options struct {
	// Name is ours for this vCenter, for errors and for the user agent.
	Name string
	// URL is "https://host", with a port and "/sdk" if they are others.
	URL string
	// Pin is the SHA-256 of the server's own certificate, in hexadecimal with
	// or without colons. It must match on every connection. Empty: none.
	Pin string
	// CA are certificates in PEM that may vouch for the server's. With neither
	// Pin nor CA the system's do. With both, both must be right.
	CA []byte
	// Account returns what to log in with. It is asked at each login, so that
	// a rotation needs no restart.
	Account func() (Account, error)
	// Meet looks at what the server says it is, before the account is sent to it; an
	// error ends the login. Nil: nobody looks. What it says is no proof of who it is:
	// the certificate is.
	Meet func(types.AboutInfo) error
	// Refused is a file that keeps for the next start which account vCenter did
	// not take, and when, lest restarts lock it. Empty: none.
	Refused string
	// Owner names this gateway. A login ends older sessions of the same owner
	// and name that nobody uses. Empty: it leaves all others alone.
	Owner string
	// RESTIdle is after how long without a request vCenter ends a REST session.
	// Zero: an hour.
	RESTIdle time.Duration
	// Failed is told of each request, also of the broker's, that vCenter does not
	// answer or whose answer is not trusted, and of each login that it refuses. It
	// must not block. Nil: nobody wants to know.
	Failed func(error)
	// Log may be nil.
	Log *slog.Logger
}

// Session is what the gateway has of one vCenter. Make it with New.
type Session struct {
	opts      Options
	log       *slog.Logger
	run       string // tells this Session's logins from those of others with its name
	url       *url.URL
	transport *telling
	now       func() time.Time
	gate      chan struct{} // who logs in holds one place of it
	seen      *lastSeen
	rest      restState

	mu      sync.Mutex // guards the fields below
	current *Login     // that Client shares; nil: none
	dead    *Login     // it was lost, and is logged out before the next
	own     map[*Login]struct{}
	refused refusal
	problem error // why the last login failed; nil: it did not
	closed  bool
}

// New checks the options. It connects to nothing.
func New(o Options) (*Session, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	u, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Account == nil {
		return nil, errors.New("vCenter " + u.Host + ": no account is given")
	}
	if o.Name == "" {
		o.Name = u.Host
	}
	if o.RESTIdle == 0 {
		o.RESTIdle = restIdle
	}
	seen := &lastSeen{}
	transport, err := newTransport(o.Name, u.Hostname(), o.Pin, o.CA, seen)
	if err != nil {
		return nil, fmt.Errorf("vCenter %s: %w", o.Name, err)
	}
	refused, err := recall(o.Refused)
	if err != nil {
		o.Log.Warn("an account may be tried once too often", "vcenter", o.Name, "err", err)
	}
	return &Session{
		opts: o, log: o.Log, run: rand.Text(), url: u, transport: &telling{transport, o.Failed}, now: time.Now, seen: seen,
		refused: refused, gate: make(chan struct{}, 1), own: make(map[*Login]struct{}), rest: restState{gate: make(chan struct{}, 1)},
	}, nil
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("vCenter's address: %w", err)
	case u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("vCenter's address %q is not of the form https://host", text)
	case u.User != nil:
		return nil, fmt.Errorf("vCenter's address https://%s must not hold an account: set that apart", u.Host)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/sdk"
	}
	return u, nil
}

// Name is ours for this vCenter.
func (s *Session) Name() string { return s.opts.Name }

// URL is the address of vCenter's SDK.
func (s *Session) URL() *url.URL { u := *s.url; return &u }

// Transport checks vCenter's certificate and nothing else. It is for whoever
// passes on requests that are not ours. It is closed with the Session.
func (s *Session) Transport() http.RoundTripper { return s.transport }

// Client returns a client of the one session that is shared, and logs in if
// there is none, or if it is another user's than the account's now. Of several
// callers one logs in. Whoever learns from an answer that the session is gone
// calls Lost.
func (s *Session) Client(ctx context.Context) (*vim25.Client, error) {
	if l, _ := s.live(); l != nil && s.OtherUser() {
		s.Lost(l.Client)
	}
	if l, err := s.live(); l != nil || err != nil {
		return l.client(), err
	}
	ctx, cancel := context.WithTimeout(ctx, loginLimit)
	defer cancel()
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	l, err := s.live()
	if l != nil || err != nil {
		return l.client(), err
	}
	s.bury(ctx)
	l, err = s.login(ctx, "discovery")
	if err == nil {
		s.endOrphans(ctx, l)
		err = s.keep(l, func() { s.current = l })
	}
	s.note(err)
	return l.client(), err
}

// Login opens a session of its own, for one client of the broker. The caller
// ends it with Logout.
func (s *Session) Login(ctx context.Context) (*Login, error) {
	ctx, cancel := context.WithTimeout(ctx, loginLimit)
	defer cancel()
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if _, err := s.live(); err != nil {
		return nil, err
	}
	l, err := s.login(ctx, "control")
	if err == nil {
		err = s.keep(l, func() { s.own[l] = struct{}{} })
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// enter waits for the turn to log in.
func (s *Session) enter(ctx context.Context) (leave func(), err error) {
	select {
	case s.gate <- struct{}{}:
		return func() { <-s.gate }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("log in to vCenter %s: another login is under way: %w", s.opts.Name, ctx.Err())
	}
}

// keep notes a login, or ends it if the Session was closed meanwhile.
func (s *Session) keep(l *Login, f func()) error {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		f()
	}
	s.mu.Unlock()
	if closed {
		s.logout(l)
		return ErrClosed
	}
	return nil
}

// live returns the shared login, if there is one.
func (s *Session) live() (*Login, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	return s.current, nil
}

// Lost says that the shared session, whose client c is, is not authenticated
// any more. The next Client logs in again.
func (s *Session) Lost(c *vim25.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && s.current.Client == c {
		s.dead, s.current = s.current, nil
	}
}

// Live returns the shared session, or else one of the broker's clients, and never
// logs in; nil: there is none. It may turn out to be lost.
func (s *Session) Live() *Login {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil || s.closed {
		return s.current
	}
	for l := range s.own {
		return l
	}
	return nil
}

// OtherUser says that the shared session was begun for another user than the
// account now has. Another password of the same user does not end it.
func (s *Session) OtherUser() bool {
	l, _ := s.live()
	if l == nil {
		return false
	}
	a, err := s.opts.Account()
	return err == nil && a.User != l.as
}

// bury logs a lost session out: it may have been lost to us only.
func (s *Session) bury(ctx context.Context) {
	s.mu.Lock()
	dead := s.dead
	s.dead = nil
	s.mu.Unlock()
	if dead != nil && ctx.Err() == nil {
		s.logout(dead)
	}
}

func (s *Session) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = err
}

// Leave logs the shared session out. The next Client logs in again.
func (s *Session) Leave() {
	s.mu.Lock()
	var logins []*Login
	for _, l := range []*Login{s.current, s.dead} {
		if l != nil {
			logins = append(logins, l)
		}
	}
	s.current, s.dead = nil, nil
	s.mu.Unlock()
	s.logoutAll(logins)
}

// Close logs all sessions out, which takes 5 s at most, and fails whoever wants
// one later.
func (s *Session) Close() error {
	s.mu.Lock()
	s.closed = true
	var logins []*Login
	for l := range s.own {
		logins = append(logins, l)
	}
	clear(s.own)
	s.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(s.Leave)
	wg.Go(s.leaveREST)
	wg.Go(func() { s.logoutAll(logins) })
	wg.Wait()
	s.transport.CloseIdleConnections()
	return nil
}

func (s *Session) logoutAll(logins []*Login) {
	var wg sync.WaitGroup
	for _, l := range logins {
		wg.Go(func() { s.logout(l) })
	}
	wg.Wait()
}

// State is how the connection is, for whoever shows it.
type State struct {
	LoggedIn bool
	Since    time.Time // of the login; zero: none
	Own      int       // sessions of the broker's clients
	Problem  error     // why the last login failed; nil: it did not
	// Fingerprint is the SHA-256 of the certificate seen last, which need not
	// be one that we accept, and Expires its end. Empty: none was seen.
	Fingerprint string
	Expires     time.Time
}

// State tells how the connection is.
func (s *Session) State() State {
	var st State
	st.Fingerprint, st.Expires = s.seen.get()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Own, st.Problem = len(s.own), s.problem
	if s.current != nil {
		st.LoggedIn, st.Since = true, s.current.since
	}
	return st
}

// Login is one session on vCenter.
type Login struct {
	Client *vim25.Client
	User   types.UserSession // as vCenter told at the login
	as     string            // the account's user
	s      *Session
	since  time.Time
}

// client is the client of a login that may be nil.
func (l *Login) client() *vim25.Client {
	if l == nil {
		return nil
	}
	return l.Client
}

// Cookie is what authenticates requests of the session, by [Session.Transport].
func (l *Login) Cookie() *http.Cookie { return cookie(l.Client.Client) }

// Logout ends the session, within 5 s.
func (l *Login) Logout() {
	l.s.mu.Lock()
	delete(l.s.own, l)
	l.s.mu.Unlock()
	l.s.logout(l)
}
