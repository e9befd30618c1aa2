// Package actions has hosts do things to their resources: power, snapshots,
// consoles of VMs. It takes a request from the API, sends it through the host's
// tunnel, follows it to its end and keeps what came of it.
//
// An action is done once. A client that lost an answer asks again with the same
// Idempotency-Key and gets the first action; a host that lost its tunnel, or a
// deployment unit that was restarted, settles what is open: the host says how
// it ended, or, if it never got the request, that it never will do it. Nothing
// is queued: a host that is not connected gets nothing later, for a power-off
// that comes late does harm. Tickets of consoles are handed on and not kept.
package actions

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/sqldb"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

//go:embed schema/*.sql
var files embed.FS

// Schema is the package's tables.
func Schema() sqldb.Schema {
	sub, err := fs.Sub(files, "schema")
	if err != nil {
		panic(err) // the embedded tree is ours
	}
	return sqldb.Schema{Name: "actions", Files: sub}
}

// Limits bound what actions may cost. Zero fields mean the default.
type Limits struct {
	Open    int // actions that have not ended, of all hosts; 256
	PerHost int // of one host; 16
	Waiting int // requests that wait for an action; 256
	Kept    int // actions that have ended; 10,000
	Days    int // for which they are kept; 30
}

func (l *Limits) setDefaults() {
	for _, d := range []struct {
		v   *int
		def int
	}{{&l.Open, 256}, {&l.PerHost, 16}, {&l.Waiting, 256}, {&l.Kept, 10_000}, {&l.Days, 30}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
}

// Config is what a Manager needs; all but Resource, Limits, Audit and Log are required.
type Config struct {
	DB *sqldb.DB // with the tables of Schema
	// Host returns what is known of a host, or an error that says it is not.
	Host func(wire.HostID) (api.Host, error)
	// Resource returns what is known of a host's resource. An action ends when
	// what it did is seen there. nil: it ends when the host says so.
	Resource func(wire.HostID, plugin.Key) (api.Resource, error)
	// Dial reaches a service of a connected host.
	Dial func(ctx context.Context, host wire.HostID, service string) (net.Conn, error)
	// Audit is told of each request, and again of each end.
	Audit  func(context.Context, Event)
	Limits Limits
	Log    *slog.Logger // nil: discard
}

// Event is an entry for the audit.
type Event struct {
	Actor, Action, Object, Remote string
	// Err is nil if the action succeeded, or was accepted. It is an
	// *httpapi.Error if it was refused.
	Err error
}

// Manager begins and follows actions. Make one with New and run it.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	begun   chan *open    // Run follows them
	ended   chan struct{} // closed by Run
	waiting chan struct{} // one token for each request that waits
	left    []*open       // by an earlier run; immutable after New
	// grace is for a host to say how an action ended, after its deadline, seen for
	// what it did to be seen; immutable.
	grace, seen time.Duration

	mu      sync.Mutex // guards the fields below and all open actions
	open    map[string]*open
	perHost map[wire.HostID]int
}

// An open action has not ended, or holds a ticket that waits to be fetched.
type open struct {
	remote string // address of who asked
	sent   bool   // by an earlier run, perhaps; immutable

	// Manager.mu guards these.
	action  api.Action
	ticket  *wire.ConsoleTicket
	changed chan struct{} // closed and replaced with each change
}

// New returns a Manager on a database that has the package's tables. It reads
// what an earlier run left open, so that this is told from what comes.
func New(ctx context.Context, cfg Config) (*Manager, error) {
	cfg.Limits.setDefaults()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Audit == nil {
		cfg.Audit = func(context.Context, Event) {}
	}
	m := &Manager{
		cfg: cfg, log: cfg.Log,
		begun: make(chan *open), ended: make(chan struct{}), waiting: make(chan struct{}, cfg.Limits.Waiting), grace: time.Minute, seen: seenLimit,
		open: make(map[string]*open), perHost: make(map[wire.HostID]int),
	}
	left, err := m.loadOpen(ctx)
	if err != nil {
		return nil, fmt.Errorf("load open actions: %w", err)
	}
	for _, a := range left {
		o := &open{sent: true, action: a, changed: make(chan struct{})}
		m.enter(o) // nobody else knows m yet
		m.left = append(m.left, o)
	}
	return m, nil
}

