package vcenter

import (
	"maps"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// setter takes a property's value into an object; nil: it has none.
type setter func(o *object, v any)

// collected is a type of managed object, what is read of it, and where it goes.
type collected struct {
	typ   string
	fresh func() fact
	props map[string]setter
	slow  []string // properties that change without a notification
	fills []string // likewise, and people wait for them to
}

// on makes a setter from a function of the object's facts and the value, which
// is zero if there is none.
func on[F fact, V any](set func(f F, v V)) setter {
	return func(o *object, v any) {
		f, ok := o.fact.(F)
		if !ok {
			return
		}
		value, _ := v.(V)
		set(f, value)
	}
}

// topology is everything but VMs.
var topology = []collected{
	{typ: "Folder", fresh: func() fact { return &folderFact{} }, props: folderProps},
	{typ: "StoragePod", fresh: func() fact { return &podFact{} }, props: podProps, fills: []string{"summary"}},
	{typ: "Datacenter", fresh: func() fact { return &datacenterFact{} }},
	{typ: "ComputeResource", fresh: func() fact { return &clusterFact{} }, props: computeProps},
	{typ: "ClusterComputeResource", fresh: func() fact { return &clusterFact{cluster: true} }, props: clusterProps},
	{typ: "HostSystem", fresh: func() fact { return &hostFact{} }, props: hostProps},
	{typ: "ResourcePool", fresh: func() fact { return &poolFact{} }, props: poolProps},
	{typ: "VirtualApp", fresh: func() fact { return &poolFact{vapp: true} }, props: poolProps},
	{typ: "Datastore", fresh: func() fact { return &datastoreFact{} }, props: datastoreProps, slow: []string{"host"}, fills: []string{"summary"}},
	{typ: "Network", fresh: func() fact { return &networkFact{kind: standardNetwork} }, props: standardProps},
	{typ: "OpaqueNetwork", fresh: func() fact { return &networkFact{kind: "opaque"} }, props: opaqueProps},
	{typ: "DistributedVirtualPortgroup", fresh: func() fact { return &networkFact{kind: "distributed"} }, props: portgroupProps},
	{typ: "DistributedVirtualSwitch", fresh: func() fact { return &switchFact{} }, props: switchProps, slow: []string{"summary.hostMember"}},
	{typ: "VmwareDistributedVirtualSwitch", fresh: func() fact { return &switchFact{} }, props: vmwareSwitchProps, slow: []string{"summary.hostMember"}},
}

// volatile are VMs.
var volatile = []collected{
	{typ: typeVM, fresh: func() fact { return newVMFact() }, props: vmProps, slow: []string{"summary.storage", "runtime.consolidationNeeded"}},
}

const (
	typeVM     = "VirtualMachine"
	typeFolder = "Folder"
)

// known finds a type by its name.
var known = func() map[string]*collected {
	m := make(map[string]*collected)
	for _, list := range [][]collected{topology, volatile} {
		for i := range list {
			m[list[i].typ] = &list[i]
		}
	}
	return m
}()

// common are the properties of all types.
var common = map[string]setter{
	"name": func(o *object, v any) { name, _ := v.(string); o.name = unescape(name) },
	"parent": func(o *object, v any) {
		ref, _ := v.(types.ManagedObjectReference)
		o.parent = intern(ref.Value)
	},
}

// filter selects the types from the root folder on. Only leaf properties are
// named, so that each update carries a whole value.
func filter(c *vim25.Client, list []collected, drop map[string]bool) types.PropertyFilterSpec {
	way := traversal
	if list[0].typ == typeVM {
		way = traversalToVMs
	}
	return spec(c, list, way, func(t *collected) []string {
		all := slices.Concat(slices.Collect(maps.Keys(common)), slices.Collect(maps.Keys(t.props)))
		all = slices.DeleteFunc(all, func(p string) bool { return dropped(drop, p) })
		slices.Sort(all)
		return all
	})
}

// dropped says whether a property is one that vCenter does not know.
func dropped(drop map[string]bool, path string) bool {
	for unknown := range drop {
		if common[path] == nil && (path == unknown || strings.HasSuffix(path, "."+unknown)) {
			return true
		}
	}
	return false
}

// spec selects properties of types from the root folder on, by a way that reaches
// their objects.
func spec(c *vim25.Client, list []collected, way []types.BaseSelectionSpec, props func(*collected) []string) types.PropertyFilterSpec {
	var s types.PropertyFilterSpec
	for i := range list {
		if paths := props(&list[i]); len(paths) > 0 {
			s.PropSet = append(s.PropSet, types.PropertySpec{Type: list[i].typ, PathSet: paths})
		}
	}
	s.ObjectSet = []types.ObjectSpec{{Obj: c.ServiceContent.RootFolder, SelectSet: way}}
	return s
}

// step goes from objects of a type along a property, and from there on by the
// named steps.
func step(name, typ, path string, then ...string) types.BaseSelectionSpec {
	t := &types.TraversalSpec{SelectionSpec: types.SelectionSpec{Name: name}, Type: typ, Path: path}
	for _, n := range then {
		t.SelectSet = append(t.SelectSet, &types.SelectionSpec{Name: n})
	}
	return t
}

// traversal reaches everything but VMs.
var traversal = []types.BaseSelectionSpec{
	step("children", typeFolder, "childEntity", "children", "vmFolder", "hostFolder", "datastoreFolder", "networkFolder", "hosts", "pool", "pools"),
	step("vmFolder", "Datacenter", "vmFolder", "children"),
	step("hostFolder", "Datacenter", "hostFolder", "children"),
	step("datastoreFolder", "Datacenter", "datastoreFolder", "children"),
	step("networkFolder", "Datacenter", "networkFolder", "children"),
	step("hosts", "ComputeResource", "host"),
	step("pool", "ComputeResource", "resourcePool", "pools"),
	step("pools", "ResourcePool", "resourcePool", "pools"),
}

// traversalToStores reaches datastores, and looks at little else.
var traversalToStores = []types.BaseSelectionSpec{
	step("children", typeFolder, "childEntity", "children", "datastoreFolder"),
	step("datastoreFolder", "Datacenter", "datastoreFolder", "children"),
}

// traversalToVMs reaches VMs in folders and those in vApps, which are in none.
var traversalToVMs = []types.BaseSelectionSpec{
	step("children", typeFolder, "childEntity", "children", "vmFolder", "vms", "vapps"),
	step("vmFolder", "Datacenter", "vmFolder", "children"),
	step("vms", "VirtualApp", "vm"),
	step("vapps", "VirtualApp", "resourcePool", "vms", "vapps"),
}
