// Package plugin is the public SDK of openpf9: what a discovery module is.
//
// A module answers one question: what exists now? It implements [Source] and
// nothing else is required of it. Comparing lists, numbering changes, sending
// them and trying again after a failure is the work of whoever runs the module.
// The modules built into the agent and the gateway implement the same interface
// and pass the same conformance kit, package plugintest.
//
// A module of its own executable is a plugin: its main function is [Serve],
// which speaks with the agent. docs/writing-a-plugin.md leads through the first
// one.
//
// The package imports the standard library only, so that a third party takes
// no dependency of ours.
package plugin

import (
	"context"
	"errors"
)

// Key identifies a resource on one host. It stays the same for the life of the
// thing it names: a VM's UUID, never its place in a listing.
type Key struct {
	// Kind is a dotted name such as "compute.vm". Core kinds are the constants
	// of package inventory; a third party's begin with its reversed domain.
	Kind string `json:"kind"`
	// ID is unique within the kind on one host, at most 255 bytes.
	ID string `json:"id"`
}

// Resource is one discovered thing.
type Resource struct {
	Key
	// Name is what people call the thing. It may change and need not be unique.
	Name string `json:"name,omitempty"`
	// Parent is what the thing belongs to. Zero means the host itself.
	Parent Key `json:"parent,omitzero"`
	// Spec is the kind's struct. Its JSON encoding must be the same each time
	// while the thing does not change: sort slices that have no order. What is
	// in it must not be changed once it was emitted.
	Spec any `json:"spec"`
	// Ext carries attributes beyond the kind's struct, named "domain/attribute".
	Ext map[string]any `json:"ext,omitempty"`
}

// ErrNotYet is what [Source].List may return, wrapped with how far it is, before it
// can know everything for the first time, while nothing is wrong: a module of the
// agent or the gateway is then starting, not in trouble, and is asked again soon. Of
// an executable of its own it is an error as any other.
var ErrNotYet = errors.New("not everything is read yet")

// Source lists everything it can see of its kinds.
type Source interface {
	// List calls emit once for each resource, from one goroutine, and returns
	// nil only if the list is complete. After an error what was emitted is
	// discarded and the last complete list stays in force, marked stale: an
	// error never deletes. List returns soon after ctx ends.
	List(ctx context.Context, emit func(Resource)) error
}

// Watcher is a Source that learns of changes by itself.
type Watcher interface {
	// Watch blocks until ctx ends or watching breaks, and calls changed when
	// something may have changed. A key names what to look at again through
	// [Getter]; no key at all asks for a new list. Hints may be repeated,
	// late or lost: they make discovery fast, never right. Watch runs beside
	// List, and is called again if it returns before ctx ends.
	Watch(ctx context.Context, changed func(...Key)) error
}

// Getter is a Source that can look at one resource.
type Getter interface {
	// Get returns the resource, or false if it is gone.
	Get(ctx context.Context, k Key) (Resource, bool, error)
}
