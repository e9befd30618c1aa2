package actions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	maxWait  = 50 * time.Second // of a request, for an action
	writeFor = 15 * time.Second // beyond that, for the answer
	maxKey   = 255              // bytes of an Idempotency-Key
)

var (
	paramVM    = httpapi.Param{Name: "vm", Summary: "only of this VM, by its id or the name that it had then"}
	paramState = httpapi.Param{Name: "state", Summary: "only in this state: " + strings.Join(states, ", ")}
	paramLimit = httpapi.Param{Name: "limit", Summary: fmt.Sprintf("most items in a page, 1 to %d; %d if absent", mostListed, usualPage)}
	paramAfter = httpapi.Param{Name: "continue", Summary: "the page behind the one that gave this token"}
)

var paramWait = httpapi.Param{Name: "wait", Summary: `how long the answer may wait for the action's end, as in "30s"; 50s at most, 0 if absent`}

// Routes is the package's part of the API.
func (m *Manager) Routes() []httpapi.Route {
	return []httpapi.Route{
		{
			Pattern: "POST /api/v1/hosts/{host}/actions", Access: httpapi.Operator,
			Summary: "Have a host do something to a resource: power, snapshots, console. 202 while it goes on, 200 when it has ended, however it did",
			Headers: []httpapi.Param{{Name: "Idempotency-Key", Summary: "names this request: with the same key and body again the answer is the first action, with another body 422"}},
			Query:   []httpapi.Param{paramWait},
			Request: api.ActionRequest{}, Response: api.Action{}, Do: m.serveBegin,
		},
		{
			Pattern: "GET /api/v1/hosts/{host}/actions", Access: httpapi.Reader, Summary: "List what a host was asked to do, newest first",
			Query:    []httpapi.Param{paramVM, paramState, paramLimit, paramAfter},
			Response: api.Actions{}, Do: m.serveList,
		},
		{
			Pattern: "GET /api/v1/actions", Access: httpapi.Reader, Summary: "List what all hosts were asked to do, newest first",
			Query:    []httpapi.Param{{Name: "host", Summary: "only of this host, by id"}, paramVM, paramState, paramLimit, paramAfter},
			Response: api.Actions{}, Do: m.serveList,
		},
		{
			Pattern: "GET /api/v1/actions/{id}", Access: httpapi.Reader, Summary: "Show an action of any host as it is now",
			Response: api.Action{}, Do: m.serveOne,
		},
		{
			Pattern: "GET /api/v1/hosts/{host}/actions/{id}", Access: httpapi.Reader, Summary: "Show an action, now or when it changes or ends",
			Query: []httpapi.Param{
				paramWait,
				{Name: "since", Summary: "a revision: the answer waits for the next one, not for the end"},
			},
			Response: api.Action{}, Do: m.serveGet,
		},
	}
}

func pathHost(r *http.Request) (wire.HostID, error) {
	id := wire.HostID(strings.ToLower(r.PathValue("host")))
	if err := id.Validate(); err != nil {
		return "", httpapi.Errorf(http.StatusNotFound, "%v", err)
	}
	return id, nil
}

// waitParam also takes a bare number, of seconds.
func waitParam(r *http.Request) (time.Duration, error) {
	v := r.URL.Query().Get("wait")
	if v == "" {
		return 0, nil
	}
	if _, err := strconv.Atoi(v); err == nil {
		v += "s"
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, httpapi.Errorf(http.StatusBadRequest, `wait=%.40s: want a duration such as "30s"`, v)
	}
	return min(d, maxWait), nil
}

// keyOf reads the Idempotency-Key, which its draft has as a string in quotes;
// many clients leave them out.
func keyOf(r *http.Request) (string, error) {
	all := r.Header.Values("Idempotency-Key")
	if len(all) == 0 {
		return "", nil
	}
	key := strings.TrimSpace(all[0])
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	good := func(c rune) bool { return c > ' ' && c < 0x7f && c != '"' && c != '\\' }
	if len(all) > 1 || key == "" || len(key) > maxKey || strings.ContainsFunc(key, func(c rune) bool { return !good(c) }) {
		return "", httpapi.Errorf(http.StatusBadRequest, "Idempotency-Key: want one, of 1 to %d printable characters without spaces, quotes and backslashes", maxKey)
	}
	return key, nil
}

