package vcproxy

import "testing"

// flat is an inventory by the values of references.
type flat map[string]Object

func (f flat) Object(id string) (Object, bool) {
	o, ok := f[id]
	return o, ok
}

func (f flat) Named(name string) (refs []Ref) {
	for id, o := range f {
		if o.Name == name {
			refs = append(refs, Ref{Type: o.Type, Value: id})
		}
	}
	return refs
}

func (f flat) Users(Ref, string) []Ref { return nil }

func TestDelegation(t *testing.T) {
	inventory := flat{
		"dc1": {Type: "Datacenter"}, "dc2": {Type: "Datacenter"},
		"folder1": {Type: folder, Within: []string{"dc1"}}, "folder2": {Type: folder, Within: []string{"dc1"}},
		"cluster1": {Type: "ClusterComputeResource", Within: []string{"dc1"}}, "cluster2": {Type: "ClusterComputeResource", Within: []string{"dc1"}},
		"pool1": {Type: "ResourcePool", Within: []string{"cluster1", "dc1"}},
		"host1": {Type: "HostSystem", Within: []string{"cluster1", "dc1"}},
		"ds1":   {Type: "Datastore", Name: "datastore1", Within: []string{"dc1"}},
		"ds2":   {Type: "Datastore", Name: "datastore1", Within: []string{"dc2"}},
		"net1":  {Type: "Network", Name: "datastore1", Within: []string{"dc1"}},
		"vm1":   {Type: vm, Within: []string{"folder1", "pool1", "cluster1", "host1", "ds1", "dc1"}},
		"vm2":   {Type: vm, Within: []string{"folder1", "cluster2", "ds1", "dc1"}},
		"vm3":   {Type: vm, Within: []string{"folder2", "cluster1", "ds1", "dc1"}},
	}
	parts := []Ref{{Type: folder, Value: "folder1"}, {Type: "ClusterComputeResource", Value: "cluster1"}, {Type: "Datastore", Value: "ds1"}}
	d := Delegation{Roots: parts, Inventory: inventory}
	for ref, want := range map[Ref]bool{
		{Type: vm, Value: "vm1"}:                             true,
		{Type: vm, Value: "vm2"}:                             false, // of another cluster
		{Type: vm, Value: "vm3"}:                             false, // of another folder
		{Type: folder, Value: "vm1"}:                         false, // a lie
		{Type: folder, Value: "folder1"}:                     true,
		{Type: folder, Value: "folder2"}:                     false,
		{Type: "ResourcePool", Value: "pool1"}:               true,
		{Type: "HostSystem", Value: "host1"}:                 true,
		{Type: "Datastore", Value: "ds1"}:                    true,
		{Type: "Datastore", Value: "ds2"}:                    false,
		{Type: "Datacenter", Value: "dc1"}:                   false,
		{Type: "ClusterComputeResource", Value: "cluster-x"}: false,
	} {
		if got := d.Contains(ref); got != want {
			t.Errorf("%s %s is delegated: %v, want %v", ref.Type, ref.Value, got, want)
		}
	}
	all := Delegation{Roots: []Ref{{Type: "Datacenter", Value: "dc1"}}, Inventory: inventory}
	for id, o := range inventory {
		if got, want := all.Contains(Ref{Type: o.Type, Value: id}), id != "dc2" && id != "ds2"; got != want {
			t.Errorf("of the whole datacenter, %s is delegated: %v, want %v", id, got, want)
		}
	}
	for near, want := range map[Ref]int{{}: 2, {Type: vm, Value: "vm1"}: 1, {Type: "Datacenter", Value: "dc2"}: 1, {Type: vm, Value: "unknown"}: 2} {
		if got := d.Datastores(near, "datastore1"); len(got) != want {
			t.Errorf("near %q the name means %v, want %d", near.Value, got, want)
		}
	}
	if got := d.Networks(Ref{}, "datastore1"); len(got) != 1 || got[0].Value != "net1" {
		t.Errorf("the network's name means %v", got)
	}
}
