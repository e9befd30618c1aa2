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
	// Knows says whether the inventory has an object of that value, of whatever
	// type. What it has and Contains denies is outside, whatever vCenter says.
	Knows(Ref) bool
	// Users finds the machines with files in a directory that is first in a path
	// on a datastore, or, of files that are in none, in one of that name.
	Users(datastore Ref, top string) []Ref
}

// Inventory is what Delegation must know of vCenter's objects, from the live
// inventory. It answers from memory.
type Inventory interface {
	// Object finds an object by the value of its reference.
	Object(id string) (Object, bool)
	// Named lists all objects of that name, and opaque networks of that identity.
	Named(name string) []Ref
	// Users is as that of a Scope, delegated or not.
	Users(datastore Ref, top string) []Ref
}

// Object is one object of the inventory.
type Object struct {
	Type, Name string
	// Within are the values of the references of all that the object is in, up to
	// the root: of a virtual machine its folders, pools, vApps, host and cluster.
	Within []string
}

// Delegation is the usual Scope: some objects, with everything inside of them.
type Delegation struct {
	Roots     []Ref // datacenters, clusters, pools, folders, datastores, networks, port groups
	Inventory Inventory
}

// Kinds of objects that others are in. A machine is in a place and in what
// computes for it; that it is on a datastore or a network says nothing.
var (
	places   = []string{"Datacenter", "Folder", "VirtualApp", "StoragePod", "DistributedVirtualSwitch", "VmwareDistributedVirtualSwitch"}
	computes = []string{"Datacenter", "ComputeResource", "ClusterComputeResource", "HostSystem", "ResourcePool", "VirtualApp"}
)

// Contains implements Scope. A virtual machine must be delegated by its place and
// by what computes for it: somebody's folder does not give away the machines of
// another's cluster. For anything else one is enough.
func (d Delegation) Contains(ref Ref) bool {
	o, ok := d.Inventory.Object(ref.Value)
	if !ok || o.Type != ref.Type {
		return false
	}
	placed, computed := false, false
	for _, root := range d.Roots {
		if root == ref {
			return true
		}
		if slices.Contains(o.Within, root.Value) {
			placed = placed || slices.Contains(places, root.Type)
			computed = computed || slices.Contains(computes, root.Type)
		}
	}
	if ref.Type == vm {
		return placed && computed
	}
	return placed || computed
}

// Knows implements Scope.
func (d Delegation) Knows(ref Ref) bool {
	_, ok := d.Inventory.Object(ref.Value)
	return ok
}

// Users implements Scope.
func (d Delegation) Users(datastore Ref, top string) []Ref { return d.Inventory.Users(datastore, top) }

// Datastores implements Scope.
func (d Delegation) Datastores(near Ref, name string) []Ref {
	return d.named(near, name, "Datastore")
}

// Networks implements Scope.
func (d Delegation) Networks(near Ref, name string) []Ref {
	return d.named(near, name, "Network", portGroup, "OpaqueNetwork")
}

func (d Delegation) named(near Ref, name string, kinds ...string) []Ref {
	dc := d.datacenter(near.Value)
	return slices.DeleteFunc(slices.Clone(d.Inventory.Named(name)), func(ref Ref) bool {
		return !slices.Contains(kinds, ref.Type) || dc != "" && d.datacenter(ref.Value) != dc
	})
}

// datacenter finds the datacenter that an object is or is in, or "".
func (d Delegation) datacenter(id string) string {
	o, ok := d.Inventory.Object(id)
	if ok && o.Type == "Datacenter" {
		return id
	}
	for _, outer := range o.Within {
		if around, ok := d.Inventory.Object(outer); ok && around.Type == "Datacenter" {
			return outer
		}
	}
	return ""
}

// ownLimit bounds what a session remembers; the oldest is forgotten first.
const ownLimit = 4096

// ownSet holds the tasks and leases that a client was given.
type ownSet struct {
	set   map[Ref]bool
	order []Ref
}

func (o *ownSet) remove(ref Ref) {
	delete(o.set, ref)
	o.order = slices.DeleteFunc(o.order, func(r Ref) bool { return r == ref })
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
