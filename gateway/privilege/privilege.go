// Package privilege knows which of vCenter's privileges discovery and control
// need, for what, and on which objects, and asks a vCenter which of them an
// account lacks. It grants nothing.
package privilege

import "slices"

// Place is a sort of objects that privileges are needed on.
type Place string

// The places.
const (
	Root      Place = "root"      // the folder that everything is in
	Folder    Place = "folder"    // a datacenter's folder of VMs, for all that is in it
	Cluster   Place = "cluster"   // a cluster, or a host that is in none
	Datastore Place = "datastore" // one that a chosen cluster uses
	Network   Place = "network"   // likewise
)

// Need is what one function of the gateway needs on the objects of one place.
type Need struct {
	Function   string // "power"
	Without    string // what does not work without, for people
	Place      Place
	Privileges []string // by vCenter's ids
}

// The functions, as people read them.
const (
	FunctionDiscovery     = "discovery"
	FunctionPower         = "power"
	FunctionConsole       = "console"
	FunctionSnapshots     = "snapshots"
	FunctionProvisioning  = "provisioning"
	FunctionConfiguration = "configuration"
	FunctionMigration     = "migration"
	FunctionImages        = "images"
	FunctionPolicies      = "storage policies"
	FunctionSessions      = "sessions"
)

// discovery is what vCenter's own role "Read-only" gives.
var discovery = []Need{
	{FunctionDiscovery, "the inventory is not seen", Root, []string{"System.Anonymous", "System.View", "System.Read"}},
}

// control is the least that OpenStack's services need in the delegated part.
var control = []Need{
	{FunctionPower, "VMs are not started or stopped", Folder, under("VirtualMachine.Interact", "PowerOn", "PowerOff", "Reset", "Suspend")},
	{FunctionConsole, "consoles do not open", Folder, under("VirtualMachine.Interact", "ConsoleInteract")},
	{FunctionSnapshots, "VMs are not snapshot, nor images made of them", Folder, under("VirtualMachine.State", "CreateSnapshot", "RemoveSnapshot", "RevertToSnapshot")},
	{FunctionProvisioning, "VMs are not created or deleted", Folder, slices.Concat(
		under("Folder", "Create"),
		under("VirtualMachine.Inventory", "Create", "CreateFromExisting", "Register", "Move", "Delete", "Unregister"),
		under("VirtualMachine.Provisioning", "Clone", "Customize", "CreateTemplateFromVM", "DeployTemplate"))},
	{FunctionProvisioning, "VMs are not created in the cluster", Cluster, under("Resource", "AssignVMToPool")},
	{FunctionProvisioning, "VMs get no disks on the datastore", Datastore, under("Datastore", "AllocateSpace")},
	{FunctionProvisioning, "VMs are not connected to the network", Network, under("Network", "Assign")},
	{FunctionConfiguration, "VMs are not resized, and volumes and ports not attached", Folder, slices.Concat(
		under("VirtualMachine.Config", "AddExistingDisk", "AddNewDisk", "AddRemoveDevice", "AdvancedConfig", "CPUCount", "Resource",
			"ChangeTracking", "Memory", "EditDevice", "RawDevice", "RemoveDisk", "Rename", "Annotation", "SwapPlacement", "DiskExtend", "Settings"),
		under("VirtualMachine.Interact", "SetCDMedia"))},
	{FunctionMigration, "VMs are not moved", Folder, under("Resource", "ColdMigrate", "HotMigrate")},
	{FunctionImages, "images are not kept on the datastore", Datastore, under("Datastore", "Browse", "FileManagement", "DeleteFile")},
	{FunctionImages, "images are not brought in", Cluster, under("VApp", "Import")},
	{FunctionImages, "images are not made of VMs", Folder, under("VApp", "Export")},
	{FunctionPolicies, "storage policies are not honoured", Root, under("StorageProfile", "View")},
	{FunctionSessions, "OpenStack's services log in anew for each call", Root, under("Sessions", "ValidateSession")},
}

// under returns privileges of one group.
func under(group string, names ...string) []string {
	ids := make([]string, len(names))
	for i, n := range names {
		ids[i] = group + "." + n
	}
	return ids
}

// Discovery returns what an account needs that looks only.
func Discovery() []Need { return slices.Clone(discovery) }

// Control returns what an account needs that acts, besides [Discovery].
func Control() []Need { return slices.Clone(control) }
