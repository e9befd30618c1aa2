// Package vcenter discovers what a vCenter manages: VMs and templates, clusters,
// hosts, datastores, networks and what they are in. It is for the gateway, one
// [Source] for each vCenter. It only reads.
//
// Watch does the work: it reads everything once and is then told of changes, by
// two property collectors of one session, topology first and VMs second. What
// comes is made small at once and kept; List, Get and GetAll answer from there,
// and with an error while vCenter cannot be heard.
//
// What it stands on:
//
//   - A session that is gone looks like an empty vCenter: the answer to a read is
//     then no fault but every object "missing". Such an answer is an error here.
//   - An object is deleted only when vCenter says that it left, or when a whole
//     pass over everything, without an error and in a session that is alive
//     afterwards, has not shown it. If much vanishes at once, it takes two passes.
//   - The version that is waited from moves on only after what came was taken in.
//   - A wait over a path that swallows packets blocks for ever, so each has a
//     deadline. It is far below the idle limit of sessions, which waiting alone
//     does not keep alive.
//   - Filters start from the root folder: a container view sends everything again
//     whenever one object is added.
//   - Some properties change without a notification. They are read again every
//     ten minutes, and how full the datastores are every minute.
//   - vCenter holds a wait for 40 s, in which nobody knows whether it lives. It is
//     asked the time every five seconds, and at once when somebody doubts it.
package vcenter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// timing is what tests shorten.
type timing struct {
	maxWait    int32         // seconds that vCenter may hold a wait
	waitLimit  time.Duration // when a wait is given up
	callLimit  time.Duration // likewise of any other call
	firstList  time.Duration // for which a list waits for the first pass
	grace      time.Duration // for which a list waits for a break to heal
	firstRetry time.Duration // after a break
	lastRetry  time.Duration // as longest
	calm       time.Duration // longest after breaks that each cost a whole pass
	healthy    time.Duration // after which earlier breaks are forgotten
	doubt      time.Duration // before a second look at what has vanished
	sweepEvery time.Duration // between readings of what has no notification
	fillsEvery time.Duration // between readings of how full the datastores are
	beat       time.Duration // between proofs that vCenter answers
	proofLimit time.Duration // when a proof is given up
	proofGap   time.Duration // between proofs at least, however much it is doubted
}

var usual = timing{
	maxWait: 40, waitLimit: 50 * time.Second, callLimit: 30 * time.Second,
	firstList: 2 * time.Second, grace: 2 * time.Second,
	firstRetry: 100 * time.Millisecond, lastRetry: 2 * time.Second, calm: 30 * time.Second, healthy: 10 * time.Second,
	doubt: 5 * time.Second, sweepEvery: 10 * time.Minute, fillsEvery: time.Minute,
	beat: 5 * time.Second, proofLimit: 5 * time.Second, proofGap: time.Second,
}

// Options says what to discover. Session must be given.
type Options struct {
	// Name is the vCenter's in the configuration; empty means the session's.
	Name string
	// Session is the vCenter's. Watch logs in by it, and out when it ends.
	Session *session.Session
	// Clusters are the names, paths or managed object ids of the clusters to
	// discover, with all that belongs to them; none: everything. A cluster that
	// was found stays chosen when it is renamed.
	Clusters []string
	// InstanceUUID is what the vCenter must be; empty: what it was at first.
	InstanceUUID string
	// Fills is how often to read how full the datastores are; 0: every minute.
	Fills time.Duration
	// Log may be nil.
	Log *slog.Logger
}

// Source discovers one vCenter. Make it with New. It is a plugin.Source,
// plugin.Watcher and plugin.Getter, and looks at many resources at once.
type Source struct {
	opts   Options
	log    *slog.Logger
	store  *store
	health health
	time   timing
	gate   chan struct{} // who watches holds its one place
	doubts chan struct{} // has one when vCenter is to prove that it answers
	news   chan struct{} // has one when whoever lists is to hear of another cause

	// Of whoever holds the gate.
	epoch uint64   // counts passes
	old   leftover // collectors of an earlier pass
	drop  map[string]bool
}

// New returns a source that knows nothing yet. It connects when it is watched.
func New(o Options) *Source {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Name == "" {
		o.Name = o.Session.Name()
	}
	limits := usual
	if o.Fills > 0 {
		limits.fillsEvery = o.Fills
	}
	return &Source{
		opts: o, log: o.Log.With("vcenter", o.Name), store: newStore(o.Clusters), time: limits,
		health: newHealth(), gate: make(chan struct{}, 1), doubts: make(chan struct{}, 1), news: make(chan struct{}, 1), drop: make(map[string]bool),
	}
}

// Module is the name that the source's module should have.
func (s *Source) Module() string { return inventory.VCenterModule(s.opts.Name) }

// Kinds are all kinds that a Source may list; its TagSource lists tags.
func Kinds() []string {
	return []string{
		inventory.KindVM, inventory.KindTemplate, inventory.KindVCenter, inventory.KindDatacenter, inventory.KindFolder,
		inventory.KindCluster, inventory.KindESXi, inventory.KindResourcePool, inventory.KindDatastore,
		inventory.KindDatastoreCluster, inventory.KindPortGroup, inventory.KindSwitch,
	}
}

// List emits everything, or says since when and why it is not known. It waits a
// little for the first pass, and for a break that may heal at once.
func (s *Source) List(ctx context.Context, emit func(plugin.Resource)) error {
	if err := s.health.await(ctx, s.time.firstList, s.time.grace); err != nil {
		return s.describe(err)
	}
	for _, r := range s.store.all() {
		emit(r)
	}
	return ctx.Err()
}

// Get returns one resource as it is known.
func (s *Source) Get(ctx context.Context, k plugin.Key) (r plugin.Resource, found bool, err error) {
	err = s.GetAll(ctx, []plugin.Key{k}, func(got plugin.Resource) { r, found = got, true })
	return r, found, err
}

// GetAll emits those resources that are there.
func (s *Source) GetAll(ctx context.Context, keys []plugin.Key, emit func(plugin.Resource)) error {
	if err := errors.Join(ctx.Err(), s.health.now()); err != nil {
		return s.describe(err)
	}
	for _, r := range s.store.some(keys) {
		emit(r)
	}
	return nil
}

func (s *Source) describe(err error) error {
	return fmt.Errorf("vCenter %s: %w", s.opts.Name, err)
}

// State is how the discovery is, for whoever shows it. If it is neither OK nor
// Reading, Problem says why.
type State struct {
	OK       bool           // what is known is true now
	Reading  bool           // everything is read for the first time, and nothing has failed
	Read     int            // objects that a pass under way has read
	Known    bool           // everything was read at least once
	Since    time.Time      // since or until when what is known is true
	Heard    time.Time      // when vCenter answered last; zero: never
	Changed  time.Time      // when something last changed after it was read; zero: never
	Problem  error          // nil: none
	Objects  map[string]int // by kind
	Instance string         // vCenter's instance UUID; empty: not known yet
}

// Instance is vCenter's instance UUID; empty: not known yet.
func (s *Source) Instance() string { return s.store.instance() }

// StaleSince is when what is known was true last; zero: it is true now.
func (s *Source) StaleSince() time.Time {
	if st := s.health.state(); !st.OK {
		return st.Since
	}
	return time.Time{}
}

// State tells how the discovery is.
func (s *Source) State() State {
	st := s.health.state()
	st.Objects, st.Instance = s.store.counts()
	return st
}
