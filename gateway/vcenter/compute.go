package vcenter

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// oldestMajor is the oldest vSphere that is supported.
const oldestMajor = 7

// supported is a warning if a version is too old; empty: it is not.
func supported(what, version string) string {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	if version == "" || err == nil && n >= oldestMajor {
		return ""
	}
	return fmt.Sprintf("%s %s is not supported: upgrade it to %d.0 or newer", what, version, oldestMajor)
}

// clusterFact is what is kept of a cluster, or of what stands for a host that is
// in none, which is not listed.
type clusterFact struct {
	cluster bool
	spec    inventory.Cluster

	datastores, networks []string // ids
}

var computeProps = map[string]setter{
	"datastore":           refsTo(func(f *clusterFact, ids []string) { f.datastores = ids }),
	"network":             refsTo(func(f *clusterFact, ids []string) { f.networks = ids }),
	"summary.totalCpu":    on(func(f *clusterFact, v int32) { f.spec.CPUMHz = int(v) }),
	"summary.totalMemory": on(func(f *clusterFact, v int64) { f.spec.MemoryBytes = uint64(max(v, 0)) }),
	"summary.numCpuCores": on(func(f *clusterFact, v int16) { f.spec.CPUCores = int(v) }),
}

var clusterProps = with(computeProps, map[string]setter{
	"configuration.dasConfig.enabled":           on(func(f *clusterFact, v bool) { f.spec.HA = v }),
	"configuration.drsConfig.enabled":           on(func(f *clusterFact, v bool) { f.spec.DRS = v }),
	"configuration.drsConfig.defaultVmBehavior": on(func(f *clusterFact, v types.DrsBehavior) { f.spec.DRSLevel = string(v) }),
})

// with adds properties to others.
func with(a, b map[string]setter) map[string]setter {
	all := make(map[string]setter, len(a)+len(b))
	for _, m := range []map[string]setter{a, b} {
		for k, f := range m {
			all[k] = f
		}
	}
	return all
}

func (f *clusterFact) show(v *view, o *object) (string, any) {
	if !f.cluster {
		return "", nil
	}
	c := f.spec
	c.Path, c.Datacenter = v.path(o), v.datacenter(o)
	hosts := v.children(o, "HostSystem")
	c.Hosts = len(hosts)
	c.Datastores = f.shared(v, hosts)
	c.Warnings = f.warnings(&c)
	return inventory.KindCluster, c
}

// shared returns the names of datastores that all hosts mount.
func (f *clusterFact) shared(v *view, hosts []*object) []string {
	var ids []string
	for _, id := range f.datastores {
		ds, ok := factOf[*datastoreFact](v.get(id))
		if ok && ds.accessible && !slices.ContainsFunc(hosts, func(h *object) bool { return !slices.Contains(ds.hosts, h.id) }) {
			ids = append(ids, id)
		}
	}
	return v.names(ids)
}

// warnings say what keeps the cluster from serving as one compute node.
func (f *clusterFact) warnings(c *inventory.Cluster) []string {
	var w []string
	switch {
	case !c.DRS:
		w = append(w, "DRS is off: turn it on and set it to fully automated, or new VMs find no host")
	case c.DRSLevel != string(types.DrsBehaviorFullyAutomated):
		w = append(w, fmt.Sprintf("DRS is %s: set it to fully automated, or new VMs wait for a person", c.DRSLevel))
	}
	switch {
	case c.Hosts == 0:
		w = append(w, "the cluster has no hosts")
	case c.Hosts > 1 && len(c.Datastores) == 0:
		w = append(w, "no datastore is shared by all hosts: mount one on each, or VMs cannot move")
	}
	return w
}

// hostFact is what is kept of an ESXi host.
type hostFact struct {
	spec       inventory.ESXi
	connection types.HostSystemConnectionState
	resting    bool     // in maintenance
	datastores []string // ids
	manager    string   // address of the vCenter that the host obeys
	portgroups []portgroup
}

var hostProps = map[string]setter{
	"runtime.connectionState":    on(func(f *hostFact, v types.HostSystemConnectionState) { f.connection = v }),
	"runtime.powerState":         on(func(f *hostFact, v types.HostSystemPowerState) { f.spec.Power = string(v) }),
	"runtime.inMaintenanceMode":  on(func(f *hostFact, v bool) { f.resting = v }),
	"runtime.bootTime":           on(func(f *hostFact, v time.Time) { f.spec.Booted = when(v) }),
	"summary.hardware":           on(func(f *hostFact, v types.HostHardwareSummary) { f.setHardware(&v) }),
	"summary.managementServerIp": on(func(f *hostFact, v string) { f.manager = v }),
	"summary.config.product": on(func(f *hostFact, v types.AboutInfo) {
		f.spec.Version, f.spec.Build = intern(v.Version), intern(v.Build)
	}),
	"summary.config.sslThumbprint": on(func(f *hostFact, v string) { f.spec.Fingerprint = v }),
	"config.network.pnic":          on(func(f *hostFact, v types.ArrayOfPhysicalNic) { f.setNICs(v.PhysicalNic) }),
	"config.network.vnic":          on(func(f *hostFact, v types.ArrayOfHostVirtualNic) { f.setAddresses(v.HostVirtualNic) }),
	"config.network.portgroup":     on(func(f *hostFact, v types.ArrayOfHostPortGroup) { f.setPortgroups(v.HostPortGroup) }),
	"datastore":                    refsTo(func(f *hostFact, ids []string) { f.datastores = ids }),
}

