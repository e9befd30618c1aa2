package session

import "testing"

func TestHeavyTypesAreNotDecoded(t *testing.T) {
	for _, name := range []string{"VirtualMachineConfigInfo", "HostConfigInfo", "HostConnectInfo", "HostNetworkInfo", "ClusterConfigInfoEx", "NoSuchType"} {
		if typ, ok := Decodable(name); ok || Weight(name) != 0 {
			t.Errorf("%s is decoded as %v, with the weight %d", name, typ, Weight(name))
		}
	}
}

// What the gateway reads of vCenter.
func TestWhatIsReadIsDecoded(t *testing.T) {
	for _, name := range []string{
		"TaskInfo", "ArrayOfUserSession", "ArrayOfManagedObjectReference", "ArrayOfAuthorizationPrivilege", "ManagedObjectReference",
		"ArrayOfVirtualDevice", "VirtualDisk", "VirtualSriovEthernetCard", "VirtualDiskFlatVer2BackingInfo", "VirtualMachineSnapshotInfo", "VirtualMachineQuestionInfo",
		"ArrayOfGuestNicInfo", "VirtualMachineStorageSummary", "ManagedByInfo", "HostHardwareSummary", "AboutInfo", "ArrayOfPhysicalNic", "ArrayOfHostVirtualNic",
		"ResourceAllocationInfo", "ArrayOfString", "StoragePodSummary", "DatastoreSummary", "ArrayOfDatastoreHostMount", "OpaqueNetworkSummary", "VMwareDVSPortSetting",
		"VmwareDistributedVirtualSwitchVlanIdSpec", "VmwareDistributedVirtualSwitchTrunkVlanSpec", "VmwareDistributedVirtualSwitchPvlanSpec",
		"NotAuthenticated", "InvalidLogin", "InvalidProperty", "ManagedObjectNotFound", "NoPermission", "DrsBehavior", "VirtualMachinePowerState",
	} {
		if Weight(name) == 0 {
			t.Errorf("%s is not decoded", name)
		} else {
			t.Logf("%s weighs %d", name, Weight(name))
		}
	}
}

func TestAHeavyTypeInsideCounts(t *testing.T) {
	if got := Weight("ArrayOfDatastoreHostMount"); got != 7 { // of DatastoreHostMount, which has 168 bytes
		t.Errorf("weight %d, want 7", got)
	}
}