func (m *Manager) serveBegin(w http.ResponseWriter, r *http.Request) error {
	host, err := pathHost(r)
	if err != nil {
		return err
	}
	wait, err := waitParam(r)
	if err != nil {
		return err
	}
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	var q api.ActionRequest
	if err := httpapi.ReadJSON(r, &q); err != nil {
		return err
	}
	by := httpapi.CallerOf(r.Context())
	a, err := m.Begin(r.Context(), by, host, key, &q)
	if err != nil {
		return err
	}
	w.Header().Set("Location", fmt.Sprintf("/api/v1/hosts/%s/actions/%s", a.Host, a.ID))
	if wait > 0 && !a.Done() {
		waited, err := m.waitFor(w, r, a.Host, a.ID, -1, wait)
		switch {
		case err == nil:
			a = waited
		case !errors.Is(err, errBusy): // it goes on, and Location says where
			return err
		}
	}
	return answer(w, &a)
}

// answer says by the status whether the action goes on.
func answer(w http.ResponseWriter, a *api.Action) error {
	status := http.StatusOK
	if !a.Done() {
		status = http.StatusAccepted
	}
	return httpapi.WriteJSON(w, status, a)
}

var errBusy = &httpapi.Error{Status: http.StatusServiceUnavailable, RetryAfter: time.Second, Message: "too many requests wait for actions: ask without wait"}

// waitFor waits for the end of an action, or for a revision after since. The
// server's deadlines, which are shorter, are moved.
func (m *Manager) waitFor(w http.ResponseWriter, r *http.Request, host wire.HostID, id string, since int, wait time.Duration) (api.Action, error) {
	select {
	case m.waiting <- struct{}{}:
		defer func() { <-m.waiting }()
	default:
		return api.Action{}, errBusy
	}
	rc := http.NewResponseController(w)
	for _, err := range []error{rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Now().Add(wait + writeFor))} {
		if err != nil && !errors.Is(err, http.ErrNotSupported) {
			return api.Action{}, err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	return m.Wait(ctx, httpapi.CallerOf(ctx), host, id, since)
}

func (m *Manager) serveGet(w http.ResponseWriter, r *http.Request) error {
	host, err := pathHost(r)
	if err != nil {
		return err
	}
	wait, err := waitParam(r)
	if err != nil {
		return err
	}
	since := -1
	if v := r.URL.Query().Get("since"); v != "" {
		if since, err = strconv.Atoi(v); err != nil || since < 0 {
			return httpapi.Errorf(http.StatusBadRequest, "since=%.40s is not a revision", v)
		}
	}
	id := r.PathValue("id")
	var a api.Action
	if wait > 0 {
		a, err = m.waitFor(w, r, host, id, since, wait)
	} else {
		a, err = m.Get(r.Context(), httpapi.CallerOf(r.Context()), host, id)
	}
	if err != nil {
		return err
	}
	return answer(w, &a)
}

// serveOne shows an action whose host the caller need not know.
func (m *Manager) serveOne(w http.ResponseWriter, r *http.Request) error {
	a, err := m.load(r.Context(), "", r.PathValue("id"))
	if err != nil {
		return err
	}
	m.refresh(&a)
	return answer(w, &a)
}

func (m *Manager) serveList(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	q := Query{VM: v.Get("vm"), State: v.Get("state"), After: v.Get("continue")}
	id := cmp.Or(r.PathValue("host"), v.Get("host"))
	if id != "" {
		q.Host = wire.HostID(strings.ToLower(id))
		if err := q.Host.Validate(); err != nil {
			status := http.StatusBadRequest
			if r.PathValue("host") != "" {
				status = http.StatusNotFound
			}
			return httpapi.Errorf(status, "%v", err)
		}
	}
	if q.State != "" && !slices.Contains(states, q.State) {
		return httpapi.Errorf(http.StatusBadRequest, "state=%.40s: want one of %s", q.State, strings.Join(states, ", "))
	}
	if text := v.Get("limit"); text != "" {
		var err error
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > mostListed {
			return httpapi.Errorf(http.StatusBadRequest, "limit=%.40s: want 1 to %d", text, mostListed)
		}
	}
	page, err := m.List(r.Context(), q)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, &page)
}
