package vimfault

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// answered is a fault as vCenter answers a call with it.
func answered(fault any, message string) error {
	f := &soap.Fault{Code: "ServerFaultCode", String: message}
	f.Detail.Fault = fault
	return soap.WrapSoapFault(f)
}

func reported(fault types.BaseMethodFault, message string) error {
	return Reported{types.LocalizedMethodFault{Fault: fault, LocalizedMessage: message}}
}

func TestWords(t *testing.T) {
	vm := types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-7"}
	tests := []struct {
		err  error
		want string
	}{
		{answered(types.InvalidPowerState{ExistingState: types.VirtualMachinePowerStatePoweredOff}, "x"), "the VM is off (InvalidPowerState)"},
		{reported(&types.TaskInProgress{}, "The operation is not allowed."), "it does something else with the VM: try again when that has ended (TaskInProgress: The operation is not allowed)"},
		{answered(types.TaskInProgress{}, ""), "it does something else with the VM: try again when that has ended (TaskInProgress)"},
		{answered(types.NoPermission{PrivilegeId: "VirtualMachine.Interact.PowerOn"}, "Permission to perform this operation was denied."), "the gateway's account lacks the privilege VirtualMachine.Interact.PowerOn: grant it in vCenter (NoPermission)"},
		{answered(types.InvalidLogin{}, ""), "the user's name or password is wrong (InvalidLogin)"},
		{fmt.Errorf("log in: %w", errors.Join(errors.New("refused"), answered(&types.InvalidLogin{}, ""))), "the user's name or password is wrong (InvalidLogin)"},
		{answered(types.ManagedObjectNotFound{Obj: vm}, "gone"), "the VM is not there any more (ManagedObjectNotFound)"},
		{reported(&types.InsufficientMemoryResourcesFault{}, "too little memory"), "there are too few resources left for the VM (InsufficientMemoryResourcesFault: too little memory)"},
		{reported(&types.NoDiskSpace{Datastore: "ssd1"}, ""), "datastore ssd1 is full (NoDiskSpace)"},
		{reported(&types.FileLocked{FileFault: types.FileFault{File: "[ssd1] a/a.vmx"}}, ""), "somebody else uses the file [ssd1] a/a.vmx (FileLocked)"},
		{reported(&types.CannotAccessFile{}, ""), "a file of the VM cannot be used (CannotAccessFile)"},
		{soap.WrapVimFault(&types.ToolsUnavailable{}), "VMware Tools do not run in the guest (ToolsUnavailable)"},
		{reported(&types.DvsNotAuthorized{}, "The switch says no."), "The switch says no. (DvsNotAuthorized)"},
		{reported(&types.DvsNotAuthorized{}, ""), "DvsNotAuthorized"},
		{reported(&types.DvsNotAuthorized{}, "*types.DvsNotAuthorized"), "DvsNotAuthorized"},
		{answered(nil, "A general system error occurred"), "A general system error occurred"},
		{answered(nil, ""), "a fault of which it says nothing"},
		{errors.New("no fault"), ""},
		{nil, ""},
	}
	for _, test := range tests {
		if got := Words(test.err); got != test.want {
			t.Errorf("%v:\n got %q\nwant %q", test.err, got, test.want)
		}
		if Is(test.err) != (test.want != "") {
			t.Errorf("%v: is a fault: %v", test.err, Is(test.err))
		}
	}
}

func TestHas(t *testing.T) {
	for _, err := range []error{answered(types.NotAuthenticated{}, ""), answered(&types.NotAuthenticated{}, ""), fmt.Errorf("a: %w", reported(&types.NotAuthenticated{}, ""))} {
		if !Has[types.NotAuthenticated](err) || Has[types.NoPermission](err) {
			t.Errorf("%v is not told", err)
		}
	}
	if Has[types.NotAuthenticated](errors.New("x")) || Has[types.NotAuthenticated](nil) {
		t.Error("found where there is none")
	}
}

// A row under a wrong name would panic, or never be found.
func TestTheTableNamesRealFaults(t *testing.T) {
	known := types.TypeFunc()
	for name, row := range table {
		kind, ok := known(name)
		if !ok {
			t.Errorf("there is no fault %s", name)
			continue
		}
		if (row.exact == nil) == (row.words == "") {
			t.Errorf("%s: want either words or a function", name)
		}
		if words := say(reflect.New(kind).Interface(), ""); words == name {
			t.Errorf("%s has no words", name)
		}
	}
}
