package vcproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/netcause"
)

// outgoing is what is sent to vCenter: nothing of it is the client's own bytes.
type outgoing struct {
	call   *call
	action string
	agent  string
	opID   string
}

func (t *turn) outgoing() outgoing {
	agent := t.r.UserAgent()
	if !validOpID(agent) {
		agent = ""
	}
	return outgoing{t.call, t.action, agent, t.opID()}
}

// answerHead is how much of an answer is looked at for the signs of a dead
// session.
const answerHead = 4096

// faultMax bounds a fault of vCenter, and what is kept of small answers.
const faultMax = 1 << 20

// exchange sends a call and returns the answer, whose body the caller closes.
// If vCenter does not know the session any more, the call was not executed: then
// there is a new login, and the call is sent once more.
func (b *Broker) exchange(ctx context.Context, s *session, o outgoing) (*http.Response, error) {
	stale := 0
	for again := false; ; again = true {
		var cookies []*http.Cookie
		gen := 0
		if s != nil {
			var err error
			if cookies, gen, err = b.upstream(ctx, s, stale); err != nil {
				return nil, err
			}
		}
		resp, err := b.send(ctx, o, cookies)
		if err != nil {
			return nil, err
		}
		dead, err := expired(resp, o.call.method())
		if err != nil {
			_ = resp.Body.Close()
			return nil, b.broken(ctx, err)
		}
		if !dead || s == nil {
			return resp, nil
		}
		_ = resp.Body.Close()
		b.log.Info("vCenter ended a session", "client", s.client, "session", s.key)
		if b.lost(ctx, s) {
			return nil, errEnded
		}
		if again {
			return nil, errLogin
		}
		stale = gen
	}
}

// lost ends a session of which vCenter forgot filters or views: the client must
// know, for it would wait for updates that never come.
func (b *Broker) lost(ctx context.Context, s *session) bool {
	s.mu.Lock()
	bound := s.bound
	s.mu.Unlock()
	if bound > 0 {
		b.end(ctx, s, "vCenter lost its filters and views")
	}
	return bound > 0
}

// broken logs an error of the way to vCenter and says what the client reads.
func (b *Broker) broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSwitched) {
		return cause
	}
	b.log.Warn("call vCenter", "err", err)
	return b.explained("the gateway cannot reach vCenter", err)
}

// unreached is the same for a file, which a host may have; "": vCenter itself.
func (b *Broker) unreached(ctx context.Context, host string, err error) error {
	if host == "" || errors.Is(context.Cause(ctx), errSwitched) {
		return b.broken(ctx, err)
	}
	b.log.Warn("exchange a file with a host", "host", host, "err", err)
	return fmt.Errorf("the gateway cannot reach the host %s: %s", host, netcause.Words(err))
}

// explained is what clients read of why vCenter, or the login there, is not there for
// them. Nothing of it is the password: who tries logs in by himself.
func (b *Broker) explained(what string, err error) error {
	if b.opts.Explain != nil {
		return fmt.Errorf("%s: %w", what, b.opts.Explain(err))
	}
	return fmt.Errorf("%s: %s", what, netcause.Words(err))
}

