package vcenter

import (
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// vmFact is what is kept of a VM: its spec but for what comes from elsewhere.
type vmFact struct {
	spec   inventory.VM
	vmware inventory.VMware
	guest  inventory.Guest

	host, pool, vapp     string // ids
	datastores, networks []string
	attached             []string // network id or key of each NIC
	addresses            []string // from the guest's interfaces
	address              string   // that the guest names first
	fullName             string   // of the guest system as configured
	power                types.VirtualMachinePowerState
	connection           types.VirtualMachineConnectionState
	current              string // snapshot
	template             bool
	consolidate          bool // disks of deleted snapshots are left
}

func newVMFact() *vmFact {
	return &vmFact{spec: inventory.VM{Hypervisor: "vmware", Persistent: true}}
}

// vmProps is what is read of VMs. Numbers that move all the time, such as the use
// of processors, are not: 10,000 VMs would send hundreds of updates a second.
var vmProps = map[string]setter{
	"parentVApp":   refTo(func(f *vmFact, id string) { f.vapp = id }),
	"resourcePool": refTo(func(f *vmFact, id string) { f.pool = id }),
	"datastore":    refsTo(func(f *vmFact, ids []string) { f.datastores = ids }),
	"network":      refsTo(func(f *vmFact, ids []string) { f.networks = ids }),
	"snapshot":     on(func(f *vmFact, v types.VirtualMachineSnapshotInfo) { f.setSnapshots(&v) }),

	"runtime.host":                refTo(func(f *vmFact, id string) { f.host = id }),
	"runtime.powerState":          on(func(f *vmFact, v types.VirtualMachinePowerState) { f.power = v }),
	"runtime.connectionState":     on(func(f *vmFact, v types.VirtualMachineConnectionState) { f.connection = v }),
	"runtime.bootTime":            on(func(f *vmFact, v time.Time) { f.vmware.Booted = when(v) }),
	"runtime.consolidationNeeded": on(func(f *vmFact, v bool) { f.consolidate = v }),

	"config.template":                   on(func(f *vmFact, v bool) { f.template = v }),
	"config.uuid":                       on(func(f *vmFact, v string) { f.spec.UUID = v }),
	"config.instanceUuid":               on(func(f *vmFact, v string) { f.vmware.InstanceUUID = v }),
	"config.guestId":                    on(func(f *vmFact, v string) { f.vmware.GuestID = intern(v) }),
	"config.guestFullName":              on(func(f *vmFact, v string) { f.fullName = intern(v) }),
	"config.version":                    on(func(f *vmFact, v string) { f.vmware.Hardware = intern(v) }),
	"config.firmware":                   on(func(f *vmFact, v string) { f.vmware.Firmware = intern(v) }),
	"config.annotation":                 on(func(f *vmFact, v string) { f.spec.Description = v }),
	"config.managedBy":                  on(func(f *vmFact, v types.ManagedByInfo) { f.vmware.ManagedBy = intern(v.ExtensionKey) }),
	"config.hardware.numCPU":            on(func(f *vmFact, v int32) { f.spec.VCPUs, f.spec.MaxVCPUs = int(v), int(v) }),
	"config.hardware.numCoresPerSocket": on(func(f *vmFact, v int32) { f.vmware.CoresPerSocket = int(v) }),
	"config.hardware.memoryMB": on(func(f *vmFact, v int32) {
		f.spec.MemoryBytes = uint64(max(v, 0)) << 20
		f.spec.MaxMemoryBytes = f.spec.MemoryBytes
	}),
	"config.hardware.device": on(func(f *vmFact, v types.ArrayOfVirtualDevice) { f.setDevices(v.VirtualDevice) }),

	"guest.toolsRunningStatus": on(func(f *vmFact, v string) { f.vmware.Tools = intern(v) }),
	"guest.guestFullName":      on(func(f *vmFact, v string) { f.guest.OS = intern(v) }),
	"guest.hostName":           on(func(f *vmFact, v string) { f.guest.Hostname = v }),
	"guest.ipAddress":          on(func(f *vmFact, v string) { f.address = v }),
	"guest.net":                on(func(f *vmFact, v types.ArrayOfGuestNicInfo) { f.setAddresses(v.GuestNicInfo) }),

	"summary.storage": on(func(f *vmFact, v types.VirtualMachineStorageSummary) {
		f.vmware.StorageBytes, f.vmware.UncommittedBytes = uint64(max(v.Committed, 0)), uint64(max(v.Uncommitted, 0))
	}),
}

// refTo makes a setter of a reference.
func refTo[F fact](set func(F, string)) setter {
	return on(func(f F, v types.ManagedObjectReference) { set(f, intern(v.Value)) })
}

// refsTo makes a setter of references, which have no order.
func refsTo[F fact](set func(F, []string)) setter {
	return on(func(f F, v types.ArrayOfManagedObjectReference) { set(f, morefs(v.ManagedObjectReference)) })
}

func morefs(refs []types.ManagedObjectReference) []string {
	if len(refs) == 0 {
		return nil
	}
	ids := make([]string, len(refs))
	for i, r := range refs {
		ids[i] = intern(r.Value)
	}
	slices.Sort(ids)
	return ids
}

// when returns a time as it is listed; nil: none.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (f *vmFact) setAddresses(nics []types.GuestNicInfo) {
	f.addresses = nil
	for i := range nics {
		f.addresses = append(f.addresses, nics[i].IpAddress...)
	}
	slices.Sort(f.addresses)
	f.addresses = slices.Compact(f.addresses)
}

