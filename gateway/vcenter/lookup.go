package vcenter

import (
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// Object is what the broker needs to know of a managed object.
type Object struct {
	Type   string // "VirtualMachine", "Folder", ...
	Moref  string // "vm-12"
	Name   string
	Path   string // "/dc/vm/folder/name"
	Listed bool   // whether it belongs to the chosen clusters
	// Within are the ids of all that it is in, up to the root: of its folders,
	// vApps and datacenter, and of a VM also its host, resource pools and cluster;
	// of a port group also its switch.
	Within []string
	// Uses are the ids of the datastores and networks that a VM is on.
	Uses []string
}

// In says whether the object is one of those or in one of them. That a VM uses one
// is not enough.
func (o *Object) In(morefs ...string) bool {
	return slices.ContainsFunc(morefs, func(id string) bool { return id == o.Moref || slices.Contains(o.Within, id) })
}

// HostAddress is how an ESXi host is reached and recognised.
type HostAddress struct {
	Moref, Name string
	Addresses   []string // of its own interfaces
	Thumbprint  string   // of its certificate as vCenter keeps it, mostly SHA-1
}

// Lookup returns what is known of a managed object, whether it is in the chosen
// clusters or not, and false if there is no such object.
func (s *Source) Lookup(moref string) (Object, bool) {
	s.store.mu.Lock() // the view remembers paths
	defer s.store.mu.Unlock()
	o := s.store.objects[moref]
	if o == nil {
		return Object{}, false
	}
	return s.store.view.describe(o), true
}

// Objects returns all managed objects, in no order.
func (s *Source) Objects() []Object {
	return s.store.those(func(*object) bool { return true })
}

// Named returns all objects of that name, and opaque networks of that identity.
func (s *Source) Named(name string) []Object {
	return s.store.those(func(o *object) bool {
		n, ok := factOf[*networkFact](o)
		return o.name == name || ok && n.identity != "" && n.identity == name
	})
}

// Host finds a connected host by the name or one of the addresses that vCenter and
// its clients use for it.
func (s *Source) Host(name string) (HostAddress, bool) {
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	for _, o := range s.store.objects {
		h, ok := factOf[*hostFact](o)
		if !ok || h.connection != types.HostSystemConnectionStateConnected {
			continue
		}
		addresses := make([]string, len(h.spec.Addresses))
		for i, a := range h.spec.Addresses {
			addresses[i], _, _ = strings.Cut(a, "/")
		}
		if strings.EqualFold(o.name, name) || slices.Contains(addresses, name) {
			return HostAddress{Moref: o.id, Name: o.name, Addresses: addresses, Thumbprint: h.spec.Fingerprint}, true
		}
	}
	return HostAddress{}, false
}

func (s *store) those(are func(*object) bool) []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Object
	for _, o := range s.objects {
		if are(o) {
			out = append(out, s.view.describe(o))
		}
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
		out.Uses = slices.Concat(f.datastores, f.networks)
	case *networkFact:
		add(v.get(f.dvs))
	}
	return out
}
