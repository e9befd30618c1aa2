package vcenter

import (
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// vmFact is what is kept of a VM. There are many, so what is listed of one is not
// kept twice: it is the draft for what is listed next.
type vmFact struct {
	shown any           // inventory.VM, not to be changed; nil: nothing was listed yet
	draft *inventory.VM // that changes are written to; nil: there are none since it was listed
	guest inventory.Guest

	host, pool, vapp     string // ids
	datastores, networks []string
	attached             []string // network id or key of each NIC
	home                 string   // first directory of its own files, "dir/"
	snapshotsIn          string   // the same of its snapshots, mostly equal
	addresses            []string // from the guest's interfaces
	address              string   // that the guest names first
	fullName             string   // of the guest system as configured
	power                types.VirtualMachinePowerState
	connection           types.VirtualMachineConnectionState
	template             bool
	consolidate          bool // disks of deleted snapshots are left
}

func newVMFact() *vmFact { return &vmFact{} }

// next returns the spec that is listed next, to be changed.
func (f *vmFact) next() *inventory.VM {
	if f.draft != nil {
		return f.draft
	}
	vm, listed := f.shown.(inventory.VM)
	vmware := inventory.VMware{}
	if listed {
		vmware = *vm.VMware
	} else {
		vm = inventory.VM{Hypervisor: "vmware", Persistent: true}
	}
	vm.VMware = &vmware
	f.draft = &vm
	return f.draft
}

// instanceUUID is the VM's among all vCenters.
func (f *vmFact) instanceUUID() string {
	if f.draft != nil {
		return f.draft.VMware.InstanceUUID
	}
	vm, _ := f.shown.(inventory.VM)
	if vm.VMware == nil {
		return ""
	}
	return vm.VMware.InstanceUUID
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
	"runtime.bootTime":            on(func(f *vmFact, v time.Time) { f.next().VMware.Booted = when(v) }),
	"runtime.consolidationNeeded": on(func(f *vmFact, v bool) { f.consolidate = v }),

	"config.template":                   on(func(f *vmFact, v bool) { f.template = v }),
	"config.uuid":                       on(func(f *vmFact, v string) { f.next().UUID = v }),
	"config.instanceUuid":               on(func(f *vmFact, v string) { f.next().VMware.InstanceUUID = v }),
	"config.guestId":                    on(func(f *vmFact, v string) { f.next().VMware.GuestID = intern(v) }),
	"config.guestFullName":              on(func(f *vmFact, v string) { f.fullName = intern(v) }),
	"config.version":                    on(func(f *vmFact, v string) { f.next().VMware.Hardware = intern(v) }),
	"config.firmware":                   on(func(f *vmFact, v string) { f.next().VMware.Firmware = intern(v) }),
	"config.annotation":                 on(func(f *vmFact, v string) { f.next().Description = v }),
	"config.managedBy":                  on(func(f *vmFact, v types.ManagedByInfo) { f.next().VMware.ManagedBy = intern(v.ExtensionKey) }),
	"config.files.vmPathName":           on(func(f *vmFact, v string) { f.home = f.directory(v) }),
	"config.files.snapshotDirectory":    on(func(f *vmFact, v string) { f.snapshotsIn = f.directory(v) }),
	"config.hardware.numCPU":            on(func(f *vmFact, v int32) { f.next().VCPUs, f.next().MaxVCPUs = int(v), int(v) }),
	"config.hardware.numCoresPerSocket": on(func(f *vmFact, v int32) { f.next().VMware.CoresPerSocket = int(v) }),
	"config.hardware.memoryMB": on(func(f *vmFact, v int32) {
		f.next().MemoryBytes = uint64(max(v, 0)) << 20
		f.next().MaxMemoryBytes = f.next().MemoryBytes
	}),
	"config.hardware.device": on(func(f *vmFact, v any) {
		if a, ok := v.(types.ArrayOfVirtualDevice); ok { // decoded, not scanned
			v = flatten(a.VirtualDevice)
		}
		devices, _ := v.([]device)
		f.setDevices(devices)
	}),

	"guest.toolsRunningStatus": on(func(f *vmFact, v string) { f.next().VMware.Tools = intern(v) }),
	"guest.guestFullName":      on(func(f *vmFact, v string) { f.guest.OS = intern(v) }),
	"guest.hostName":           on(func(f *vmFact, v string) { f.guest.Hostname = v }),
	"guest.ipAddress":          on(func(f *vmFact, v string) { f.address = v }),
	"guest.net":                on(func(f *vmFact, v types.ArrayOfGuestNicInfo) { f.setAddresses(v.GuestNicInfo) }),

	"summary.storage": on(func(f *vmFact, v types.VirtualMachineStorageSummary) {
		f.next().VMware.StorageBytes, f.next().VMware.UncommittedBytes = uint64(max(v.Committed, 0)), uint64(max(v.Uncommitted, 0))
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
	current := ""
	if info.CurrentSnapshot != nil {
		current = info.CurrentSnapshot.Value
	}
	f.next().Snapshots = snapshots(nil, info.RootSnapshotList, "", current, maxDepth)
}

// snapshots adds a part of the tree to a list, each after its parent.
func snapshots(to []inventory.Snapshot, list []types.VirtualMachineSnapshotTree, parent, current string, depth int) []inventory.Snapshot {
	if depth == 0 {
		return to
	}
	for i := range list {
		t := &list[i]
		to = append(to, inventory.Snapshot{
			ID: t.Snapshot.Value, Name: unescape(t.Name), Description: t.Description, Parent: parent,
			Created: t.CreateTime.UTC(), State: vmState(t.State, ""), Current: t.Snapshot.Value == current,
		})
		to = snapshots(to, t.ChildSnapshotList, t.Snapshot.Value, current, depth-1)
	}
	return to
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
	vm := f.next()
	vm.State, vm.StateReason = vmState(f.power, f.connection), ""
	if vm.State == inventory.VMUnknown {
		vm.StateReason = string(f.connection) // "disconnected", "orphaned", ...
	}
	w := vm.VMware
	w.Moref, w.HostMoref, w.Datacenter = o.id, f.host, v.datacenter(o)
	w.ResourcePool, w.Networks = v.name(f.pool), v.names(f.networks)
	vm.Cluster, w.ClusterMoref = "", ""
	if c := v.clusterOf(f); c != nil {
		vm.Cluster, w.ClusterMoref = c.name, c.id
	}
	vm.Host, vm.Path, vm.Datastores = v.name(f.host), v.path(o), v.names(f.datastores)
	vm.NICs = f.nics(v, vm.NICs)
	vm.Guest = f.guestNow()
	vm.Warnings = f.warnings(v, w.InstanceUUID)
	f.shown, f.draft = *vm, nil
	if f.template {
		return inventory.KindTemplate, f.shown
	}
	return inventory.KindVM, f.shown
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
func (f *vmFact) nics(v *view, nics []inventory.NIC) []inventory.NIC {
	nics = slices.Clone(nics) // what is listed has them too
	for i, id := range f.attached {
		if o := v.get(id); o != nil {
			nics[i].Source = o.name
		} else if nics[i].Source == "" {
			nics[i].Source = id
		}
	}
	return nics
}

func (f *vmFact) warnings(v *view, instanceUUID string) []string {
	var w []string
	if f.consolidate {
		w = append(w, "the disks need consolidation: consolidate them in vCenter, or they grow")
	}
	if v.s.uuids[instanceUUID] > 1 {
		w = append(w, "another VM has the same instance UUID: one of them was copied or restored; OpenStack takes them for one")
	}
	return w
}
