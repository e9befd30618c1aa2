package vcenter

import (
	"fmt"
	"reflect"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// device is what of a VM's device is looked at, of whatever type. Most of what
// vCenter says of a VM is its devices, so the scanner reads them into this
// directly; see [scanner.devices].
type device struct {
	typ        string // "VirtualDisk", ...
	label      string // "Hard disk 1"
	key        int32
	controller int32 // key
	unit       int32
	bus        int32 // number of a controller
	capacity   int64 // bytes
	capacityKB int64
	mac        string

	backing string // its type
	file    string
	mode    string // of a disk
	network string // id or key of what an interface is attached to
	named   string // network's or device's name
}

// buses are the controllers that disks hang from, and how their places are named.
var buses = map[string]string{
	"ParaVirtualSCSIController": "scsi", "VirtualLsiLogicController": "scsi", "VirtualLsiLogicSASController": "scsi",
	"VirtualBusLogicController": "scsi", "VirtualSCSIController": "scsi", "VirtualAHCIController": "sata", "VirtualSATAController": "sata",
	"VirtualIDEController": "ide", "VirtualNVMEController": "nvme",
}

// models are the network interfaces.
var models = map[string]string{
	"VirtualVmxnet3": "vmxnet3", "VirtualVmxnet3Vrdma": "vmxnet3vrdma", "VirtualVmxnet2": "vmxnet2", "VirtualVmxnet": "vmxnet",
	"VirtualE1000": "e1000", "VirtualE1000e": "e1000e", "VirtualPCNet32": "pcnet32", "VirtualSriovEthernetCard": "sriov", "VirtualEthernetCard": "",
}

const (
	typeDisk  = "VirtualDisk"
	typeCdrom = "VirtualCdrom"

	backedByNetwork = "VirtualEthernetCardNetworkBackingInfo"
	backedByPort    = "VirtualEthernetCardDistributedVirtualPortBackingInfo"
	backedByOpaque  = "VirtualEthernetCardOpaqueNetworkBackingInfo"
)

// lookedAt says whether devices of a type are.
func lookedAt(typ string) bool {
	_, bus := buses[typ]
	_, card := models[typ]
	return bus || card || typ == typeDisk || typ == typeCdrom
}

// setDevices takes a VM's disks and interfaces.
func (f *vmFact) setDevices(devices []device) {
	at := make(map[int32]*device)
	for i := range devices {
		if _, ok := buses[devices[i].typ]; ok {
			at[devices[i].key] = &devices[i]
		}
	}
	vm := f.next()
	vm.Disks, vm.NICs, f.attached = nil, nil, nil
	for i := range devices {
		d := &devices[i]
		_, card := models[d.typ]
		switch {
		case d.typ == typeDisk || d.typ == typeCdrom:
			vm.Disks = append(vm.Disks, d.disk(at))
		case card:
			vm.NICs = append(vm.NICs, d.nic())
			f.attached = append(f.attached, d.network)
		}
	}
}

// disk describes a disk or a CD drive. Its target is named as vSphere does: "scsi0:1".
func (d *device) disk(at map[int32]*device) inventory.Disk {
	out := inventory.Disk{Target: d.label, Device: "disk", Type: "file", Source: d.file, CapacityBytes: uint64(max(d.capacity, d.capacityKB<<10, 0))}
	if c := at[d.controller]; c != nil {
		out.Bus = buses[c.typ]
		out.Target = intern(fmt.Sprintf("%s%d:%d", out.Bus, c.bus, d.unit))
	}
	if d.file != "" {
		out.Format = "vmdk"
	}
	switch {
	case d.typ == typeCdrom:
		out.Device, out.Type, out.ReadOnly = "cdrom", "", true
		if out.Format = ""; d.backing == "VirtualCdromIsoBackingInfo" {
			out.Type, out.Format = "file", "iso"
		}
	case d.backing == "VirtualDiskRawDiskMappingVer1BackingInfo":
		out.Type = "block"
	}
	out.ReadOnly = out.ReadOnly || d.mode == string(types.VirtualDiskModeIndependent_nonpersistent)
	return out
}

// nic describes an interface. A distributed port group's name is looked up later.
func (d *device) nic() inventory.NIC {
	out := inventory.NIC{MAC: d.mac, Model: models[d.typ], Target: d.label}
	switch d.backing {
	case backedByNetwork:
		out.Type, out.Source = "network", unescape(d.named)
	case backedByPort:
		out.Type = "distributed"
	case backedByOpaque:
		out.Type, out.Source = "opaque", d.named
	}
	return out
}

// flatten makes the same of devices that were decoded in the usual way.
func flatten(list []types.BaseVirtualDevice) []device {
	var out []device
	for _, b := range list {
		if b == nil {
			continue // of a type that is not known
		}
		d := b.GetVirtualDevice()
		f := device{typ: reflect.TypeOf(b).Elem().Name(), key: d.Key, controller: d.ControllerKey}
		if d.UnitNumber != nil {
			f.unit = *d.UnitNumber
		}
		if d.DeviceInfo != nil {
			f.label = intern(d.DeviceInfo.GetDescription().Label)
		}
		if c, ok := b.(types.BaseVirtualController); ok {
			f.bus = c.GetVirtualController().BusNumber
		}
		if disk, ok := b.(*types.VirtualDisk); ok {
			f.capacity, f.capacityKB = disk.CapacityInBytes, disk.CapacityInKB
		}
		if card, ok := b.(types.BaseVirtualEthernetCard); ok {
			f.mac = card.GetVirtualEthernetCard().MacAddress
		}
		if d.Backing != nil {
			f.flattenBacking(d.Backing)
		}
		if lookedAt(f.typ) {
			out = append(out, f)
		}
	}
	return out
}

func (d *device) flattenBacking(backing types.BaseVirtualDeviceBackingInfo) {
	d.backing = reflect.TypeOf(backing).Elem().Name()
	if b, ok := backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		d.file = b.GetVirtualDeviceFileBackingInfo().FileName
	}
	switch b := backing.(type) {
	case *types.VirtualDiskFlatVer2BackingInfo:
		d.mode = b.DiskMode
	case *types.VirtualEthernetCardNetworkBackingInfo:
		if d.named = b.DeviceName; b.Network != nil {
			d.network = intern(b.Network.Value)
		}
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		d.network = intern(b.Port.PortgroupKey)
	case *types.VirtualEthernetCardOpaqueNetworkBackingInfo:
		d.named = b.OpaqueNetworkId
	}
}

