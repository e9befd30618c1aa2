package vcproxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// changes says whether calls of a class change something.
func (c class) changes() bool {
	switch c {
	case classWrite, classFiles, classOwn, classTicket, classExtension:
		return true
	}
	return false
}

// serve answers a call that is well formed. It has written the answer when it
// returns no error.
func (b *Broker) serve(w http.ResponseWriter, t *turn) (result string, err error) {
	if t.rule.class == classDenied || !t.rule.allows(t.facts.target.Type) {
		return resultRefused, judge{}.call(t.call, t.rule, t.facts)
	}
	ctx, cancel := context.WithTimeout(t.r.Context(), b.limits.Call)
	defer cancel()
	ctx, leave, err := b.sw.pass(ctx, t.rule.class.changes())
	if err != nil {
		return resultRefused, denied(t.call.method(), t.facts.target, err.Error())
	}
	defer leave()
	switch {
	case t.rule.class == classLocal:
		return b.serveLocal(ctx, w, t)
	case t.rule.class == classOpen:
		if err := b.paceOpen(); err != nil {
			return resultRefused, err
		}
		return b.relay(ctx, w, t)
	case asksForSession(t.call):
		currentSession(w, t.call.method(), sessionObject(t.call), t.s)
		return resultOK, nil
	case t.s == nil:
		return resultRefused, notAuthenticated(t.facts.target)
	}
	if err := t.s.pace(ctx, t.rule.class, b.limits.Queue); err != nil {
		return resultRefused, err
	}
	if t.rule.class.changes() {
		if err := b.audit.Ready(); err != nil {
			b.log.Error("calls that change something are refused, for the audit cannot be written", "err", err)
			return resultRefused, denied(t.call.method(), t.facts.target, "the gateway cannot write its audit")
		}
	}
	if err := b.judge(ctx, t.s).call(t.call, t.rule, t.facts); err != nil {
		return resultRefused, err
	}
	return b.queue(ctx, w, t)
}

// queue waits for a place and forwards.
func (b *Broker) queue(ctx context.Context, w http.ResponseWriter, t *turn) (result string, err error) {
	places := b.calls
	if t.rule.class == classWait {
		places = b.waits
		clampWait(t.call)
	}
	if t.call.method() == "HttpNfcLeaseComplete" {
		if err := t.s.uploaded(ctx); err != nil {
			return outcome(ctx, err), err
		}
	}
	if err := places.enter(ctx, t.s.client, 1, b.limits.Queue); err != nil {
		return resultError, err
	}
	defer places.leave(t.s.client, 1)
	if t.rule.class == classTicket {
		return b.serveTicket(ctx, w, t)
	}
	return b.relay(ctx, w, t)
}

// paceOpen bounds calls of clients that nobody knows.
func (b *Broker) paceOpen() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.take() > 0 {
		b.open.giveBack()
		return errBusy
	}
	return nil
}

func sessionObject(c *call) Ref {
	obj, _ := c.root.all("specSet")[0].all("objectSet")[0].child("obj")
	return obj.ref()
}

// serveLocal answers what is about sessions.
func (b *Broker) serveLocal(ctx context.Context, w http.ResponseWriter, t *turn) (result string, err error) {
	c, s := t.call, t.s
	if c.method() == "Login" {
		return b.welcome(ctx, w, t)
	}
	if s == nil {
		return resultRefused, notAuthenticated(t.facts.target)
	}
	switch c.method() {
	case "SessionIsActive":
		active := c.root.value("sessionID") == s.key && c.root.value("userName") == s.user
		answer(w, c.method(), fmt.Sprintf("<returnval>%t</returnval>", active))
	case "TerminateSession":
		for _, id := range c.root.all("sessionId") {
			if err := b.terminate(ctx, s, id.text); err != nil {
				return resultRefused, &refusal{c.method(), t.facts.target, err.Error()}
			}
		}
		answer(w, c.method(), "")
	case "Logout":
		b.end(ctx, s, "the client logged out")
		answer(w, c.method(), "")
	}
	return resultOK, nil
}

// terminate ends another session of the same client: OpenStack's driver clears
// up so after it logged in anew.
func (b *Broker) terminate(ctx context.Context, s *session, key string) error {
	if key == s.key {
		return errors.New("this is the session itself; log out")
	}
	b.mu.Lock()
	var other *session
	for _, o := range b.sessions {
		if o.key == key && o.client == s.client {
			other = o
		}
	}
	b.mu.Unlock()
	if other == nil {
		return errors.New("only a client's own sessions are ended from here, and this is none")
	}
	b.end(ctx, other, "the client ended it from another")
	return nil
}

// welcome makes a session, if the client is who it says, and vCenter lets us in.
func (b *Broker) welcome(ctx context.Context, w http.ResponseWriter, t *turn) (result string, err error) {
	user := t.call.root.value("userName")
	client, err := b.authenticate(t.r, user, t.call.root.value("password"))
	if err != nil {
		return resultRefused, err
	}
	if err := b.paceLogin(client); err != nil {
		return resultRefused, err
	}
	if t.s != nil { // vCenter would say that there is a session already
		b.end(ctx, t.s, "the client logged in anew")
	}
	s := newSession(client, short(user), t.r, b.limits)
	if err := b.admit(ctx, s); err != nil {
		return resultRefused, fault{name: "RuntimeFault", text: err.Error()}
	}
	_, _, err = b.upstream(ctx, s, 0)
	if err == nil { // the switch may have ended all other sessions meanwhile
		err = context.Cause(ctx)
	}
	if err != nil {
		b.end(ctx, s, "the login did not succeed")
		return outcome(ctx, err), err
	}
	b.log.Info("session begun", "client", client, "session", s.key, "remote", s.remote, "agent", s.agent)
	t.s = s // for the audit
	setCookie(w, s)
	answer(w, t.call.method(), "<returnval>"+s.record()+"</returnval>")
	return resultOK, nil
}

// paceLogin bounds the logins of a client, each of which is one in vCenter and a line
// of the audit.
func (b *Broker) paceLogin(c Client) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	tokens := b.entries[c]
	if tokens == nil { // there are as many as are let in
		fresh := newBucket(0.5, 30)
		tokens = &fresh
		b.entries[c] = tokens
	}
	if tokens.take() > 0 {
		tokens.giveBack()
		return errBusy
	}
	return nil
}

// guessers bounds how many addresses with failed logins are remembered.
const guessers = 256

// authenticate decides who a client is. Whoever guesses is slowed down, and nobody
// else: all programs on the gateway come from one address.
func (b *Broker) authenticate(r *http.Request, user, password string) (Client, error) {
	if c, ok := clientOf(r.Context()); ok {
		return c, nil
	}
	if b.opts.Authenticate != nil {
		if client, err := b.opts.Authenticate(r, user, password); err == nil {
			return client, nil
		}
	}
	remote := remoteHost(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.guesses[remote]
	if g == nil {
		if len(b.guesses) >= guessers {
			clear(b.guesses)
		}
		fresh := newBucket(0.2, 5)
		g = &fresh
		b.guesses[remote] = g
	}
	if g.take() > 0 {
		g.giveBack()
		return "", errBusy
	}
	return "", fault{name: "InvalidLogin", text: "Cannot complete login due to an incorrect user name or password for the gateway."}
}
