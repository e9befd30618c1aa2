package vcproxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Client is who is at the other end: the deployment unit at the end of a tunnel,
// or the user of a local secret.
type Client string

// session is one client's, with an own session in vCenter behind it: filters and
// views belong to sessions, so clients cannot share one.
type session struct {
	id     string // the cookie; a secret
	key    string // its name towards the client and in the audit
	client Client
	user   string
	remote string
	agent  string
	began  time.Time

	turn chan struct{} // holds one token: who has it may log in or out upstream

	mu      sync.Mutex // guards the fields below
	login   Login
	gen     int // counts logins; 0: none yet
	used    time.Time
	calls   int
	busy    int  // calls on their way
	bound   int  // filters and views that died with an upstream session would be missed
	ended   bool // no new calls
	own     ownSet
	leases  ownSet // of transfers that have not ended
	uploads uploads
	reads   bucket
	writes  bucket
	logins  bucket
}

func newSession(client Client, user string, r *http.Request, l Limits) *session {
	s := &session{
		id: rand.Text() + rand.Text(), key: rand.Text(), client: client, user: user,
		remote: remoteHost(r), agent: r.UserAgent(), began: time.Now(), turn: make(chan struct{}, 1),
		reads: newBucket(l.Reads, 2*l.Reads), writes: newBucket(l.Writes, 3*l.Writes), logins: newBucket(0.5, 6),
	}
	s.used = s.began
	s.turn <- struct{}{}
	return s
}

// begin counts a call in; false if the session has ended.
func (s *session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.busy++
	s.calls++
	s.used = time.Now()
	return true
}

func (s *session) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	s.used = time.Now()
}

// idle returns how long the session was not used.
func (s *session) idle(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy > 0 {
		return 0
	}
	return now.Sub(s.used)
}

func (s *session) owns(ref Ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own.set[ref]
}

// pace waits until the session may do a call of that class.
func (s *session) pace(ctx context.Context, c class, patience time.Duration) error {
	tokens := &s.reads
	if c.changes() {
		tokens = &s.writes
	}
	s.mu.Lock()
	wait := tokens.take()
	if wait > patience {
		tokens.giveBack()
	}
	s.mu.Unlock()
	if wait > patience {
		return errBusy
	}
	return pause(ctx, wait)
}

// upstream returns the cookies of a session in vCenter that is not of the stale
// generation, logging in if need be. Calls that find the same session dead log
// in once.
func (b *Broker) upstream(ctx context.Context, s *session, stale int) (cookies []*http.Cookie, gen int, err error) {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	s.mu.Lock()
	old := s.login
	gen = s.gen
	fresh, ended := gen > stale, s.ended
	var wait time.Duration
	if !fresh && gen > 0 {
		wait = s.logins.take()
	}
	s.mu.Unlock()
	switch {
	case ended:
		return nil, 0, errEnded
	case fresh:
		return old.Cookies, gen, nil
	}
	if err := pause(ctx, wait); err != nil {
		return nil, 0, err
	}
	login, err := b.login(ctx)
	if err != nil {
		b.log.Warn("log in to vCenter", "client", s.client, "err", err)
		return nil, 0, b.explained("the gateway cannot log in to vCenter", err)
	}
	s.mu.Lock()
	s.login = login // for end, if it waits for its turn already
	s.gen++
	gen = s.gen
	s.mu.Unlock()
	b.logout(ctx, s, old)
	return login.Cookies, gen, nil
}

// loginTime bounds a login to vCenter. A client that goes away meanwhile does
// not end it: then nobody would know of the session.
const loginTime = 8 * time.Second

func (b *Broker) login(ctx context.Context) (Login, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTime)
	defer cancel()
	return b.opts.Upstream.Login(ctx)
}

// logout ends a session in vCenter, if there is one.
func (b *Broker) logout(ctx context.Context, s *session, l Login) {
	if l.Logout == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTime)
	defer cancel()
	if err := l.Logout(ctx); err != nil {
		b.log.Debug("log out of vCenter", "client", s.client, "err", err)
	}
}

var (
	errEnded = errors.New("the session has ended")
	errLogin = errors.New("vCenter does not know the session that the gateway has just begun: try again")
)

// endTime bounds how long the end of a session waits for a login under way.
const endTime = loginTime + 2*time.Second

// end makes a session useless and ends it in vCenter. It may be called twice.
func (b *Broker) end(ctx context.Context, s *session, why string) {
	b.mu.Lock()
	delete(b.sessions, s.id)
	b.grants.drop(s)
	b.mu.Unlock()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	select {
	case <-s.turn: // whoever logs in has come to an end
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		b.log.Warn("a session of vCenter stays, for its login does not end", "client", s.client)
		return
	}
	s.mu.Lock()
	login := s.login
	s.login = Login{}
	s.mu.Unlock()
	if login.Cookies == nil {
		return
	}
	b.logout(ctx, s, login)
	b.log.Info("session ended", "client", s.client, "session", s.key, "why", why)
}

// endAll ends the sessions that match, together.
func (b *Broker) endAll(ctx context.Context, why string, match func(*session) bool) {
	b.mu.Lock()
	var chosen []*session
	for _, s := range b.sessions {
		if match(s) {
			chosen = append(chosen, s)
		}
	}
	b.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range chosen {
		wg.Go(func() { b.end(ctx, s, why) })
	}
	wg.Wait()
}

// admit makes a session of ours. When there are too many, or too many of the
// client, its own longest unused one gives way; other clients' do not.
func (b *Broker) admit(ctx context.Context, s *session) error {
	all, most := b.limits.Sessions, int(share(int64(b.limits.Sessions)))
	for {
		b.mu.Lock()
		own := 0
		for _, other := range b.sessions {
			if other.client == s.client {
				own++
			}
		}
		if len(b.sessions) < all && own < most {
			b.sessions[s.id] = s
			b.mu.Unlock()
			return nil
		}
		var oldest *session
		var idle time.Duration
		for _, other := range b.sessions {
			if other.client != s.client {
				continue
			}
			if d := other.idle(time.Now()); d > idle {
				oldest, idle = other, d
			}
		}
		b.mu.Unlock()
		if oldest == nil {
			return fmt.Errorf("the gateway keeps %d sessions at most, %d of one client, and all are in use; log out of one", all, most)
		}
		b.end(ctx, oldest, "another took its place")
	}
}

// cookieName is vCenter's, which clients look for.
const cookieName = "vmware_soap_session"

// session finds the session that a request belongs to, or nil.
func (b *Broker) session(r *http.Request) *session {
	cookies := r.CookiesNamed(cookieName)
	if len(cookies) != 1 { // two could be read differently by two readers
		return nil
	}
	b.mu.Lock()
	s := b.sessions[cookies[0].Value]
	b.mu.Unlock()
	if s == nil {
		return nil
	}
	if client, ok := clientOf(r.Context()); ok && client != s.client {
		return nil // a cookie does not move from one tunnel to another
	}
	return s
}

func setCookie(w http.ResponseWriter, s *session) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: s.id, Path: "/", HttpOnly: true, Secure: true})
}
