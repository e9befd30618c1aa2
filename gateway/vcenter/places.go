package vcenter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// folderFact is what is kept of a folder.
type folderFact struct{ holds string }

var folderProps = map[string]setter{
	"childType": on(func(f *folderFact, v types.ArrayOfString) { f.holds = holds(v.String) }),
}

// holds says in one word what a folder is for.
func holds(types []string) string {
	for _, c := range []struct{ typ, word string }{
		{typeVM, "vm"}, {"ComputeResource", "host"}, {"Datastore", "datastore"}, {"Network", "network"}, {"Datacenter", "datacenter"},
	} {
		if slices.Contains(types, c.typ) {
			return c.word
		}
	}
	return ""
}

func (f *folderFact) show(v *view, o *object) (string, any) {
	return inventory.KindFolder, inventory.Folder{Path: v.path(o), Type: f.holds}
}

// datacenterFact is nothing: name and place are all there is.
type datacenterFact struct{}

func (f *datacenterFact) show(v *view, o *object) (string, any) {
	return inventory.KindDatacenter, inventory.Datacenter{Path: v.path(o)}
}

// podFact is what is kept of a datastore cluster.
type podFact struct{ spec inventory.DatastoreCluster }

var podProps = map[string]setter{
	"summary": on(func(f *podFact, v types.StoragePodSummary) {
		f.spec.CapacityBytes, f.spec.FreeBytes = uint64(max(v.Capacity, 0)), uint64(max(v.FreeSpace, 0))
	}),
}

func (f *podFact) show(v *view, o *object) (string, any) {
	p := f.spec
	p.Path, p.Datacenter = v.path(o), v.datacenter(o)
	for _, ds := range v.children(o, "Datastore") {
		p.Datastores = append(p.Datastores, ds.name)
	}
	slices.Sort(p.Datastores)
	return inventory.KindDatastoreCluster, p
}

// datastoreFact is what is kept of a datastore.
type datastoreFact struct {
	spec       inventory.Datastore
	accessible bool
	mode       string   // "normal", or of maintenance
	hosts      []string // ids of those that mount it
}

var datastoreProps = map[string]setter{
	"summary": on(func(f *datastoreFact, v types.DatastoreSummary) { f.setSummary(&v) }),
	"host":    on(func(f *datastoreFact, v types.ArrayOfDatastoreHostMount) { f.setHosts(v.DatastoreHostMount) }),
}

func (f *datastoreFact) setSummary(s *types.DatastoreSummary) {
	f.accessible, f.mode = s.Accessible, s.MaintenanceMode
	f.spec.Type, f.spec.URL = intern(s.Type), s.Url
	f.spec.CapacityBytes, f.spec.FreeBytes = uint64(max(s.Capacity, 0)), uint64(max(s.FreeSpace, 0))
	f.spec.UncommittedBytes = uint64(max(s.Uncommitted, 0))
	f.spec.Shared = s.MultipleHostAccess != nil && *s.MultipleHostAccess
}

func (f *datastoreFact) setHosts(mounts []types.DatastoreHostMount) {
	f.hosts = nil
	for i := range mounts {
		m := &mounts[i]
		if m.MountInfo.Mounted == nil || *m.MountInfo.Mounted {
			f.hosts = append(f.hosts, intern(m.Key.Value))
		}
	}
	slices.Sort(f.hosts)
}

func (f *datastoreFact) show(v *view, o *object) (string, any) {
	d := f.spec
	d.Path, d.Datacenter, d.Hosts = v.path(o), v.datacenter(o), len(f.hosts)
	if above := v.above(o); above != nil && above.typ == "StoragePod" {
		d.Cluster = above.name
	}
	switch {
	case !f.accessible:
		d.State = "inaccessible"
		d.Warnings = append(d.Warnings, "no host reaches the datastore: look at the storage and its network")
	case f.mode != "" && f.mode != string(types.DatastoreSummaryMaintenanceModeStateNormal):
		d.State = "maintenance"
	default:
		d.State = "accessible"
	}
	return inventory.KindDatastore, d
}

