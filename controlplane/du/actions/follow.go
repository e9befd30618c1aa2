package actions

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/netcause"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	askLimit   = 15 * time.Second // for a host to say what it can do
	quietLimit = 45 * time.Second // without a line from the host, which sends one every 15 s
	settleWait = time.Second      // between tries to reach the host again
	storeTries = 5                // to store an end
	ticketLife = time.Minute      // at most, for a console's ticket to be fetched
	maxLine    = 64 << 10         // bytes of an outcome
	maxReason  = 1 << 10          // bytes kept of a reason
	maxURL     = 4 << 10          // bytes of a ticket's URL
)

// follow brings an action to its end, or leaves it when ctx ends.
func (m *Manager) follow(ctx context.Context, o *open) {
	defer m.leave(o)
	m.mu.Lock()
	a := o.action
	m.mu.Unlock()
	until := a.Deadline
	if now := time.Now(); now.After(until) { // we were away
		until = now
	}
	own, cancel := context.WithDeadline(ctx, until.Add(m.grace))
	defer cancel()
	host := m.reach(a.Host)
	defer host.CloseIdleConnections()
	last := wire.ActionOutcome{ID: a.ID, State: wire.ActionAccepted}
	var err error
	if !o.sent {
		if err = ask(own, host, a.Action); err != nil { // nothing was sent yet
			if ctx.Err() == nil {
				m.end(ctx, o, notBegun(&a, err))
			}
			return
		}
		last, err = m.converse(own, host, o, "http://actions/v1/actions", &wire.ActionRequest{
			ID: a.ID, Action: a.Action, Target: a.Target, Arguments: a.Arguments,
			RequestedBy: a.RequestedBy, Requested: a.Requested, Deadline: a.Deadline,
		}, last)
	}
	for !last.Done() {
		if err != nil {
			m.log.Info("action is out of sight", "host", a.Host, "action", a.ID, "err", err)
			last.Reason = fmt.Sprintf("host %s is out of reach (%s); how it ends is asked when it is back", hostName(&a), netcause.Words(err))
			m.update(o, last)
			pause := time.NewTimer(settleWait)
			select {
			case <-pause.C:
			case <-own.Done():
				pause.Stop()
			}
		}
		if own.Err() != nil {
			break
		}
		last, err = m.converse(own, host, o, "http://actions/v1/actions/"+a.ID+"/settle", nil, last)
	}
	if ctx.Err() != nil && !last.Done() {
		return // the next run settles it
	}
	if !last.Done() {
		last = silence(&a, last, err)
	}
	if m.unseen(ctx, o, &last) {
		return // the next run goes on
	}
	m.end(ctx, o, last)
}

// notBegun is the end of an action that its host was not sent.
func notBegun(a *api.Action, err error) wire.ActionOutcome {
	if d, ok := errors.AsType[denied](err); ok {
		return wire.ActionOutcome{ID: a.ID, State: wire.ActionRefused, Reason: fmt.Sprintf("host %s: %v", hostName(a), d)}
	}
	return wire.ActionOutcome{ID: a.ID, State: wire.ActionFailed, Reason: fmt.Sprintf("host %s %v", hostName(a), err)}
}

// silence is the end of an action whose host does not say how it ended.
func silence(a *api.Action, last wire.ActionOutcome, err error) wire.ActionOutcome {
	last.State, last.Uncertain = wire.ActionFailed, true
	last.Reason = fmt.Sprintf("host %s did not say in time how it ended", hostName(a))
	if err != nil {
		last.Reason += " (" + clip(netcause.Words(err), maxReason/2) + ")"
	}
	last.Reason += ", it may have been done"
	return last
}

// reach is a client of the host's service.
func (m *Manager) reach(host wire.HostID) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return m.cfg.Dial(ctx, host, wire.ServiceActions)
		},
		MaxConnsPerHost: 1, IdleConnTimeout: 3 * time.Second,
	}}
}

// denied is why a host does not do an action. Other errors of ask are of what
// should have worked.
type denied string

func (d denied) Error() string { return string(d) }

// ask makes sure that the host is there and can do it, before anything is sent
// that might be done though the answer is lost.
func ask(ctx context.Context, host *http.Client, action string) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://actions/v1/actions", nil)
	if err != nil {
		return err
	}
	res, err := host.Do(req)
	if err != nil {
		return unasked(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxLine))
	if err != nil {
		return unasked(err)
	}
	var can wire.ActionsOffer
	if res.StatusCode != http.StatusOK || json.Unmarshal(body, &can) != nil {
		return unasked(errors.New("it says: " + problemIn(res, body)))
	}
	switch {
	case can.Reason != "":
		return denied(clip(can.Reason, maxReason))
	case !slices.Contains(can.Actions, action):
		return denied(fmt.Sprintf("it cannot do %q; it can do %s", action, strings.Join(can.Actions[:min(len(can.Actions), 32)], ", ")))
	}
	return nil
}

