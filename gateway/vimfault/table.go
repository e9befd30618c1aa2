package vimfault

import (
	"fmt"

	"github.com/vmware/govmomi/vim25/types"
)

// A row has the words for a fault: exact ones, from its fields, or those that also
// do for all faults of its kind.
type row struct {
	exact func(fault any) string
	words string
}

// exactly returns a row for the fault T.
func exactly[T any](words func(T) string) row {
	return row{exact: func(fault any) string { return words(fault.(T)) }} // it is looked up by T's name
}

// table has the faults that people meet, by name. It never changes.
var table = map[string]row{
	// Who asks.
	"InvalidLogin":     {words: "the user's name or password is wrong"},
	"NotAuthenticated": {words: "it does not know the gateway's session any more"},
	"NoPermission": exactly(func(f types.NoPermission) string {
		if f.PrivilegeId == "" {
			return "the gateway's account may not do it: pf9-gateway pair shows what it lacks"
		}
		return fmt.Sprintf("the gateway's account lacks the privilege %s: grant it in vCenter", f.PrivilegeId)
	}),

	// How the VM is.
	"InvalidPowerState": exactly(func(f types.InvalidPowerState) string {
		return "the VM is " + powerWords(f.ExistingState)
	}),
	"InvalidState":          {words: "the VM's state does not allow it"},
	"TaskInProgress":        {words: "it does something else with the VM: try again when that has ended"},
	"ConcurrentAccess":      {words: "somebody else has changed the VM at the same time: look at it, and try again"},
	"ManagedObjectNotFound": exactly(func(f types.ManagedObjectNotFound) string { return thing(f.Obj) + " is not there any more" }),
	"ToolsUnavailable":      {words: "VMware Tools do not run in the guest"},
	"QuestionPending":       {words: "it waits for an answer about the VM: answer it in vCenter"},
	"VmConfigFault":         {words: "the VM's configuration does not allow it"},
	"DuplicateName":         exactly(func(f types.DuplicateName) string { return fmt.Sprintf("the name %q is taken", f.Name) }),
	"InvalidName":           exactly(func(f types.InvalidName) string { return fmt.Sprintf("the name %q cannot be", f.Name) }),

	// Snapshots.
	"SnapshotFault":                 {words: "the snapshot cannot be made or used"},
	"TooManySnapshotLevels":         {words: "the VM has as many snapshots, one upon the other, as can be: remove some"},
	"MultipleSnapshotsNotSupported": {words: "the VM can have only one snapshot: remove it first"},
	"ApplicationQuiesceFault":       {words: "a program in the guest could not write out what it holds: leave quiesce out, or try again"},
	"FilesystemQuiesceFault":        {words: "the guest's file systems could not be written out: leave quiesce out, or try again"},

	// Where the VM is.
	"InsufficientResourcesFault": {words: "there are too few resources left for the VM"},
	"NoCompatibleHost":           {words: "no host of the cluster can run the VM"},
	"NoDiskSpace":                exactly(func(f types.NoDiskSpace) string { return fmt.Sprintf("datastore %s is full", f.Datastore) }),
	"FileLocked":                 exactly(func(f types.FileLocked) string { return "somebody else uses " + file(f.File) }),
	"FileNotFound":               exactly(func(f types.FileNotFound) string { return file(f.File) + " is missing" }),
	"FileFault":                  {words: "a file of the VM cannot be used"},
	"HostCommunication":          {words: "it does not reach the VM's host"},
	"HostNotReachable":           {words: "it does not reach the VM's host"},
	"HostNotConnected":           {words: "the VM's host is not connected to it: look after the host first"},
	"InvalidHostState":           {words: "the VM's host is in a state that does not allow it, such as maintenance"},
	"NotEnoughLicenses":          {words: "its licences do not suffice"},
	"LicenseServerUnavailable":   {words: "its licences cannot be checked"},

	// What was asked.
	"NotSupported":      {words: "it cannot do that to this VM"},
	"RestrictedVersion": {words: "its licence does not allow it"},
	"MethodDisabled":    {words: "another product has disabled it for the VM"},
	"InvalidArgument": exactly(func(f types.InvalidArgument) string {
		return fmt.Sprintf("it does not take the argument %q", f.InvalidProperty)
	}),
	"RequestCanceled": {words: "somebody has cancelled it in vCenter"},
	"Timedout":        {words: "it took vCenter too long"},
}

func powerWords(s types.VirtualMachinePowerState) string {
	switch s {
	case types.VirtualMachinePowerStatePoweredOn:
		return "on"
	case types.VirtualMachinePowerStatePoweredOff:
		return "off"
	case types.VirtualMachinePowerStateSuspended:
		return "suspended"
	case "":
		return "not in the right power state"
	}
	return string(s)
}

func thing(o types.ManagedObjectReference) string {
	switch o.Type {
	case "VirtualMachine":
		return "the VM"
	case "VirtualMachineSnapshot":
		return "the snapshot"
	case "Task":
		return "the task"
	case "":
		return "what it is about"
	}
	return o.Type + " " + o.Value
}

func file(name string) string {
	if name == "" {
		return "a file of the VM"
	}
	return "the file " + name
}
