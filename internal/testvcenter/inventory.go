package testvcenter

import (
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// object is a managed object.
type object struct {
	ref   types.ManagedObjectReference
	props map[string]any
}

// change is an entry of the log of changes.
type change struct {
	ref   types.ManagedObjectReference
	kind  types.ObjectUpdateKind
	paths []string // of a modification
}

// inventory is what the vCenter manages. The server's mu guards it.
type inventory struct {
	objects map[string]*object
	order   []string // ids, also of what was removed
	log     []change
	unknown map[string]bool // properties that this vCenter does not have
	last    int             // number of the newest object
	hosts   []string        // ids, where new VMs go
	stores  []string
	nets    []string
	pool    string
}

// next returns what a collector has not been told yet, at most one page of it.
func (v *inventory) next(k *collector) (updates []types.ObjectUpdate, more bool) {
	if !k.begun {
		k.begun, k.seen = true, len(v.log)
		for _, id := range v.order {
			if o := v.objects[id]; o != nil && k.paths[o.ref.Type] != nil && !(k.blind && o.ref.Type == "VirtualMachine") {
				k.initial = append(k.initial, id)
			}
		}
	}
	for len(k.initial) > 0 && len(updates) < pageSize {
		if o := v.objects[k.initial[0]]; o != nil {
			updates = append(updates, v.update(k, o, types.ObjectUpdateKindEnter, k.paths[o.ref.Type]))
		}
		k.initial = k.initial[1:]
	}
	for len(k.initial) == 0 && k.seen < len(v.log) && len(updates) < pageSize {
		c := v.log[k.seen]
		k.seen++
		paths := k.paths[c.ref.Type]
		if paths == nil || k.blind && c.ref.Type == "VirtualMachine" {
			continue
		}
		o := v.objects[c.ref.Value]
		switch {
		case c.kind == types.ObjectUpdateKindLeave:
			updates = append(updates, types.ObjectUpdate{Kind: c.kind, Obj: c.ref})
		case o == nil: // it has left since
		case c.kind == types.ObjectUpdateKindEnter:
			updates = append(updates, v.update(k, o, c.kind, paths))
		default:
			paths = slices.DeleteFunc(slices.Clone(c.paths), func(p string) bool { return !slices.Contains(paths, p) })
			if len(paths) > 0 {
				updates = append(updates, v.update(k, o, c.kind, paths))
			}
		}
	}
	return updates, len(k.initial) > 0 || k.seen < len(v.log)
}

func (v *inventory) update(_ *collector, o *object, kind types.ObjectUpdateKind, paths []string) types.ObjectUpdate {
	u := types.ObjectUpdate{Kind: kind, Obj: o.ref}
	for _, p := range paths {
		if value, ok := o.props[p]; ok {
			u.ChangeSet = append(u.ChangeSet, types.PropertyChange{Name: p, Op: types.PropertyChangeOpAssign, Val: value})
		}
	}
	return u
}

// add puts an object into the inventory.
func (v *inventory) add(typ, prefix string, props map[string]any) types.ManagedObjectReference {
	v.last++
	ref := types.ManagedObjectReference{Type: typ, Value: fmt.Sprintf("%s%d", prefix, v.last)}
	v.objects[ref.Value] = &object{ref: ref, props: props}
	v.order = append(v.order, ref.Value)
	v.log = append(v.log, change{ref: ref, kind: types.ObjectUpdateKindEnter})
	return ref
}

// wake tells waits under way that something is different. Callers hold mu.
func (s *Server) wake() {
	close(s.change)
	s.change = make(chan struct{})
}

// Set gives a property of an object a value, as a change that is notified.
func (s *Server) Set(id, path string, value any) { s.set(id, path, value, true) }

// SetSilently is Set without a notification.
func (s *Server) SetSilently(id, path string, value any) { s.set(id, path, value, false) }

func (s *Server) set(id, path string, value any, told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.inventory.objects[id]
	if o == nil {
		return
	}
	o.props[path] = value
	if told {
		s.inventory.log = append(s.inventory.log, change{ref: o.ref, kind: types.ObjectUpdateKindModify, paths: []string{path}})
		s.wake()
	}
}

// Get returns a property of an object; nil: it has none, or there is no object.
func (s *Server) Get(id, path string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.inventory.objects[id]; o != nil {
		return o.props[path]
	}
	return nil
}

// AddVM makes a VM and returns its id.
func (s *Server) AddVM() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.inventory.addVM()
	s.wake()
	return id
}

// Remove takes objects away at once.
func (s *Server) Remove(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if o := s.inventory.objects[id]; o != nil {
			delete(s.inventory.objects, id)
			s.inventory.log = append(s.inventory.log, change{ref: o.ref, kind: types.ObjectUpdateKindLeave})
		}
	}
	s.wake()
}

// IDs returns the ids of all objects of a type, or of all, in the order in which
// they were made.
func (s *Server) IDs(typ string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inventory.there(typ)
}

func (v *inventory) there(typ string) (ids []string) {
	for _, id := range v.order {
		if o := v.objects[id]; o != nil && (typ == "" || o.ref.Type == typ) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Unknown lets the server not know a property.
func (s *Server) Unknown(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inventory.unknown[path] = true
}

// Replace makes the server another vCenter with the same inventory.
func (s *Server) Replace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	s.about.InstanceUuid = newUUID(1000 + s.next)
	clear(s.sessions)
	s.wake()
}

// Started is a time in the past at which everything was booted.
var Started = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
