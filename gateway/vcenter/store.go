package vcenter

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/plugin"
)

// When more than so many objects, and more than one in so many, vanish at once,
// it takes a second look to believe it. So it does when no VM is left.
const (
	muchVanished = 50
	oneIn        = 5
)

// fact is what is kept of an object beside its name and parent. The setters of
// its type fill it.
type fact interface {
	// show makes the spec that is listed. What it returns is not changed later.
	show(v *view, o *object) (kind string, spec any)
}

// object is a managed object.
type object struct {
	typ    string
	id     string // managed object id, unique on a vCenter whatever the type
	name   string
	parent string // id
	fact   fact

	epoch   uint64 // of the pass that saw it last; 0: it has left
	changed uint64 // count of changes at its last
	// dangles says that something it refers to is not known yet.
	dangles bool
	shown   *plugin.Resource // as it is listed; nil: it is not
}

// server is what vCenter says of itself.
type server struct {
	about       types.AboutInfo
	url         string
	fingerprint string
}

// store is what is known of one vCenter.
type store struct {
	mu      sync.RWMutex // guards the fields below
	server  server
	objects map[string]*object
	uuids   map[string]int // VMs by instance UUID
	twins   []string       // instance UUIDs that several VMs have or had, to be shown
	changes uint64         // counts what is taken in
	doubted uint64         // pass whose losses were not believed; 0: none
	scope   scope
	view    *view
	listed  map[plugin.Key]*plugin.Resource
}

func newStore(clusters []string) *store {
	s := &store{objects: make(map[string]*object), uuids: make(map[string]int), listed: make(map[plugin.Key]*plugin.Resource)}
	s.scope = newScope(clusters)
	s.view = newView(s)
	return s
}

func (s *store) instance() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.server.about.InstanceUuid
}

// setServer notes what vCenter says of itself. It is listed after the next pass.
func (s *store) setServer(v server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = v
}

// take takes in a reply of a pass. Nothing is listed anew before finish.
func (s *store) take(epoch uint64, set *types.UpdateSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, left, _ := s.apply(epoch, set)
	for _, id := range left {
		if o := s.objects[id]; o != nil {
			o.epoch = 0
		}
	}
}

// finish ends a pass: what it has not shown goes, unless that is too much to be
// believed the first time, and everything is listed anew.
func (s *store) finish(epoch uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	root, vms, lostVMs := false, 0, 0
	var gone, confirmed []string
	for id, o := range s.objects {
		switch {
		case o.epoch == epoch:
			root = root || o.typ == typeFolder && o.parent == ""
			vms += isVM(o)
		case s.doubted != 0 && o.epoch < s.doubted:
			confirmed = append(confirmed, id)
		default:
			gone = append(gone, id)
			lostVMs += isVM(o)
		}
	}
	if !root {
		return errors.New("the pass has not shown the root folder: give the account the role Read-only there, propagating")
	}
	if s.tooMuch(len(gone)) || vms == 0 && lostVMs > 0 {
		s.doubted = epoch
		return errVanished
	}
	s.doubted = 0
	s.forget(slices.Concat(gone, confirmed))
	s.twins = nil
	s.relist(s.objects)
	return nil
}

func isVM(o *object) int {
	if o.typ == typeVM {
		return 1
	}
	return 0
}

func (s *store) tooMuch(gone int) bool { return gone > muchVanished && gone*oneIn > len(s.objects) }

// change takes in a reply of somebody who follows. It returns the keys that
// differ now and the ids that have left, which stay until remove.
func (s *store) change(epoch uint64, set *types.UpdateSet) (keys []plugin.Key, left []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	touched, left, wide := s.apply(epoch, set)
	return s.refresh(touched, wide), left
}

// remove takes away what has left, unless that is too much to be believed
// without a pass, and returns the keys that differ now.
func (s *store) remove(ids []string) ([]plugin.Key, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ids = slices.DeleteFunc(ids, func(id string) bool { return s.objects[id] == nil })
	if s.tooMuch(len(ids)) {
		for _, id := range ids {
			s.objects[id].epoch = 0
		}
		s.doubted = max(s.epochNow(), 1)
		return nil, errVanished
	}
	wide := false
	for _, id := range ids {
		wide = wide || s.objects[id].typ != typeVM
	}
	keys := s.forget(ids)
	return append(keys, s.refresh(nil, wide)...), nil
}

// epochNow is the newest pass that has shown anything.
func (s *store) epochNow() (newest uint64) {
	for _, o := range s.objects {
		newest = max(newest, o.epoch)
	}
	return newest
}

// apply takes the updates in. wide says that names or places have changed that
// others show; touched are the objects that have changed.
func (s *store) apply(epoch uint64, set *types.UpdateSet) (touched map[string]*object, left []string, wide bool) {
	touched = make(map[string]*object)
	if set == nil {
		return touched, nil, false
	}
	s.changes++
	for i := range set.FilterSet {
		for j := range set.FilterSet[i].ObjectSet {
			u := &set.FilterSet[i].ObjectSet[j]
			if u.Kind == types.ObjectUpdateKindLeave {
				left = append(left, u.Obj.Value)
				delete(touched, u.Obj.Value)
				continue
			}
			left = slices.DeleteFunc(left, func(id string) bool { return id == u.Obj.Value }) // it is back
			o, w := s.update(u)
			if o == nil {
				continue
			}
			o.epoch, o.changed = epoch, s.changes
			touched[o.id] = o
			wide = wide || w
		}
	}
	return touched, left, wide
}

