package vcenter

import (
	"fmt"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// bus is a controller that disks hang from.
type bus struct {
	kind   string // "scsi", "sata", "ide", "nvme"
	number int32
}

// setDevices takes the disks and interfaces from a VM's devices.
func (f *vmFact) setDevices(devices []types.BaseVirtualDevice) {
	buses := make(map[int32]bus)
	for _, d := range devices {
		if c, ok := d.(types.BaseVirtualController); ok {
			at := c.GetVirtualController()
			buses[at.Key] = bus{busKind(d), at.BusNumber}
		}
	}
	f.spec.Disks, f.spec.NICs, f.attached = nil, nil, nil
	for _, d := range devices {
		switch d := d.(type) {
		case *types.VirtualDisk:
			f.spec.Disks = append(f.spec.Disks, disk(d, buses))
		case *types.VirtualCdrom:
			f.spec.Disks = append(f.spec.Disks, cdrom(d, buses))
		case types.BaseVirtualEthernetCard:
			nic, network := nic(d)
			f.spec.NICs = append(f.spec.NICs, nic)
			f.attached = append(f.attached, network)
		}
	}
}

func busKind(d types.BaseVirtualDevice) string {
	switch d.(type) {
	case types.BaseVirtualSCSIController:
		return "scsi"
	case types.BaseVirtualSATAController:
		return "sata"
	case *types.VirtualIDEController:
		return "ide"
	case *types.VirtualNVMEController:
		return "nvme"
	}
	return ""
}

// target names a place on a controller as vSphere does: "scsi0:1".
func target(d *types.VirtualDevice, buses map[int32]bus) (name, kind string) {
	b, ok := buses[d.ControllerKey]
	if !ok || b.kind == "" {
		return label(d), ""
	}
	unit := int32(0)
	if d.UnitNumber != nil {
		unit = *d.UnitNumber
	}
	return fmt.Sprintf("%s%d:%d", b.kind, b.number, unit), b.kind
}

func label(d *types.VirtualDevice) string {
	if d.DeviceInfo != nil {
		return intern(d.DeviceInfo.GetDescription().Label)
	}
	return ""
}

func disk(d *types.VirtualDisk, buses map[int32]bus) inventory.Disk {
	name, kind := target(&d.VirtualDevice, buses)
	out := inventory.Disk{Target: intern(name), Bus: kind, Device: "disk", Type: "file", CapacityBytes: uint64(max(d.CapacityInBytes, 0))}
	if out.CapacityBytes == 0 {
		out.CapacityBytes = uint64(max(d.CapacityInKB, 0)) << 10
	}
	if _, raw := d.Backing.(*types.VirtualDiskRawDiskMappingVer1BackingInfo); raw {
		out.Type = "block"
	}
	if b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		out.Source, out.Format = b.GetVirtualDeviceFileBackingInfo().FileName, "vmdk"
	}
	if b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
		out.ReadOnly = b.DiskMode == string(types.VirtualDiskModeIndependent_nonpersistent)
	}
	return out
}

func cdrom(d *types.VirtualCdrom, buses map[int32]bus) inventory.Disk {
	name, kind := target(&d.VirtualDevice, buses)
	out := inventory.Disk{Target: intern(name), Bus: kind, Device: "cdrom", ReadOnly: true}
	if b, ok := d.Backing.(*types.VirtualCdromIsoBackingInfo); ok {
		out.Type, out.Source, out.Format = "file", b.FileName, "iso"
	}
	return out
}

// nic describes an interface, and says which network it is attached to.
func nic(d types.BaseVirtualEthernetCard) (inventory.NIC, string) {
	card := d.GetVirtualEthernetCard()
	out := inventory.NIC{MAC: card.MacAddress, Model: model(d), Target: label(&card.VirtualDevice)}
	switch b := card.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		out.Type, out.Source = "network", unescape(b.DeviceName)
		if b.Network != nil {
			return out, intern(b.Network.Value)
		}
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		out.Type = "distributed"
		return out, intern(b.Port.PortgroupKey)
	case *types.VirtualEthernetCardOpaqueNetworkBackingInfo:
		out.Type, out.Source = "opaque", b.OpaqueNetworkId
	}
	return out, ""
}

func model(d types.BaseVirtualEthernetCard) string {
	switch d.(type) {
	case *types.VirtualVmxnet3:
		return "vmxnet3"
	case *types.VirtualVmxnet3Vrdma:
		return "vmxnet3vrdma"
	case *types.VirtualVmxnet2:
		return "vmxnet2"
	case *types.VirtualVmxnet:
		return "vmxnet"
	case *types.VirtualE1000:
		return "e1000"
	case *types.VirtualE1000e:
		return "e1000e"
	case *types.VirtualPCNet32:
		return "pcnet32"
	case *types.VirtualSriovEthernetCard:
		return "sriov"
	}
	return ""
}
