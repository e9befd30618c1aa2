package vcenter

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/types"
)

// machine is a VM with a device of each type that matters, and of some that do not.
func machine() []types.BaseVirtualDevice {
	disk := &types.VirtualDisk{VirtualDevice: types.VirtualDevice{
		Key: 2000, ControllerKey: 1000, UnitNumber: new(int32(3)), DeviceInfo: &types.Description{Label: "Hard <disk> 1", Summary: "s"},
		Connectable: &types.VirtualDeviceConnectInfo{Connected: true},
	}, CapacityInBytes: 1 << 30, Shares: &types.SharesInfo{Shares: 1000, Level: types.SharesLevelNormal}}
	disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[ds] a/b-000002.vmdk"}, DiskMode: "independent_nonpersistent",
		Parent: &types.VirtualDiskFlatVer2BackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[ds] a/b.vmdk"}, DiskMode: "persistent"},
	}
	raw := &types.VirtualDisk{CapacityInKB: 5}
	raw.Backing = &types.VirtualDiskRawDiskMappingVer1BackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[ds] raw.vmdk"}, DeviceName: "vml.1", DiskMode: "persistent"}
	cd, none := &types.VirtualCdrom{}, &types.VirtualCdrom{}
	cd.ControllerKey = 1006
	cd.Backing = &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "x.iso"}}
	none.Backing = &types.VirtualCdromRemotePassthroughBackingInfo{VirtualDeviceRemoteDeviceBackingInfo: types.VirtualDeviceRemoteDeviceBackingInfo{DeviceName: "d"}}
	devices := []types.BaseVirtualDevice{disk, raw, cd, none, &types.VirtualKeyboard{}, &types.VirtualMachineVideoCard{}, &types.VirtualTPM{}}
	for i, c := range []types.BaseVirtualController{
		&types.ParaVirtualSCSIController{}, &types.VirtualLsiLogicController{}, &types.VirtualLsiLogicSASController{}, &types.VirtualBusLogicController{},
		&types.VirtualAHCIController{}, &types.VirtualSATAController{}, &types.VirtualIDEController{}, &types.VirtualNVMEController{}, &types.VirtualPCIController{},
	} {
		c.GetVirtualController().Key, c.GetVirtualController().BusNumber = int32(1000+i), int32(i)
		devices = append(devices, c.(types.BaseVirtualDevice), &types.VirtualDisk{VirtualDevice: types.VirtualDevice{ControllerKey: int32(1000 + i)}})
	}
	for i, card := range []types.BaseVirtualEthernetCard{
		&types.VirtualVmxnet3{}, &types.VirtualVmxnet3Vrdma{}, &types.VirtualVmxnet2{}, &types.VirtualVmxnet{}, &types.VirtualE1000{}, &types.VirtualE1000e{},
		&types.VirtualPCNet32{}, &types.VirtualSriovEthernetCard{}, &types.VirtualEthernetCard{},
	} {
		c := card.GetVirtualEthernetCard()
		c.MacAddress = "00:50:56:00:00:01"
		switch i % 3 {
		case 0:
			c.Backing = &types.VirtualEthernetCardNetworkBackingInfo{
				VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VM%2fNetwork"}, Network: &types.ManagedObjectReference{Type: "Network", Value: "network-7"},
			}
		case 1:
			c.Backing = &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{Port: types.DistributedVirtualSwitchPortConnection{SwitchUuid: "u", PortgroupKey: "dvportgroup-8", PortKey: "9"}}
		case 2:
			c.Backing = &types.VirtualEthernetCardOpaqueNetworkBackingInfo{OpaqueNetworkId: "o", OpaqueNetworkType: "nsx.LogicalSwitch"}
		}
		devices = append(devices, card.(types.BaseVirtualDevice))
	}
	return devices
}

func TestScannedDevicesSayTheSame(t *testing.T) {
	change := types.PropertyChange{Name: "config.hardware.device", Val: types.ArrayOfVirtualDevice{VirtualDevice: machine()}}
	set := &types.UpdateSet{FilterSet: []types.PropertyFilterUpdate{{
		Filter:    types.ManagedObjectReference{Type: "PropertyFilter", Value: "f"},
		ObjectSet: []types.ObjectUpdate{{Obj: types.ManagedObjectReference{Type: typeVM, Value: "vm-1"}, ChangeSet: []types.PropertyChange{change}}},
	}}}
	for name, spell := range spellings {
		t.Run(name, func(t *testing.T) {
			whole := []byte(spell(string(reply(t, set))))
			scanned, ok := scanReply(whole)
			if !ok {
				t.Fatalf("not understood:\n%s", whole)
			}
			var facts []*vmFact
			for _, set := range []*types.UpdateSet{decoded(t, whole), scanned} {
				o := &object{fact: newVMFact()}
				vmProps[change.Name](o, set.FilterSet[0].ObjectSet[0].ChangeSet[0].Val)
				facts = append(facts, o.fact.(*vmFact))
			}
			if d := cmp.Diff(*facts[0].next(), *facts[1].next()); d != "" {
				t.Errorf("disks and interfaces (-decoded +scanned):\n%s", d)
			}
			if d := cmp.Diff(facts[0].attached, facts[1].attached); d != "" {
				t.Errorf("networks (-decoded +scanned):\n%s", d)
			}
			vm := facts[1].next()
			if len(vm.Disks) != 13 || len(vm.NICs) != 9 || !vm.Disks[0].ReadOnly || vm.Disks[0].Target != "scsi0:3" || vm.Disks[1].CapacityBytes != 5<<10 || vm.NICs[0].Source != "VM/Network" {
				t.Errorf("%d disks, %d interfaces: %+v", len(vm.Disks), len(vm.NICs), vm)
			}
		})
	}
}