// networkFact is what is kept of a network of whatever type.
type networkFact struct {
	kind       string // standardNetwork, "distributed", "opaque"
	accessible bool
	dvs        string // id
	vlan       string
	uplink     bool     // its tag says so
	identity   string   // of an opaque network
	hosts      []string // ids of those that have a standard network
}

var networkProps = map[string]setter{
	"summary.accessible": on(func(f *networkFact, v bool) { f.accessible = v }),
}

var standardProps = with(networkProps, map[string]setter{
	"host": refsTo(func(f *networkFact, ids []string) { f.hosts = ids }),
})

var opaqueProps = map[string]setter{
	"summary": on(func(f *networkFact, v types.OpaqueNetworkSummary) {
		f.accessible, f.identity = v.Accessible, v.OpaqueNetworkId
	}),
}

// uplinkTag is how vCenter marks a switch's port groups for its uplinks. The
// switch names them too, but not to an account that may not read it.
const uplinkTag = "SYSTEM/DVS.UPLINKPG"

var portgroupProps = with(networkProps, map[string]setter{
	"config.distributedVirtualSwitch": refTo(func(f *networkFact, id string) { f.dvs = id }),
	"config.defaultPortConfig":        on(func(f *networkFact, v types.VMwareDVSPortSetting) { f.vlan = vlan(v.Vlan) }),
	"tag": on(func(f *networkFact, v types.ArrayOfTag) {
		f.uplink = slices.ContainsFunc(v.Tag, func(t types.Tag) bool { return t.Key == uplinkTag })
	}),
})

// vlan writes the VLANs of a port group.
func vlan(s types.BaseVmwareDistributedVirtualSwitchVlanSpec) string {
	switch s := s.(type) {
	case *types.VmwareDistributedVirtualSwitchVlanIdSpec:
		if s.VlanId != 0 {
			return fmt.Sprint(s.VlanId)
		}
	case *types.VmwareDistributedVirtualSwitchTrunkVlanSpec:
		var ranges []string
		for _, r := range s.VlanId {
			if r.Start == r.End {
				ranges = append(ranges, fmt.Sprint(r.Start))
				continue
			}
			ranges = append(ranges, fmt.Sprintf("%d-%d", r.Start, r.End))
		}
		return strings.Join(ranges, ",")
	case *types.VmwareDistributedVirtualSwitchPvlanSpec:
		return fmt.Sprintf("private %d", s.PvlanId)
	}
	return ""
}

func (f *networkFact) show(v *view, o *object) (string, any) {
	n := inventory.PortGroup{Type: f.kind, Path: v.path(o), Datacenter: v.datacenter(o), VLAN: f.vlan, Uplink: f.uplink, Accessible: f.accessible}
	if dvs, ok := factOf[*switchFact](v.get(f.dvs)); ok {
		n.Switch = v.name(f.dvs)
		n.Uplink = n.Uplink || slices.Contains(dvs.uplinks, o.id)
	}
	if f.kind == standardNetwork {
		f.standard(v, o.name, &n)
	}
	return inventory.KindPortGroup, n
}

// switchFact is what is kept of a distributed switch.
type switchFact struct {
	spec    inventory.Switch
	uplinks []string // port groups
}

var switchProps = map[string]setter{
	"uuid":                        on(func(f *switchFact, v string) { f.spec.UUID = v }),
	"summary.productInfo.version": on(func(f *switchFact, v string) { f.spec.Version = v }),
	"summary.hostMember":          refsTo(func(f *switchFact, ids []string) { f.spec.Hosts = len(ids) }),
	"config.numPorts":             on(func(f *switchFact, v int32) { f.spec.Ports = int(v) }),
	"config.uplinkPortgroup":      refsTo(func(f *switchFact, ids []string) { f.uplinks = ids }),
}

var vmwareSwitchProps = with(switchProps, map[string]setter{
	"config.maxMtu": on(func(f *switchFact, v int32) { f.spec.MTU = int(v) }),
})

func (f *switchFact) show(v *view, o *object) (string, any) {
	s := f.spec
	s.Path, s.Datacenter = v.path(o), v.datacenter(o)
	return inventory.KindSwitch, s
}
