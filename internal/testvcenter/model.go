package testvcenter

import (
	"fmt"

	"github.com/vmware/govmomi/vim25/types"
)

// fill makes the inventory: one datacenter, clusters of hosts that share all
// datastores, a distributed switch with port groups, and VMs.
func (v *inventory) fill(o Options) {
	v.objects, v.unknown = make(map[string]*object), make(map[string]bool)
	clusters, hosts := max(o.Clusters, 1), max(o.Hosts, 2)
	root := v.add("Folder", "group-d", map[string]any{"name": "Datacenters", "childType": array("Folder", "Datacenter")})
	dc := v.add("Datacenter", "datacenter-", map[string]any{"name": "DC0", "parent": root})
	folder := func(prefix, name, holds string) types.ManagedObjectReference {
		return v.add("Folder", prefix, map[string]any{"name": name, "parent": dc, "childType": array("Folder", holds)})
	}
	vms, hostFolder := folder("group-v", "vm", "VirtualMachine"), folder("group-h", "host", "ComputeResource")
	stores, nets := folder("group-s", "datastore", "Datastore"), folder("group-n", "network", "Network")
	v.add("Folder", "group-v", map[string]any{"name": "prod/eu", "parent": vms, "childType": array("VirtualMachine")})
	var clusterRefs, hostRefs []types.ManagedObjectReference
	for i := range clusters {
		c := v.add("ClusterComputeResource", "domain-c", map[string]any{
			"name": fmt.Sprintf("cluster%d", i), "parent": hostFolder, "summary.totalCpu": int32(64_000), "summary.totalMemory": int64(256 << 30),
			"summary.numCpuCores": int16(32), "configuration.dasConfig.enabled": true, "configuration.drsConfig.enabled": true,
			"configuration.drsConfig.defaultVmBehavior": types.DrsBehaviorFullyAutomated,
		})
		clusterRefs = append(clusterRefs, c)
		pool := v.add("ResourcePool", "resgroup-", map[string]any{"name": "Resources", "parent": c, "owner": c})
		if v.pool == "" {
			v.pool = pool.Value
		}
	}
	for i := range hosts {
		hostRefs = append(hostRefs, v.addHost(i, clusterRefs[i%clusters]))
		v.hosts = append(v.hosts, hostRefs[i].Value)
	}
	v.addStores(max(o.Datastores, 2), stores, hostRefs)
	v.addNetworks(max(o.Networks, 2), nets)
	v.addStandard(o.Standard, nets, hostRefs)
	for _, c := range clusterRefs {
		v.objects[c.Value].props["datastore"] = refs("Datastore", v.stores)
		v.objects[c.Value].props["network"] = refs("DistributedVirtualPortgroup", v.nets)
	}
	for range o.VMs {
		v.addVM()
	}
	v.log = nil
}

func array(s ...string) types.ArrayOfString { return types.ArrayOfString{String: s} }

func refs(typ string, ids []string) types.ArrayOfManagedObjectReference {
	var a types.ArrayOfManagedObjectReference
	for _, id := range ids {
		a.ManagedObjectReference = append(a.ManagedObjectReference, types.ManagedObjectReference{Type: typ, Value: id})
	}
	return a
}

func (v *inventory) addHost(i int, cluster types.ManagedObjectReference) types.ManagedObjectReference {
	return v.add("HostSystem", "host-", map[string]any{
		"name": fmt.Sprintf("esx%03d.example", i), "parent": cluster,
		"runtime.connectionState": types.HostSystemConnectionStateConnected, "runtime.powerState": types.HostSystemPowerStatePoweredOn,
		"runtime.inMaintenanceMode": false, "runtime.bootTime": Started,
		"summary.hardware": types.HostHardwareSummary{
			Vendor: "Acme", Model: "R1", Uuid: newUUID(5000 + i), MemorySize: 64 << 30, CpuModel: "CPU", CpuMhz: 2000, NumCpuPkgs: 2, NumCpuCores: 16, NumCpuThreads: 32,
		},
		"summary.config.product": types.AboutInfo{Name: "VMware ESXi", Version: "8.0.3", Build: "2", ApiType: "HostAgent"},
		"config.network.pnic": types.ArrayOfPhysicalNic{PhysicalNic: []types.PhysicalNic{
			{Key: "p0", Device: "vmnic0", Mac: mac(100_000 + i), Driver: "ixgben", LinkSpeed: &types.PhysicalNicLinkInfo{SpeedMb: 10_000, Duplex: true}},
		}},
		"config.network.vnic": types.ArrayOfHostVirtualNic{HostVirtualNic: []types.HostVirtualNic{
			{Device: "vmk0", Key: "k", Spec: types.HostVirtualNicSpec{Ip: &types.HostIpConfig{IpAddress: fmt.Sprintf("192.0.2.%d", i%250+1), SubnetMask: "255.255.255.0"}}},
		}},
	})
}

