package vcenter

import "slices"

// Object is what the broker needs to know of a managed object.
type Object struct {
	Type   string // "VirtualMachine", "Folder", ...
	Moref  string // "vm-12"
	Name   string
	Path   string // "/dc/vm/folder/name"
	Listed bool   // whether it belongs to the chosen clusters
	// Within are the ids of all that it is in: of its folders, vApps and
	// datacenter, and of a VM also its host, resource pools, cluster,
	// datastores and networks.
	Within []string
}

// In says whether the object is one of those or in one of them.
func (o *Object) In(morefs ...string) bool {
	return slices.ContainsFunc(morefs, func(id string) bool { return id == o.Moref || slices.Contains(o.Within, id) })
}

func (s *store) lookup(moref string) (Object, bool) {
	s.mu.Lock() // the view remembers paths
	defer s.mu.Unlock()
	o := s.objects[moref]
	if o == nil {
		return Object{}, false
	}
	return s.view.describe(o), true
}

func (s *store) objectsNow() []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Object, 0, len(s.objects))
	for _, o := range s.objects {
		out = append(out, s.view.describe(o))
	}
	return out
}

func (v *view) describe(o *object) Object {
	out := Object{Type: o.typ, Moref: o.id, Name: o.name, Path: v.path(o), Listed: o.shown != nil}
	add := func(o *object) {
		for depth := 0; o != nil && depth < maxDepth && !slices.Contains(out.Within, o.id); depth++ {
			out.Within = append(out.Within, o.id)
			o = v.above(o)
		}
	}
	add(v.above(o))
	switch f := o.fact.(type) {
	case *vmFact:
		add(v.get(f.host))
		add(v.get(f.pool))
		out.Within = append(append(out.Within, f.datastores...), f.networks...)
	case *networkFact:
		add(v.get(f.dvs))
	}
	return out
}