// send makes one request of the call.
func (b *Broker) send(ctx context.Context, o outgoing, cookies []*http.Cookie) (*http.Response, error) {
	path, token := "/sdk", ""
	if o.call.space == nsPBM {
		path = "/pbm"
		for _, c := range cookies {
			if c.Name == cookieName {
				token = strings.Trim(c.Value, `"`)
			}
		}
	}
	body := o.call.encode(token)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.target(path), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	req.Header.Set("SOAPAction", o.action)
	req.Header.Set("User-Agent", o.agent)
	if o.opID != "" {
		req.Header.Set("opID", o.opID)
	}
	for _, c := range cookies {
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	resp, err := b.opts.Upstream.Transport.RoundTrip(req)
	if err != nil {
		return nil, b.broken(ctx, err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusInternalServerError {
		_ = resp.Body.Close()
		b.log.Warn("vCenter answers otherwise than its API does", "status", resp.Status, "method", o.call.method())
		return nil, fmt.Errorf("vCenter answers %d", resp.StatusCode)
	}
	return resp, nil
}

func (b *Broker) target(path string) string {
	u := *b.opts.Upstream.URL
	u.Path, u.RawPath, u.RawQuery, u.Fragment, u.User = path, "", "", "", nil
	return u.String()
}

// expired says whether an answer means that the session is dead. What it reads
// of the body is put back.
func expired(resp *http.Response, method string) (bool, error) {
	reads := strings.HasPrefix(method, "Retrieve") || strings.HasPrefix(method, "WaitForUpdates")
	size := int64(answerHead)
	switch {
	case resp.StatusCode == http.StatusInternalServerError:
		size = faultMax
	case !reads:
		return false, nil
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, size))
	if err != nil {
		return false, err
	}
	resp.Body = &putBack{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	if resp.StatusCode == http.StatusInternalServerError {
		return faultName(head) == "NotAuthenticated", nil
	}
	return allMissing(head), nil
}

// putBack is a body of which something was read before.
type putBack struct {
	io.Reader
	io.Closer
}

// relay forwards a call and writes the answer to the client.
func (b *Broker) relay(ctx context.Context, w http.ResponseWriter, t *turn) (result string, err error) {
	resp, err := b.exchange(ctx, t.s, t.outgoing())
	if err != nil {
		return outcome(ctx, err), err
	}
	defer func() { _ = resp.Body.Close() }()
	result = resultOK
	if resp.StatusCode != http.StatusOK {
		result = resultFault
	}
	small, err := b.learn(resp, t)
	if err != nil {
		err = b.broken(ctx, err)
		return outcome(ctx, err), err
	}
	if small != nil {
		if faultName(small) != "" {
			result = resultFault
		}
		reply(w, resp.StatusCode, small)
		return result, nil
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil {
		// The client must not take what it has for the whole answer.
		b.log.Warn("an answer of vCenter broke off", "client", t.s.name(), "err", err)
		b.finish(t, outcome(ctx, err), "the answer broke off")
		panic(http.ErrAbortHandler)
	}
	return result, nil
}

func (s *session) name() Client {
	if s == nil {
		return ""
	}
	return s.client
}

// outcome is the audit's word for an error.
func outcome(ctx context.Context, err error) string {
	if errors.Is(err, errSwitched) || errors.Is(context.Cause(ctx), errSwitched) {
		return resultCut
	}
	if errors.Is(err, errContent) {
		return resultRefused
	}
	return resultError
}

// learn remembers what an answer gives the client: tasks and leases, filters and
// views that live in the session, addresses to transfer files to. It returns the
// body if it had to read all of it.
func (b *Broker) learn(resp *http.Response, t *turn) ([]byte, error) {
	if t.s == nil || resp.StatusCode != http.StatusOK {
		return nil, nil
	}
	method := t.call.method()
	t.s.mu.Lock()
	leases := len(t.s.leases.set) > 0
	switch method {
	case "CreateFilter", "CreateContainerView", "CreateInventoryView", "CreateListView", "CreateListViewFromView":
		t.s.bound++
	case "DestroyPropertyFilter", "DestroyView":
		t.s.bound = max(0, t.s.bound-1)
	case "DestroyPropertyCollector": // with its filters, whose number is not known
		t.s.bound = max(0, t.s.bound-1)
	}
	t.s.mu.Unlock()
	switch {
	case t.rule.class.changes():
		body, err := readSmall(resp.Body)
		if err != nil {
			return nil, err
		}
		if ref := returned(body); ref.Type == "Task" || ref.Type == lease {
			t.s.mu.Lock()
			t.s.own.add(ref)
			if ref.Type == lease {
				t.s.leases.add(ref)
			}
			t.s.mu.Unlock()
		}
		if method == "HttpNfcLeaseComplete" || method == "HttpNfcLeaseAbort" {
			b.leaseEnded(t.s, t.facts.target)
		}
		return body, nil
	case leases && (method == "RetrieveProperties" || method == "RetrievePropertiesEx" || method == "WaitForUpdatesEx"):
		return b.learnLeases(resp, t)
	}
	return nil, nil
}

// leaseEnded forgets where a session's files went when the last of its leases has
// ended: an address does not say which lease it is of.
func (b *Broker) leaseEnded(s *session, ref Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases.remove(ref)
	if len(s.leases.set) == 0 {
		b.grants.dropLeases(s)
	}
}

// readSmall reads an answer that is known to be small.
func readSmall(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, faultMax+1))
	if err == nil && len(body) > faultMax {
		err = fmt.Errorf("the answer has more than %d bytes", faultMax)
	}
	return body, err
}

// serveDescription fetches a file of the API's description, without a session.
func (b *Broker) serveDescription(w http.ResponseWriter, r *http.Request) {
	if err := b.paceOpen(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(b.limits.Queue + b.limits.Call))
	ctx, cancel := context.WithTimeout(r.Context(), b.limits.Call)
	defer cancel()
	ctx, leave, err := b.sw.pass(ctx, false)
	if err != nil {
		b.refuse(w, r, err.Error())
		return
	}
	defer leave()
	if err := b.calls.enter(ctx, "", 1, b.limits.Queue); err != nil {
		http.Error(w, errBusy.Error(), http.StatusServiceUnavailable)
		return
	}
	defer b.calls.leave("", 1)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.target(r.URL.Path), nil)
	if err != nil {
		b.refuse(w, r, "the path cannot be asked for")
		return
	}
	resp, err := b.opts.Upstream.Transport.RoundTrip(req)
	if err != nil {
		http.Error(w, b.broken(ctx, err).Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		http.Error(w, "vCenter does not have this file", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	if _, err := io.Copy(w, resp.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}
