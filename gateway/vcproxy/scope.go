package vcproxy

import "slices"

// Scope is what the customer delegated, checked against the live inventory. Its
// methods are called for each changing call and must answer from memory. What
// the inventory does not know by both type and value is in no scope.
type Scope interface {
	// Contains says whether the object is delegated, or is inside of what is.
	Contains(Ref) bool
	// Datastores finds all datastores that a name may mean in the datacenter
	// around an object; around none that is known: in all datacenters.
	Datastores(near Ref, name string) []Ref
	// Networks does the same for networks and port groups by name, and for
	// opaque networks by their identity.
	Networks(near Ref, name string) []Ref
}

// Inventory is what Delegation must know of vCenter's objects.
type Inventory interface {
	// Object finds an object by type and value.
	Object(Ref) (Object, bool)
	// Named lists all objects of that name, and opaque networks of that identity.
	Named(name string) []Ref
}

// Object is one object of the inventory.
type Object struct {
	Name string
	// Parents are what the object is in: the folder and the resource pool of a
	// virtual machine, the machine of a snapshot, the parent of anything else.
	Parents []Ref
}

// Delegation is the usual Scope: some objects, with everything inside of them.
type Delegation struct {
	Roots     []Ref // clusters, pools, folders, datastores, networks, port groups
	Inventory Inventory
}

// inventoryDepth ends a walk through an inventory that has a circle.
const inventoryDepth = 64

// Contains implements Scope. What is in several objects, as a virtual machine is
// in a folder and in a pool, must be delegated by each: somebody's folder does
// not give away the machines of another's cluster.
func (d Delegation) Contains(ref Ref) bool { return d.contains(ref, inventoryDepth) }

func (d Delegation) contains(ref Ref, depth int) bool {
	o, ok := d.Inventory.Object(ref)
	if !ok || depth == 0 {
		return false
	}
	if slices.Contains(d.Roots, ref) {
		return true
	}
	return len(o.Parents) > 0 && !slices.ContainsFunc(o.Parents, func(p Ref) bool { return !d.contains(p, depth-1) })
}

// Datastores implements Scope.
func (d Delegation) Datastores(near Ref, name string) []Ref {
	return d.named(near, name, "Datastore")
}

// Networks implements Scope.
func (d Delegation) Networks(near Ref, name string) []Ref {
	return d.named(near, name, "Network", "DistributedVirtualPortgroup", "OpaqueNetwork")
}

func (d Delegation) named(near Ref, name string, kinds ...string) []Ref {
	dc := d.datacenter(near, inventoryDepth)
	return slices.DeleteFunc(slices.Clone(d.Inventory.Named(name)), func(ref Ref) bool {
		return !slices.Contains(kinds, ref.Type) || dc != (Ref{}) && d.datacenter(ref, inventoryDepth) != dc
	})
}

// datacenter finds the datacenter around an object, or nothing.
func (d Delegation) datacenter(ref Ref, depth int) Ref {
	if ref.Type == "Datacenter" {
		return ref
	}
	o, ok := d.Inventory.Object(ref)
	if !ok || len(o.Parents) == 0 || depth == 0 {
		return Ref{}
	}
	return d.datacenter(o.Parents[0], depth-1)
}

// ownLimit bounds what a session remembers; the oldest is forgotten first.
const ownLimit = 4096

// ownSet holds the tasks and leases that a client was given.
type ownSet struct {
	set   map[Ref]bool
	order []Ref
}

func (o *ownSet) add(ref Ref) {
	if o.set == nil {
		o.set = make(map[Ref]bool)
	}
	if o.set[ref] {
		return
	}
	if len(o.order) >= ownLimit {
		delete(o.set, o.order[0])
		o.order = o.order[1:]
	}
	o.set[ref] = true
	o.order = append(o.order, ref)
}
