package vcsim

import (
	"crypto/sha1"
	"encoding/base64"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/internal/pki"
)

// Complete adds to a simulator, before it serves, what real vCenters do and
// OpenStack's driver needs of them:
//
//   - the search of a datastore without a specification, which else ends the
//     process;
//   - the copy of a disk within its datacenter, of which the driver does not name
//     the second one, and of a sparse disk, which becomes a flat one;
//   - the place of SCSI controllers on their bus, and the size of disks that are
//     attached;
//   - tickets for consoles;
//   - the export of a machine that has no snapshot. What is sent of a disk is its
//     descriptor, as the simulator does for snapshots.
func Complete(m *simulator.Model) {
	all := m.Map()
	kept := all.VirtualDiskManager().(*simulator.VirtualDiskManager)
	all.Put(&disks{kept})
	more := &machines{mo.OvfManager{Self: types.ManagedObjectReference{Type: "OvfManager", Value: "machines"}}}
	all.Put(more)
	all.Handler = func(ctx *simulator.Context, call *simulator.Method) (mo.Reference, types.BaseMethodFault) {
		switch req := call.Body.(type) {
		case *types.SearchDatastore_Task:
			if req.SearchSpec == nil {
				req.SearchSpec = &types.HostDatastoreBrowserSearchSpec{MatchPattern: []string{"*"}}
			}
		case *types.CreateVM_Task:
			numberControllers(req.Config.DeviceChange)
		case *types.ReconfigVM_Task:
			numberControllers(req.Spec.DeviceChange)
			measureDisks(ctx, req.This, req.Spec.DeviceChange)
		case *types.AcquireTicket, *types.ExportVm:
			call.This = more.Self
		}
		return nil, nil
	}
}

// scsiUnit is where a SCSI controller sits on its own bus.
const scsiUnit = 7

// numberControllers fills in where new SCSI controllers sit.
func numberControllers(changes []types.BaseVirtualDeviceConfigSpec) {
	for _, c := range changes {
		if scsi, ok := c.GetVirtualDeviceConfigSpec().Device.(types.BaseVirtualSCSIController); ok {
			scsi.GetVirtualSCSIController().ScsiCtlrUnitNumber = scsiUnit
		}
	}
}

// measureDisks fills in how large disks are that exist already.
func measureDisks(ctx *simulator.Context, near types.ManagedObjectReference, changes []types.BaseVirtualDeviceConfigSpec) {
	for _, c := range changes {
		spec := c.GetVirtualDeviceConfigSpec()
		disk, ok := spec.Device.(*types.VirtualDisk)
		if !ok || disk.CapacityInKB > 0 || spec.Operation != types.VirtualDeviceConfigSpecOperationAdd || spec.FileOperation != "" {
			continue
		}
		if b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
			d, _, fault := ctx.Map.FileManager().DiskDescriptor(ctx, datacenterOf(ctx, near), b.GetVirtualDeviceFileBackingInfo().FileName)
			if fault == nil {
				disk.CapacityInKB, disk.CapacityInBytes = d.Capacity()/1024, d.Capacity()
			}
		}
	}
}

// datacenterOf finds the datacenter around an object; nil: it is in none.
func datacenterOf(ctx *simulator.Context, ref types.ManagedObjectReference) *types.ManagedObjectReference {
	at := &ref
	for at != nil && at.Type != "Datacenter" {
		e, ok := ctx.Map.Get(*at).(mo.Entity)
		if !ok {
			return nil
		}
		at = e.Entity().Parent
	}
	return at
}

// machines has the methods of virtual machines that the simulator's do not have.
// The simulator wants an object of the API in each of its own.
type machines struct{ mo.OvfManager }

// AcquireTicket is a method of the API.
func (*machines) AcquireTicket(ctx *simulator.Context, req *types.AcquireTicket) soap.HasFault {
	body := new(methods.AcquireTicketBody)
	m, ok := ctx.Map.Get(req.This).(*simulator.VirtualMachine)
	if !ok {
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: req.This})
		return body
	}
	if m.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		body.Fault_ = simulator.Fault("", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: m.Runtime.PowerState,
		})
		return body
	}
	host := ctx.Map.Get(*m.Runtime.Host).(*simulator.HostSystem)
	body.Res = &types.AcquireTicketResponse{Returnval: types.VirtualMachineTicket{
		Ticket: "cst-VCT-" + m.Self.Value, CfgFile: m.Config.Files.VmPathName, Host: host.Name, Port: 902,
		SslThumbprint: thumbprint(ctx.Map.SessionManager().TLSCert()),
	}}
	return body
}

// thumbprint is of a certificate in Base64, as tickets have it.
func thumbprint(cert string) string {
	der, err := base64.StdEncoding.DecodeString(cert)
	if err != nil {
		return ""
	}
	sum := sha1.Sum(der)
	return pki.Colons(sum[:])
}

// ExportVm is a method of the API.
func (*machines) ExportVm(ctx *simulator.Context, req *types.ExportVm) soap.HasFault {
	body := new(methods.ExportVmBody)
	m, ok := ctx.Map.Get(req.This).(*simulator.VirtualMachine)
	if !ok {
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: req.This})
		return body
	}
	now := &simulator.VirtualMachineSnapshot{VirtualMachineSnapshot: mo.VirtualMachineSnapshot{Config: *m.Config, Vm: m.Self}}
	lease := now.ExportSnapshot(ctx, new(types.ExportSnapshot)).(*methods.ExportSnapshotBody)
	body.Res = &types.ExportVmResponse{Returnval: lease.Res.Returnval}
	return body
}
