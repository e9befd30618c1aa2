// Package discovery runs discovery modules and keeps their faults apart. Each
// module is listed on a schedule and when it hints at a change; a module that
// fails, panics or hangs costs nobody else anything, and what it listed last
// stays in force.
//
// It does not compare lists nor send them: that is the [Sink]'s work.
package discovery

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// Module is a source and how to run it.
type Module struct {
	Name   string
	Kinds  []string // all that the source may list
	Source plugin.Source
	// Interval is how often to list while nothing is hinted; 0 means a minute.
	Interval time.Duration
	// Timeout bounds one list; 0 means 30 s. A list that does not return soon
	// after is abandoned, and no other is begun until it does.
	Timeout time.Duration
	// Config is what the source was made from. A module whose Config has
	// changed is started anew by Set. It must be comparable.
	Config any
}

// Declarer is a Source that declares its kinds. It is asked after each complete
// list, so a plugin that comes back with other kinds needs no restart.
type Declarer interface {
	// Declares returns the kinds at once, from what is known.
	Declares() []plugin.Kind
}

// BatchGetter is a Source that looks at many resources as cheaply as at one. What
// it hints at is gathered for a moment and looked at together, so that it may
// hint at thousands a second and no list is needed to keep up.
type BatchGetter interface {
	// GetAll calls emit once for each of the resources that is there. It
	// returns nil only if it has looked at all of them: what it has not emitted
	// is gone.
	GetAll(ctx context.Context, keys []plugin.Key, emit func(plugin.Resource)) error
}

// Sink takes what modules discover. Its methods are called by one goroutine
// per module.
type Sink interface {
	// Listed hands over a complete list.
	Listed(module string, kinds []string, rs []plugin.Resource)
	// Declared hands over all kinds that a [Declarer] declares now.
	Declared(module string, kinds []string, declared []plugin.Kind)
	// Got hands over one resource that was looked at alone; found false: it is gone.
	Got(module string, k plugin.Key, r plugin.Resource, found bool)
	// Changed hands over resources that were looked at together. Much that is
	// gone may be doubted until the next list, which follows soon.
	Changed(module string, kinds []string, upserts []plugin.Resource, deletes []plugin.Key)
	// Status tells of each change in a module's health.
	Status(st wire.SourceStatus)
	// Removed tells that a module runs no more.
	Removed(module string)
}

// The states of a module.
const (
	Starting = "starting" // no list yet
	OK       = "ok"
	Degraded = "degraded" // an older list is in force
	Failed   = "failed"   // there is no list in force, or the module does not return
)

// Runner runs modules. Make it with New.
type Runner struct {
	sink Sink
	log  *slog.Logger
	set  chan []Module // the newest wish only

	mu      sync.Mutex // guards workers for Relist; only Run changes it
	workers map[string]*worker
	left    map[string]<-chan struct{} // by module that was stopped: closed when its last call has returned
}

// New returns a runner that runs nothing yet.
func New(sink Sink, log *slog.Logger) *Runner {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Runner{
		sink: sink, log: log, set: make(chan []Module, 1),
		workers: make(map[string]*worker), left: make(map[string]<-chan struct{}),
	}
}

// Run runs the modules until ctx ends. When it has returned, the sink hears no
// more; a source that does not return from a call is left behind after a second.
func (r *Runner) Run(ctx context.Context, initial []Module) error {
	defer r.wait()
	r.reconcile(ctx, initial)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case modules := <-r.set:
			r.reconcile(ctx, modules)
		}
	}
}

// Set changes which modules run. Those that stay as they are go on untouched.
func (r *Runner) Set(modules []Module) {
	for {
		select {
		case r.set <- modules:
			return
		case <-r.set: // an older wish
		}
	}
}

// reconcile makes the running set equal to the wanted one.
func (r *Runner) reconcile(ctx context.Context, modules []Module) {
	for name, w := range r.workers {
		i := slices.IndexFunc(modules, func(m Module) bool { return m.Name == name })
		if i >= 0 && modules[i].Config == w.module.Config {
			continue
		}
		r.stop(name, w)
		if i < 0 {
			r.sink.Removed(name)
		}
	}
	for _, m := range modules {
		if r.workers[m.Name] == nil {
			r.start(ctx, m)
		}
	}
}

func (r *Runner) start(ctx context.Context, m Module) {
	w := newWorker(m, r.sink, r.log.With("module", m.Name), r.left[m.Name])
	delete(r.left, m.Name)
	w.start(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.workers[m.Name] = w
}

// stop ends a module. The sink hears no more of it; a call of its source may
// still be under way, and whoever runs next under the name waits for that.
func (r *Runner) stop(name string, w *worker) {
	r.left[name] = w.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.workers, name)
}

// wait ends all modules, and waits a little for their sources.
func (r *Runner) wait() {
	for name, w := range r.workers {
		r.stop(name, w)
	}
	limit := time.NewTimer(grace)
	defer limit.Stop()
	for name, left := range r.left {
		if left == nil {
			continue
		}
		select {
		case <-left:
		case <-limit.C:
			r.log.Warn("a module does not return and is left behind", "module", name)
			return
		}
	}
}

// Relist asks modules for a new list at once, all of them if none is named. It
// does not wait for it.
func (r *Runner) Relist(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, w := range r.workers {
		if len(names) == 0 || slices.Contains(names, name) {
			w.hints.insist()
		}
	}
}