func (f *vmFact) setSnapshots(info *types.VirtualMachineSnapshotInfo) {
	f.current, f.spec.Snapshots = "", nil
	if info.CurrentSnapshot != nil {
		f.current = info.CurrentSnapshot.Value
	}
	f.addSnapshots(info.RootSnapshotList, "", maxDepth)
}

// addSnapshots adds a part of the tree, each after its parent.
func (f *vmFact) addSnapshots(list []types.VirtualMachineSnapshotTree, parent string, depth int) {
	if depth == 0 {
		return
	}
	for i := range list {
		t := &list[i]
		f.spec.Snapshots = append(f.spec.Snapshots, inventory.Snapshot{
			ID: t.Snapshot.Value, Name: unescape(t.Name), Description: t.Description, Parent: parent,
			Created: t.CreateTime.UTC(), State: vmState(t.State, ""), Current: t.Snapshot.Value == f.current,
		})
		f.addSnapshots(t.ChildSnapshotList, t.Snapshot.Value, depth-1)
	}
}

// vmState translates vSphere's words.
func vmState(power types.VirtualMachinePowerState, connection types.VirtualMachineConnectionState) string {
	if connection != "" && connection != types.VirtualMachineConnectionStateConnected {
		return inventory.VMUnknown
	}
	switch power {
	case types.VirtualMachinePowerStatePoweredOn:
		return inventory.VMRunning
	case types.VirtualMachinePowerStatePoweredOff:
		return inventory.VMShutOff
	case types.VirtualMachinePowerStateSuspended:
		return inventory.VMSuspended
	}
	return inventory.VMUnknown
}

// show is the VM with what is in other objects.
func (f *vmFact) show(v *view, o *object) (string, any) {
	vm := f.spec
	vm.State = vmState(f.power, f.connection)
	if vm.State == inventory.VMUnknown {
		vm.StateReason = string(f.connection) // "disconnected", "orphaned", ...
	}
	vmware := f.vmware
	vmware.VCenter, vmware.Moref, vmware.HostMoref = v.s.server.about.InstanceUuid, o.id, f.host
	vmware.Datacenter = v.datacenter(o)
	vmware.ResourcePool = v.name(f.pool)
	vmware.Networks = v.names(f.networks)
	if c := v.clusterOf(f); c != nil {
		vm.Cluster, vmware.ClusterMoref = c.name, c.id
	}
	vm.VMware = &vmware
	vm.Host, vm.Path, vm.Datastores = v.name(f.host), v.path(o), v.names(f.datastores)
	vm.NICs = f.nics(v)
	vm.Guest = f.guestNow()
	vm.Warnings = f.warnings(v)
	if f.template {
		return inventory.KindTemplate, vm
	}
	return inventory.KindVM, vm
}

// guestNow is what the guest says; nil: nothing is known of it.
func (f *vmFact) guestNow() *inventory.Guest {
	g := f.guest
	if g.OS == "" {
		g.OS = f.fullName
	}
	if g.Addresses = f.addresses; len(g.Addresses) == 0 && f.address != "" {
		g.Addresses = []string{f.address}
	}
	if g.OS == "" && g.Hostname == "" && len(g.Addresses) == 0 {
		return nil
	}
	return &g
}

// nics names the networks that the VM's interfaces are attached to.
func (f *vmFact) nics(v *view) []inventory.NIC {
	if len(f.spec.NICs) == 0 {
		return nil
	}
	nics := slices.Clone(f.spec.NICs)
	for i, id := range f.attached {
		if o := v.get(id); o != nil {
			nics[i].Source = o.name
		} else if nics[i].Source == "" {
			nics[i].Source = id
		}
	}
	return nics
}

func (f *vmFact) warnings(v *view) []string {
	var w []string
	if f.consolidate {
		w = append(w, "the disks need consolidation: consolidate them in vCenter, or they grow")
	}
	if v.s.uuids[f.vmware.InstanceUUID] > 1 {
		w = append(w, "another VM has the same instance UUID: one of them was copied or restored; OpenStack takes them for one")
	}
	return w
}