func (v *inventory) addStores(n int, folder types.ManagedObjectReference, hosts []types.ManagedObjectReference) {
	var mounts types.ArrayOfDatastoreHostMount
	for _, h := range hosts {
		mounts.DatastoreHostMount = append(mounts.DatastoreHostMount, types.DatastoreHostMount{
			Key: h, MountInfo: types.HostMountInfo{AccessMode: "readWrite", Mounted: new(true), Accessible: new(true)},
		})
	}
	for i := range n {
		ref := v.add("Datastore", "datastore-", map[string]any{"name": fmt.Sprintf("ds%d", i), "parent": folder, "host": mounts})
		v.objects[ref.Value].props["summary"] = types.DatastoreSummary{
			Datastore: &ref, Name: fmt.Sprintf("ds%d", i), Url: "ds:///vmfs/volumes/" + ref.Value + "/", Capacity: 1 << 40, FreeSpace: 1 << 39,
			Accessible: true, MultipleHostAccess: new(true), Type: "VMFS", MaintenanceMode: "normal",
		}
		v.stores = append(v.stores, ref.Value)
	}
}

func (v *inventory) addNetworks(n int, folder types.ManagedObjectReference) {
	dvs := v.add("VmwareDistributedVirtualSwitch", "dvs-", map[string]any{
		"name": "dvs0", "parent": folder, "uuid": newUUID(7), "config.numPorts": int32(128), "config.maxMtu": int32(9000),
		"summary.hostMember": refs("HostSystem", v.hosts), "summary.productInfo.version": "8.0.3",
	})
	for i := range n {
		ref := v.add("DistributedVirtualPortgroup", "dvportgroup-", map[string]any{
			"name": fmt.Sprintf("pg%d", i), "parent": folder, "summary.accessible": true, "config.distributedVirtualSwitch": dvs,
			"config.defaultPortConfig": types.VMwareDVSPortSetting{Vlan: &types.VmwareDistributedVirtualSwitchVlanIdSpec{VlanId: int32(i + 10)}},
		})
		v.nets = append(v.nets, ref.Value)
	}
}

// addStandard adds networks that each host has on its vSwitch0, with VLANs from 30 on.
func (v *inventory) addStandard(n int, folder types.ManagedObjectReference, hosts []types.ManagedObjectReference) {
	var groups types.ArrayOfHostPortGroup
	for i := range n {
		name := fmt.Sprintf("std%d", i)
		v.add("Network", "network-", map[string]any{"name": name, "parent": folder, "summary.accessible": true, "host": refs("HostSystem", v.hosts)})
		groups.HostPortGroup = append(groups.HostPortGroup, types.HostPortGroup{
			Key: "key-vim.host.PortGroup-" + name, Vswitch: "key-vim.host.VirtualSwitch-vSwitch0",
			Spec: types.HostPortGroupSpec{Name: name, VlanId: int32(i + 30), VswitchName: "vSwitch0"},
		})
	}
	for _, h := range hosts {
		v.objects[h.Value].props["config.network.portgroup"] = groups
	}
}

func mac(n int) string { return fmt.Sprintf("00:50:56:%02x:%02x:%02x", n>>16&255, n>>8&255, n&255) }

// addVM makes a VM with all that a usual one has.
func (v *inventory) addVM() string {
	n := v.last
	store, net, host := v.stores[n%len(v.stores)], v.nets[n%len(v.nets)], v.hosts[n%len(v.hosts)]
	vms := v.order[2]
	name := fmt.Sprintf("vm%05d", n)
	return v.add("VirtualMachine", "vm-", map[string]any{
		"name": name, "parent": types.ManagedObjectReference{Type: "Folder", Value: vms},
		"resourcePool": types.ManagedObjectReference{Type: "ResourcePool", Value: v.pool},
		"runtime.host": types.ManagedObjectReference{Type: "HostSystem", Value: host}, "runtime.powerState": types.VirtualMachinePowerStatePoweredOn,
		"runtime.connectionState": types.VirtualMachineConnectionStateConnected, "runtime.bootTime": Started, "runtime.consolidationNeeded": false,
		"config.template": false, "config.uuid": newUUID(n + 10_000), "config.instanceUuid": newUUID(n + 1_000_000), "config.guestId": "debian12_64Guest",
		"config.guestFullName": "Debian GNU/Linux 12 (64-bit)", "config.version": "vmx-19", "config.firmware": "efi",
		"config.files.vmPathName": fmt.Sprintf("[%s] %s/%s.vmx", v.objects[store].props["name"], name, name), "config.files.snapshotDirectory": fmt.Sprintf("[%s] %s/", v.objects[store].props["name"], name),
		"config.annotation": "made for " + name, "config.hardware.numCPU": int32(2), "config.hardware.numCoresPerSocket": int32(1),
		"config.hardware.memoryMB": int32(4096), "config.hardware.device": v.devices(n, name, store, net),
		"datastore": refs("Datastore", []string{store}), "network": refs("DistributedVirtualPortgroup", []string{net}),
		"guest.toolsRunningStatus": "guestToolsRunning", "guest.hostName": name + ".example", "guest.ipAddress": fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255),
		"guest.guestFullName": "Debian GNU/Linux 12 (64-bit)",
		"guest.net": types.ArrayOfGuestNicInfo{GuestNicInfo: []types.GuestNicInfo{{
			MacAddress: mac(n), Connected: true, DeviceConfigId: 4000, IpAddress: []string{fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255), fmt.Sprintf("fe80::%x", n)},
		}}},
		"summary.storage": types.VirtualMachineStorageSummary{Committed: 10 << 30, Uncommitted: 30 << 30, Timestamp: Started},
	}).Value
}

