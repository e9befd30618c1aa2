package vcproxy_test

import (
	"testing"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

// A template has no pool, so its folder would be all that speaks for it.
func TestTemplatesOutsideStayOutside(t *testing.T) {
	s, inv := partStand(t)
	vc, admin, ctx := s.client(t), s.admin(t), t.Context()
	out := inv.ref(t, "VirtualMachine", "DC0_H0_VM0")
	if _, err := methods.PowerOffVM_Task(ctx, admin, &types.PowerOffVM_Task{This: out}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the machine is a template", func() bool {
		_, err := methods.MarkAsTemplate(ctx, admin, &types.MarkAsTemplate{This: out})
		return err == nil
	})
	folder, pool := inv.ref(t, "Folder", "vm"), inv.ref(t, "ResourcePool", "Resources")
	try := func(t *testing.T) {
		_, err := methods.CloneVM_Task(ctx, vc, &types.CloneVM_Task{This: out, Folder: folder, Name: "stolen"})
		refused(t, err, outside)
		_, err = methods.ExportVm(ctx, vc, &types.ExportVm{This: out})
		refused(t, err, outside)
		_, err = methods.Destroy_Task(ctx, vc, &types.Destroy_Task{This: out})
		refused(t, err, outside)
		_, err = methods.MarkAsVirtualMachine(ctx, vc, &types.MarkAsVirtualMachine{This: out, Pool: pool})
		refused(t, err, outside)
	}
	t.Run("that the inventory knows", try)
	inv.forget(out)
	t.Run("that it does not know yet", try)
}

const outside = "outside of what is delegated"

// forget takes an object out of the inventory, as if it had just been made.
func (i *inventory) forget(ref vcproxy.Ref) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.objects, ref.Value)
}

func TestVCenterIsNotAskedOfWhatIsKnownToBeOutside(t *testing.T) {
	s, inv := partStand(t)
	vc, out := s.client(t), inv.ref(t, "VirtualMachine", "DC0_H0_VM0")
	before := s.tap.count("")
	_, err := methods.PowerOffVM_Task(t.Context(), vc, &types.PowerOffVM_Task{This: out})
	refused(t, err, outside)
	if n := s.tap.count("") - before; n != 0 {
		t.Errorf("vCenter was asked %d times", n)
	}
}

// A descriptor shows all options of a machine, and what was typed when it was
// deployed.
func TestDescriptorsAreOfDelegatedMachines(t *testing.T) {
	s, inv := partStand(t)
	vc := s.client(t)
	describe := func(name string) error {
		_, err := methods.CreateDescriptor(t.Context(), vc, &types.CreateDescriptor{
			This: *vc.ServiceContent.OvfManager, Obj: inv.ref(t, "VirtualMachine", name), Cdp: types.OvfCreateDescriptorParams{ExportOption: []string{"extraconfig"}},
		})
		return err
	}
	refused(t, describe("DC0_H0_VM0"), "CreateDescriptor", outside)
	if err := describe("DC0_C0_RP0_VM0"); s.tap.count("CreateDescriptor") != 1 { // vcsim does not have it
		t.Errorf("that of a delegated machine is not asked for: %v", err)
	}
}

func TestPortsAreOfTheirPortGroup(t *testing.T) {
	s, inv := partStand(t)
	vc, in, group := s.client(t), inv.ref(t, "VirtualMachine", "DC0_C0_RP0_VM0"), inv.ref(t, "DistributedVirtualPortgroup", "DC0_DVPG0")
	connect := func(port string) error {
		return reconfig(vc, in, card(&types.VirtualEthernetCardDistributedVirtualPortBackingInfo{Port: types.DistributedVirtualSwitchPortConnection{
			SwitchUuid: "x", PortgroupKey: group.Value, PortKey: port,
		}}))
	}
	refused(t, connect("4711"), `the port "4711" is not one of the port group`)
	if err := connect("0"); err != nil {
		t.Error(err)
	}
}