// Run follows actions until ctx ends, those that an earlier run left open too.
// What is open then is left to the next run.
func (m *Manager) Run(ctx context.Context) error {
	defer close(m.ended)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, o := range m.left {
		wg.Go(func() { m.follow(ctx, o) })
	}
	hour := time.NewTicker(time.Hour)
	defer hour.Stop()
	for n := 1; ; n++ {
		if n%trimEvery == 1 {
			m.trim(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case o := <-m.begun:
			wg.Go(func() { m.follow(ctx, o) })
		case <-hour.C:
			n = 0
		}
	}
}

// trimEvery is after how many actions old ones are looked for.
const trimEvery = 500

// enter makes an action open. Callers hold mu.
func (m *Manager) enter(o *open) {
	m.open[o.action.ID] = o
	m.perHost[o.action.Host]++
}

// leave forgets an open action, which the database has.
func (m *Manager) leave(o *open) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open[o.action.ID] != o {
		return
	}
	delete(m.open, o.action.ID)
	if m.perHost[o.action.Host]--; m.perHost[o.action.Host] == 0 {
		delete(m.perHost, o.action.Host)
	}
}

// Open returns how many actions have not ended.
func (m *Manager) Open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.open)
}

// usual is how long an action may take if the request does not say.
func usual(action string) time.Duration {
	switch action {
	case wire.ActionConsole:
		return 30 * time.Second
	case wire.ActionShutdown:
		return 10 * time.Minute
	case wire.ActionSnapshotCreate, wire.ActionSnapshotRemove, wire.ActionSnapshotRevert:
		return 30 * time.Minute
	}
	return 5 * time.Minute
}