func (f *hostFact) setHardware(h *types.HostHardwareSummary) {
	f.spec.UUID, f.spec.Vendor, f.spec.Model, f.spec.CPUModel = h.Uuid, intern(h.Vendor), intern(h.Model), intern(h.CpuModel)
	f.spec.CPUSockets, f.spec.CPUCores, f.spec.CPUThreads = int(h.NumCpuPkgs), int(h.NumCpuCores), int(h.NumCpuThreads)
	f.spec.CPUMHz, f.spec.MemoryBytes = int(h.CpuMhz), uint64(max(h.MemorySize, 0))
}

func (f *hostFact) setNICs(nics []types.PhysicalNic) {
	f.spec.NICs = nil
	for i := range nics {
		n := inventory.ESXiNIC{Name: intern(nics[i].Device), MAC: nics[i].Mac, Driver: intern(nics[i].Driver)}
		if nics[i].LinkSpeed != nil {
			n.SpeedMbps = int(nics[i].LinkSpeed.SpeedMb)
		}
		f.spec.NICs = append(f.spec.NICs, n)
	}
	slices.SortFunc(f.spec.NICs, func(a, b inventory.ESXiNIC) int { return strings.Compare(a.Name, b.Name) })
}

func (f *hostFact) setAddresses(nics []types.HostVirtualNic) {
	f.spec.Addresses = nil
	for i := range nics {
		ip := nics[i].Spec.Ip
		if ip == nil {
			continue
		}
		if a := cidr(ip.IpAddress, ip.SubnetMask); a != "" {
			f.spec.Addresses = append(f.spec.Addresses, a)
		}
		if ip.IpV6Config != nil {
			for _, a := range ip.IpV6Config.IpV6Address {
				f.spec.Addresses = append(f.spec.Addresses, fmt.Sprintf("%s/%d", a.IpAddress, a.PrefixLength))
			}
		}
	}
	slices.Sort(f.spec.Addresses)
	f.spec.Addresses = slices.Compact(f.spec.Addresses)
}

// cidr joins an address and its mask.
func cidr(address, mask string) string {
	if address == "" {
		return ""
	}
	if m := net.ParseIP(mask).To4(); m != nil {
		ones, _ := net.IPMask(m).Size()
		return fmt.Sprintf("%s/%d", address, ones)
	}
	return address
}

func (f *hostFact) show(v *view, o *object) (string, any) {
	h := f.spec
	if h.State = string(f.connection); f.resting && f.connection == types.HostSystemConnectionStateConnected {
		h.State = "maintenance"
	}
	h.Path, h.Datacenter, h.Datastores = v.path(o), v.datacenter(o), v.names(f.datastores)
	if c, ok := factOf[*clusterFact](v.above(o)); ok && c.cluster {
		h.Cluster = v.above(o).name
	}
	if w := supported("ESXi", h.Version); w != "" {
		h.Warnings = append(h.Warnings, w)
	}
	if h.State != "" && f.connection != types.HostSystemConnectionStateConnected {
		h.Warnings = append(h.Warnings, fmt.Sprintf("vCenter has no connection to the host (%s): its VMs are shown as they were", h.State))
	}
	return inventory.KindESXi, h
}

// poolFact is what is kept of a resource pool or vApp.
type poolFact struct {
	vapp        bool
	owner       string // id
	cpu, memory types.ResourceAllocationInfo
}

var poolProps = map[string]setter{
	"owner":                   refTo(func(f *poolFact, id string) { f.owner = id }),
	"config.cpuAllocation":    on(func(f *poolFact, v types.ResourceAllocationInfo) { f.cpu = v }),
	"config.memoryAllocation": on(func(f *poolFact, v types.ResourceAllocationInfo) { f.memory = v }),
}

func (f *poolFact) show(v *view, o *object) (string, any) {
	p := inventory.ResourcePool{Path: v.path(o), Cluster: v.name(f.owner), VApp: f.vapp}
	p.CPUReservationMHz, p.CPULimitMHz, p.CPUShares = allocation(&f.cpu, 0)
	p.MemoryReservationBytes, p.MemoryLimitBytes, p.MemoryShares = allocation(&f.memory, 20)
	return inventory.KindResourcePool, p
}

// allocation returns what a pool is given, in units smaller by so many bits.
func allocation(a *types.ResourceAllocationInfo, shift int) (reservation, limit int64, shares int) {
	limit = -1
	if a.Reservation != nil {
		reservation = *a.Reservation << shift
	}
	if a.Limit != nil && *a.Limit >= 0 {
		limit = *a.Limit << shift
	}
	if a.Shares != nil {
		shares = int(a.Shares.Shares)
	}
	return reservation, limit, shares
}