// update takes one object's update in; nil: there is no such object. wide says
// that others may show what has changed.
func (s *store) update(u *types.ObjectUpdate) (o *object, wide bool) {
	t := known[u.Obj.Type]
	o = s.objects[u.Obj.Value]
	if t == nil || o == nil && u.Kind != types.ObjectUpdateKindEnter {
		return nil, false // of no use to us, or it has left since
	}
	var name, parent string
	if o == nil {
		o = &object{typ: t.typ, id: intern(u.Obj.Value)}
		s.objects[o.id] = o
	} else {
		name, parent = o.name, o.parent
	}
	before := instanceUUID(o)
	if u.Kind == types.ObjectUpdateKindEnter { // everything that it has follows
		o.name, o.parent, o.fact = "", "", t.fresh()
	}
	for k := range u.ChangeSet {
		set(t, o, &u.ChangeSet[k])
	}
	s.countUUID(before, instanceUUID(o))
	return o, o.typ != typeVM && (o.name != name || o.parent != parent)
}

func set(t *collected, o *object, c *types.PropertyChange) {
	v := c.Val
	if c.Op == types.PropertyChangeOpRemove || c.Op == types.PropertyChangeOpIndirectRemove {
		v = nil
	}
	if f := common[c.Name]; f != nil {
		f(o, v)
	} else if f := t.props[c.Name]; f != nil {
		f(o, v)
	}
}

func instanceUUID(o *object) string {
	if f, ok := o.fact.(*vmFact); ok {
		return f.instanceUUID()
	}
	return ""
}

// countUUID keeps count of VMs that have the same.
func (s *store) countUUID(before, after string) {
	if before == after {
		return
	}
	if s.uuids[before]--; s.uuids[before] <= 0 {
		delete(s.uuids, before)
	}
	if after != "" {
		s.uuids[after]++
	}
	for _, uuid := range []string{before, after} {
		if uuid == before && s.uuids[uuid] > 0 || s.uuids[uuid] > 1 {
			s.twins = append(s.twins, uuid)
		}
	}
}

// forget drops objects and returns the keys that were listed.
func (s *store) forget(ids []string) (keys []plugin.Key) {
	for _, id := range ids {
		o := s.objects[id]
		if o == nil {
			continue
		}
		s.countUUID(instanceUUID(o), "")
		delete(s.objects, id)
		if o.shown != nil {
			delete(s.listed, o.shown.Key)
			keys = append(keys, o.shown.Key)
		}
	}
	return keys
}

// refresh lists touched objects anew and whatever shows something of them.
func (s *store) refresh(touched map[string]*object, wide bool) []plugin.Key {
	touched = s.withTwins(touched)
	again := touched
	topo := wide
	for _, o := range touched {
		topo = topo || o.typ != typeVM
	}
	if topo {
		again = maps.Clone(touched)
		if again == nil {
			again = make(map[string]*object)
		}
		for id, o := range s.objects {
			if wide || o.typ != typeVM || o.dangles {
				again[id] = o
			}
		}
	}
	return s.relist(again)
}

// withTwins adds the VMs whose instance UUID was or is another's too.
func (s *store) withTwins(touched map[string]*object) map[string]*object {
	if len(s.twins) == 0 {
		return touched
	}
	all := make(map[string]*object, len(touched))
	maps.Copy(all, touched)
	for id, o := range s.objects {
		if slices.Contains(s.twins, instanceUUID(o)) {
			all[id] = o
		}
	}
	s.twins = nil
	return all
}

// relist makes what is listed of objects and returns the keys that differ.
func (s *store) relist(objects map[string]*object) (keys []plugin.Key) {
	for _, o := range objects {
		if o.typ != typeVM { // a place may have moved
			s.view = newView(s)
			s.scope.resolve(s.view)
			break
		}
	}
	for _, o := range objects {
		keys = append(keys, s.show(o)...)
	}
	if len(objects) == 0 || s.server.about.InstanceUuid == "" {
		return keys
	}
	return append(keys, s.put(nil, s.view.server())...)
}

// show makes what is listed of one object.
func (s *store) show(o *object) []plugin.Key {
	var fresh *plugin.Resource
	s.view.dangles = false
	if s.scope.has(s.view, o) {
		fresh = s.view.resource(o)
	}
	o.dangles = s.view.dangles
	old := o.shown
	o.shown = fresh
	if old != nil && fresh != nil && old.Key == fresh.Key && reflect.DeepEqual(old, fresh) {
		o.shown = old
		return nil
	}
	return s.put(old, fresh)
}

// put lists fresh in the place of old; each may be nil.
func (s *store) put(old, fresh *plugin.Resource) (keys []plugin.Key) {
	if old != nil && (fresh == nil || old.Key != fresh.Key) { // a VM becomes a template
		delete(s.listed, old.Key)
		keys = append(keys, old.Key)
	}
	if fresh == nil {
		return keys
	}
	if had := s.listed[fresh.Key]; had != nil && reflect.DeepEqual(had, fresh) {
		return keys
	}
	s.listed[fresh.Key] = fresh
	return append(keys, fresh.Key)
}

// all returns everything that is listed.
func (s *store) all() []plugin.Resource {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]plugin.Resource, 0, len(s.listed))
	for _, r := range s.listed {
		out = append(out, *r)
	}
	return out
}

// some returns those of the keys that are listed.
func (s *store) some(keys []plugin.Key) []plugin.Resource {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]plugin.Resource, 0, len(keys))
	for _, k := range keys {
		if r := s.listed[k]; r != nil {
			out = append(out, *r)
		}
	}
	return out
}

func (s *store) counts() (byKind map[string]int, instance string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	byKind = make(map[string]int)
	for k := range s.listed {
		byKind[k.Kind]++
	}
	return byKind, s.server.about.InstanceUuid
}