// Begin has a host do something, or returns the action that was begun with the
// same key before. An empty key is like none.
func (m *Manager) Begin(ctx context.Context, by httpapi.Caller, host wire.HostID, key string, q *api.ActionRequest) (api.Action, error) {
	limit := usual(q.Action)
	if q.TimeoutSeconds != 0 {
		limit = time.Duration(q.TimeoutSeconds) * time.Second
	}
	if q.TimeoutSeconds < 0 || limit > wire.MaxActionTime {
		return api.Action{}, httpapi.Errorf(http.StatusBadRequest, "timeout_seconds: want 1 to %d", int(wire.MaxActionTime/time.Second))
	}
	if err := q.Arguments.ValidateFor(q.Action, q.Target); err != nil {
		return api.Action{}, httpapi.Errorf(http.StatusBadRequest, "%v", err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	a := api.Action{
		ID: newID(), Host: host, Action: q.Action, Target: q.Target, Arguments: q.Arguments,
		RequestedBy: by.Name, Requested: now, Deadline: now.Add(limit), State: wire.ActionAccepted, Revision: 1,
	}
	if key == "" {
		key = a.ID
	}
	digest := digestOf(host, q)
	if first, err := m.first(ctx, by.Name, key, digest); err != nil || first != "" {
		if err != nil {
			return api.Action{}, err
		}
		return m.Get(ctx, by, host, first)
	}
	err := m.begin(ctx, by, key, digest, &a)
	if errors.Is(err, errTaken) { // by a twin of this request, just now
		first, err := m.first(ctx, by.Name, key, digest)
		if err != nil {
			return api.Action{}, err
		}
		return m.Get(ctx, by, host, first)
	}
	m.audit(ctx, &a, by.Remote, "action.request", err)
	return a, err
}

// begin stores a new action and hands it to Run.
func (m *Manager) begin(ctx context.Context, by httpapi.Caller, key, digest string, a *api.Action) error {
	h, err := m.cfg.Host(a.Host)
	if err != nil {
		return err
	}
	a.Hostname = h.Hostname
	if m.cfg.Resource != nil {
		if r, err := m.cfg.Resource(a.Host, a.Target); err == nil { // the host says whether it is there
			a.Name = r.Name
		}
	}
	if !h.Connected {
		return httpapi.Errorf(http.StatusServiceUnavailable, "host %s is disconnected (%s), nothing was done; try again when it is back", hostName(a), h.Reason)
	}
	o := &open{remote: by.Remote, action: *a, changed: make(chan struct{})}
	m.mu.Lock()
	all, own := len(m.open), m.perHost[a.Host]
	if all < m.cfg.Limits.Open && own < m.cfg.Limits.PerHost {
		m.enter(o)
		m.mu.Unlock()
	} else {
		m.mu.Unlock()
		return &httpapi.Error{
			Status: http.StatusServiceUnavailable, RetryAfter: 5 * time.Second,
			Message: fmt.Sprintf("%d actions are under way, %d of them on this host, so nothing was done: wait for one to end", all, own),
		}
	}
	if err := m.insert(ctx, a, key, digest); err != nil {
		m.leave(o)
		return err
	}
	select {
	case m.begun <- o:
		return nil
	case <-m.ended: // the next run finds that the host never got it
		m.leave(o)
		return httpapi.Errorf(http.StatusServiceUnavailable, "the deployment unit is shutting down, nothing was done; try again")
	}
}

// hostName is what people call an action's host.
func hostName(a *api.Action) string { return cmp.Or(a.Hostname, string(a.Host)) }

// audit records a request or an end.
func (m *Manager) audit(ctx context.Context, a *api.Action, remote, action string, err error) {
	with := func(id, name string) string {
		if name == "" {
			return id
		}
		return fmt.Sprintf("%s (%.128s)", id, name)
	}
	m.cfg.Audit(ctx, Event{
		Actor: a.RequestedBy, Action: action, Remote: remote, Err: err,
		Object: fmt.Sprintf("%s %s %s %s on %s", a.ID, a.Action, a.Target.Kind, with(a.Target.ID, a.Name), with(string(a.Host), a.Hostname)),
	})
}

// Get returns an action of a host. Who asked for a console gets its ticket, once.
func (m *Manager) Get(ctx context.Context, by httpapi.Caller, host wire.HostID, id string) (api.Action, error) {
	m.mu.Lock()
	o := m.open[id]
	if o != nil && o.action.Host == host {
		defer m.mu.Unlock()
		return m.view(o, by), nil
	}
	m.mu.Unlock()
	return m.load(ctx, host, id)
}

// view is an open action as a caller may see it. Callers hold mu.
func (m *Manager) view(o *open, by httpapi.Caller) api.Action {
	a := o.action
	if o.ticket == nil || by.Name != a.RequestedBy || by.Access < httpapi.Operator { // names are not unique
		return a
	}
	result := wire.ActionResult{}
	if a.Result != nil {
		result = *a.Result
	}
	result.Console, o.ticket = o.ticket, nil
	a.Result = &result
	close(o.changed)
	o.changed = make(chan struct{})
	return a
}

// Wait returns an action when it has ended or its revision is more than since,
// or when ctx ends. A negative since waits for the end.
func (m *Manager) Wait(ctx context.Context, by httpapi.Caller, host wire.HostID, id string, since int) (api.Action, error) {
	for {
		m.mu.Lock()
		o := m.open[id]
		if o == nil || o.action.Host != host {
			m.mu.Unlock()
			return m.load(context.WithoutCancel(ctx), host, id)
		}
		if o.action.Done() || since >= 0 && o.action.Revision > since || ctx.Err() != nil {
			defer m.mu.Unlock()
			return m.view(o, by), nil
		}
		changed := o.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-m.ended: // nothing will change any more
			return m.Get(context.WithoutCancel(ctx), by, host, id)
		case <-ctx.Done():
		}
	}
}