// unasked says why a host got nothing.
func unasked(err error) error {
	words := netcause.Words(err)
	if errors.Is(err, fs.ErrNotExist) {
		words = "it is not connected"
	}
	return fmt.Errorf("cannot be asked (%s), nothing was done; pf9ctl host show says how it is", words)
}

// converse sends a message and takes in what the host says until it ends. It
// returns the last outcome and why there is no further one, nil if it has ended.
func (m *Manager) converse(ctx context.Context, host *http.Client, o *open, to string, in any, last wire.ActionOutcome) (wire.ActionOutcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(quietLimit, func() { cancel(errors.New("the host says nothing")) })
	defer quiet.Stop()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return last, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, body)
	if err != nil {
		return last, err
	}
	req.GetBody = nil // what may have been sent is not sent again
	req.Header.Set("Content-Type", "application/json")
	res, err := host.Do(req)
	if err != nil {
		return last, cause(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, maxLine)) // the status says it too
		if res.StatusCode/100 == 4 {
			last.State, last.Reason = wire.ActionRefused, "the host refuses the request: "+problemIn(res, text)
			return last, nil
		}
		return last, errors.New("the host says: " + problemIn(res, text))
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 4<<10), maxLine)
	for lines.Scan() {
		quiet.Reset(quietLimit)
		next, err := parse(lines.Bytes(), last.ID)
		if err != nil {
			return last, err
		}
		if last = next; last.Done() {
			return last, nil
		}
		m.update(o, last)
	}
	if err := lines.Err(); err != nil {
		return last, cause(ctx, err)
	}
	return last, io.ErrUnexpectedEOF
}

// cause is why ctx ended, if it did, or else err.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// problemIn is what an answer other than success says.
func problemIn(res *http.Response, body []byte) string {
	var p struct{ Message string }
	if json.Unmarshal(body, &p) == nil && p.Message != "" {
		return clip(p.Message, maxReason)
	}
	return res.Status
}

// parse reads a line about an action, and holds the host's words to their limits.
func parse(line []byte, id string) (o wire.ActionOutcome, err error) {
	if err := json.Unmarshal(line, &o); err != nil || o.ID != id {
		return o, errors.New("the host says something that is not understood")
	}
	o.Reason = clip(o.Reason, maxReason)
	o.Progress = min(max(o.Progress, 0), 100)
	if !o.Done() && o.State != wire.ActionAccepted {
		o.State = wire.ActionRunning
	}
	if r := o.Result; r != nil {
		r.Snapshot = clip(r.Snapshot, 255)
		if c := r.Console; c != nil && (len(c.URL) > maxURL || len(c.Fingerprint) > 255 || len(c.Type) > 64) {
			r.Console = nil
		}
	}
	return o, nil
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// update shows how far an action is.
func (m *Manager) update(o *open, now wire.ActionOutcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := &o.action
	if a.State == now.State && a.Reason == now.Reason && a.Progress == now.Progress {
		return
	}
	a.State, a.Reason, a.Progress = now.State, now.Reason, now.Progress
	a.Revision++
	close(o.changed)
	o.changed = make(chan struct{})
}

// end stores what came of an action and shows it. It returns when nothing of
// the action needs to be in memory any more.
func (m *Manager) end(ctx context.Context, o *open, last wire.ActionOutcome) {
	m.mu.Lock()
	a := o.action
	m.mu.Unlock()
	a.State, a.Reason, a.Uncertain, a.Progress = last.State, last.Reason, last.Uncertain, last.Progress
	a.Result = last.Result.WithoutSecrets()
	a.Ended = time.Now().UTC().Truncate(time.Microsecond)
	a.Revision++
	m.store(ctx, a)
	m.audit(context.WithoutCancel(ctx), &a, o.remote, "action."+a.Action, verdict(&a))
	m.log.Info("action has ended", "host", a.Host, "action", a.ID, "what", a.Action, "target", a.Target.ID, "state", a.State, "reason", a.Reason)
	m.mu.Lock()
	o.action = a
	if last.Result != nil {
		o.ticket = last.Result.Console
	}
	close(o.changed)
	o.changed = make(chan struct{})
	m.mu.Unlock()
	over := time.NewTimer(ticketLife)
	defer over.Stop()
	for { // until the ticket was fetched
		m.mu.Lock()
		waits, changed := o.ticket != nil, o.changed
		m.mu.Unlock()
		if !waits {
			return
		}
		select {
		case <-changed:
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// store writes an end down. If it cannot, the next run settles the action.
func (m *Manager) store(ctx context.Context, a api.Action) {
	for try := 1; ; try++ {
		err := m.finish(ctx, a)
		if err == nil {
			return
		}
		if try == storeTries || ctx.Err() != nil {
			m.log.Error("the end of an action is not stored", "action", a.ID, "state", a.State, "err", err)
			return
		}
		pause := time.NewTimer(time.Duration(try) * time.Second)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// verdict is an end as the audit wants it.
func verdict(a *api.Action) error {
	switch a.State {
	case wire.ActionSucceeded:
		return nil
	case wire.ActionRefused:
		return httpapi.Errorf(http.StatusConflict, "%s", a.Reason)
	}
	return errors.New(a.Reason)
}