// devices are those of a usual VM.
func (v *inventory) devices(n int, name, store, net string) types.ArrayOfVirtualDevice {
	device := func(key, controller, unit int32, label string) types.VirtualDevice {
		return types.VirtualDevice{Key: key, ControllerKey: controller, UnitNumber: &unit, DeviceInfo: &types.Description{Label: label, Summary: label}}
	}
	controller := func(key int32, label string) types.VirtualController {
		return types.VirtualController{VirtualDevice: device(key, 100, key%10, label)}
	}
	disk := func(key, unit int32, i int) *types.VirtualDisk {
		d := &types.VirtualDisk{VirtualDevice: device(key, 1000, unit, fmt.Sprintf("Hard disk %d", i)), CapacityInBytes: 20 << 30, CapacityInKB: 20 << 20}
		d.Backing = &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{
				FileName: fmt.Sprintf("[%s] %s/%s_%d.vmdk", v.objects[store].props["name"], name, name, i), Datastore: &types.ManagedObjectReference{Type: "Datastore", Value: store},
			}, DiskMode: "persistent", ThinProvisioned: new(true), Uuid: newUUID(n*10 + i), Split: new(false), WriteThrough: new(false), EagerlyScrub: new(false),
			ContentId: newUUID(n*20 + i), DigestEnabled: new(false), Sharing: "sharingNone",
		}
		d.DiskObjectId = fmt.Sprintf("%d-%d", n, key)
		d.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: 160}
		d.NativeUnmanagedLinkedClone = new(false)
		d.Shares = &types.SharesInfo{Shares: 1000, Level: types.SharesLevelNormal}
		d.StorageIOAllocation = &types.StorageIOAllocationInfo{Limit: new(int64(-1)), Shares: d.Shares, Reservation: new(int32(0))}
		return d
	}
	nic := &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: types.VirtualEthernetCard{
		VirtualDevice: device(4000, 100, 7, "Network adapter 1"), MacAddress: mac(n), AddressType: "assigned", WakeOnLanEnabled: new(true),
	}}}
	nic.Backing = &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
		Port: types.DistributedVirtualSwitchPortConnection{SwitchUuid: newUUID(7), PortgroupKey: net, PortKey: fmt.Sprint(n)},
	}
	nic.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, AllowGuestControl: true, Connected: true, Status: "ok"}
	nic.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: 192}
	nic.ResourceAllocation = &types.VirtualEthernetCardResourceAllocation{
		Reservation: new(int64(0)), Limit: new(int64(-1)), Share: types.SharesInfo{Shares: 50, Level: types.SharesLevelNormal},
	}
	cd := &types.VirtualCdrom{VirtualDevice: device(3002, 200, 0, "CD/DVD drive 1")}
	cd.Backing = &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[] /vmimages/tools-isoimages/linux.iso"}}
	cd.Connectable = &types.VirtualDeviceConnectInfo{AllowGuestControl: true, Status: "untried"}
	return types.ArrayOfVirtualDevice{VirtualDevice: []types.BaseVirtualDevice{
		&types.VirtualIDEController{VirtualController: controller(200, "IDE 0")},
		&types.VirtualIDEController{VirtualController: controller(201, "IDE 1")},
		&types.VirtualPS2Controller{VirtualController: controller(300, "PS2 controller 0")},
		&types.VirtualPCIController{VirtualController: controller(100, "PCI controller 0")},
		&types.VirtualSIOController{VirtualController: controller(400, "SIO controller 0")},
		&types.VirtualKeyboard{VirtualDevice: device(600, 300, 0, "Keyboard")},
		&types.VirtualPointingDevice{VirtualDevice: device(700, 300, 1, "Pointing device")},
		&types.VirtualMachineVideoCard{VirtualDevice: device(500, 100, 0, "Video card"), VideoRamSizeInKB: 4096, NumDisplays: 1},
		&types.VirtualMachineVMCIDevice{VirtualDevice: device(12000, 100, 17, "VMCI device"), Id: int64(n)},
		&types.ParaVirtualSCSIController{VirtualSCSIController: types.VirtualSCSIController{
			VirtualController: controller(1000, "SCSI controller 0"), SharedBus: types.VirtualSCSISharingNoSharing, HotAddRemove: new(true), ScsiCtlrUnitNumber: 7,
		}},
		&types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: controller(15000, "SATA controller 0")}},
		&types.VirtualUSBController{VirtualController: controller(7000, "USB controller"), AutoConnectDevices: new(false), EhciEnabled: new(true)},
		&types.VirtualHdAudioCard{VirtualSoundCard: types.VirtualSoundCard{VirtualDevice: device(5000, 100, 9, "Sound card")}},
		cd, disk(2000, 0, 1), disk(2001, 1, 2), nic,
	}}
}