// devices reads an array of devices.
func (s *scanner) devices(t *tag) ([]device, bool) {
	var out []device
	ok := s.children(t, func(c *tag) bool {
		typ := c.typ()
		if !lookedAt(typ) {
			return s.skip(c)
		}
		out = append(out, device{typ: typ})
		return s.device(c, &out[len(out)-1])
	})
	return out, ok
}

func (s *scanner) device(t *tag, d *device) bool {
	return s.children(t, func(c *tag) (ok bool) {
		switch string(c.name) {
		case "key":
			d.key, ok = s.int32(c)
		case "controllerKey":
			d.controller, ok = s.int32(c)
		case "unitNumber":
			d.unit, ok = s.int32(c)
		case "busNumber":
			d.bus, ok = s.int32(c)
		case "capacityInBytes":
			d.capacity, ok = s.int64(c)
		case "capacityInKB":
			d.capacityKB, ok = s.int64(c)
		case "macAddress":
			d.mac, ok = s.text(c)
		case "deviceInfo":
			ok = s.children(c, func(in *tag) (ok bool) {
				if !in.is("label") {
					return s.skip(in)
				}
				d.label, ok = s.text(in)
				d.label = intern(d.label)
				return ok
			})
		case "backing":
			d.backing = c.typ()
			ok = s.backing(c, d)
		default:
			ok = s.skip(c)
		}
		return ok
	})
}

// backing reads what a device is backed by. The parents of a disk with snapshots,
// which may be many, are not looked at.
func (s *scanner) backing(t *tag, d *device) bool {
	return s.children(t, func(c *tag) (ok bool) {
		switch string(c.name) {
		case "fileName":
			d.file, ok = s.text(c)
		case "diskMode":
			d.mode, ok = s.text(c)
			if d.mode = intern(d.mode); d.backing != "VirtualDiskFlatVer2BackingInfo" {
				d.mode = ""
			}
		case "deviceName":
			if d.named, ok = s.text(c); d.backing != backedByNetwork {
				d.named = ""
			}
		case "opaqueNetworkId":
			d.named, ok = s.text(c)
		case "network":
			d.network, ok = s.text(c)
			d.network = intern(d.network)
		case "port":
			ok = s.children(c, func(in *tag) (ok bool) {
				if !in.is("portgroupKey") {
					return s.skip(in)
				}
				d.network, ok = s.text(in)
				d.network = intern(d.network)
				return ok
			})
		default:
			ok = s.skip(c)
		}
		return ok
	})
}
