package vcenter

import (
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/internal/testvcenter"
	"github.com/openpf9/openpf9/plugin/inventory"
)

func TestWhoseFilesAreInADirectory(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 4})
	w := watch(t, v, Options{}, quick)
	w.list()
	vm, other := v.IDs(typeVM)[0], v.IDs(typeVM)[1]
	name, _ := v.Get(vm, "name").(string)
	store := v.Get(vm, "datastore").(types.ArrayOfManagedObjectReference).ManagedObjectReference[0].Value
	users := func(top string) []string {
		ids := w.Users(store, top)
		slices.Sort(ids)
		return ids
	}
	if got := users(name); !slices.Equal(got, []string{vm}) {
		t.Errorf("the files in %s are of %v, want %s", name, got, vm)
	}
	for _, top := range []string{"", "elsewhere", name + "_1", "vmimages"} {
		if got := users(top); got != nil {
			t.Errorf("the files in %q are of %v", top, got)
		}
	}
	if got := w.Users("datastore-none", name); got != nil {
		t.Errorf("a datastore that does not exist has files of %v", got)
	}
	v.Set(vm, "config.files.snapshotDirectory", "[an old name] Snaps/here")
	until(t, "the snapshots' directory", func() bool { return slices.Equal(users("snaps"), []string{vm}) })
	v.Set(other, "datastore", types.ArrayOfManagedObjectReference{ManagedObjectReference: []types.ManagedObjectReference{{Type: "Datastore", Value: store}}})
	v.Set(other, "config.hardware.device", types.ArrayOfVirtualDevice{VirtualDevice: []types.BaseVirtualDevice{
		&types.VirtualDisk{VirtualDevice: types.VirtualDevice{Backing: &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[ds0] " + name + "/borrowed.vmdk"},
		}}},
	}})
	until(t, "a disk in another's directory", func() bool { return slices.Contains(users(name), vm) && slices.Contains(users(name), other) })
}

func TestFilesAreWithinADirectory(t *testing.T) {
	for _, test := range []struct {
		file, top string
		want      bool
	}{
		{"a/a.vmx", "a", true},
		{"a/", "A", true},
		{"a/b/c.vmdk", "b", false},
		{"a.vmdk", "a.vmdk", true},
		{"a.vmdk", "a-flat.vmdk", true},
		{"a-000002.vmdk", "a-000001-delta.vmdk", true},
		{"a.vmdk", "a", true},
		{"a.vmdk", "ab.vmdk", false},
		{"ab.vmdk", "a", false},
		{"", "a", false},
		{"/", "a", false},
	} {
		if got := within(test.file, test.top); got != test.want {
			t.Errorf("%q is within %q: %v", test.file, test.top, got)
		}
	}
}

func TestDirectoriesOfAVM(t *testing.T) {
	f := newVMFact()
	f.home = f.directory("[ds 1] dir/vm.vmx")
	if f.home != "dir/" || f.directory("[ds 1] dir/") != "dir/" || f.directory("[ds 1] vm.vmx") != "vm.vmx" || f.directory("[ds 1]") != "" || f.directory("") != "" {
		t.Errorf("the home is %q", f.home)
	}
	f.draft = &inventory.VM{Disks: []inventory.Disk{{Device: "cdrom", Source: "[ds 1] iso/a.iso"}, {Device: "disk", Source: "[ds 1] other/a.vmdk"}}}
	if !f.uses("dir") || !f.uses("other") || f.uses("iso") {
		t.Error("a VM uses the directories of its disks, and not of its CDs")
	}
}

func TestMarksOfAVM(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 4})
	w := watch(t, v, Options{}, quick)
	w.list()
	vm := v.IDs(typeVM)[1]
	get := func(path string) string { return v.Get(vm, path).(string) }
	v.Set(vm, "guest.net", types.ArrayOfGuestNicInfo{GuestNicInfo: []types.GuestNicInfo{{IpAddress: []string{"192.0.2.7", "2001:db8::7"}}}})
	mac := ""
	until(t, "the addresses", func() bool {
		shown, _ := w.vm(v, vm)
		mac = shown.NICs[0].MAC
		return slices.Contains(shown.Guest.Addresses, "192.0.2.7")
	})
	for what, m := range map[string]Marks{
		"UUID":              {UUIDs: []string{"x", strings.ToUpper(get("config.uuid"))}},
		"MAC":               {MACs: []string{strings.ToUpper(mac)}},
		"name":              {Names: []string{strings.ToUpper(get("guest.hostName"))}},
		"first address":     {Addresses: []string{get("guest.ipAddress")}},
		"another address":   {Addresses: []string{"192.0.2.7"}},
		"address of IPv6":   {Addresses: []string{"2001:DB8:0::7"}},
		"one mark of three": {UUIDs: []string{"x"}, MACs: []string{"y"}, Addresses: []string{"192.0.2.7"}},
	} {
		m.Of = what
		if got := w.Bears(vm, []Marks{{Of: "nothing"}, m}); got != what {
			t.Errorf("by its %s the VM is %q", what, got)
		}
		if got := w.Bearers([]Marks{m}); len(got) != 1 || got[0].Moref != vm || got[0].Of != what || got[0].Path == "" {
			t.Errorf("by the %s found %+v", what, got)
		}
	}
	for _, m := range []Marks{{}, {UUIDs: []string{""}, MACs: []string{""}, Names: []string{"", "vm"}, Addresses: []string{"", "192.0.2.70"}}} {
		m.Of = "somebody"
		if got := w.Bears(vm, []Marks{m}); got != "" {
			t.Errorf("the VM has one of the marks %+v", m)
		}
	}
	if got := w.Bears("vm-none", []Marks{{Of: "x", UUIDs: []string{""}}}); got != "" {
		t.Errorf("a VM that does not exist is %q", got)
	}
	if got := w.Obeyed(); len(got) != 0 {
		t.Errorf("the hosts obey %v", got)
	}
	v.Set(v.IDs("HostSystem")[0], "summary.managementServerIp", "192.0.2.7")
	until(t, "vCenter's address", func() bool { return slices.Equal(w.Obeyed(), []string{"192.0.2.7"}) })
}
