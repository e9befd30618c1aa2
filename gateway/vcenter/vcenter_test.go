package vcenter

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/internal/testvcenter"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

// quick is a timing for tests: what takes a minute takes a second.
var quick = timing{
	maxWait: 1, waitLimit: 2 * time.Second, callLimit: 2 * time.Second,
	firstList: 20 * time.Second, grace: 100 * time.Millisecond, firstRetry: 5 * time.Millisecond, lastRetry: 50 * time.Millisecond, calm: 50 * time.Millisecond,
	doubt: 20 * time.Millisecond, sweepEvery: time.Hour, fillsEvery: time.Hour, beat: time.Hour, proofLimit: 2 * time.Second, proofGap: 10 * time.Millisecond,
}

func start(t *testing.T, o testvcenter.Options) *testvcenter.Server {
	t.Helper()
	v, err := testvcenter.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func account() (session.Account, error) {
	return session.Account{User: "gw@vsphere.local", Password: "secret"}, nil
}

func newSession(t *testing.T, v *testvcenter.Server) *session.Session {
	t.Helper()
	s, err := session.New(session.Options{Name: "east", URL: v.URL(), Pin: v.Pin(), Account: account, Owner: "gateway-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// watched is a source that is watched until the test's end, and what it hints.
type watched struct {
	*Source
	t *testing.T

	mu    sync.Mutex // guards the fields below
	hints map[plugin.Key]int
	all   int
}

func watch(t *testing.T, v *testvcenter.Server, o Options, with timing) *watched {
	t.Helper()
	if o.Session == nil {
		o.Session = newSession(t, v)
	}
	w := &watched{Source: New(o), t: t, hints: make(map[plugin.Key]int)}
	w.time = with
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Watch(ctx, w.hint) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: %v", err)
		}
	})
	return w
}

func (w *watched) hint(keys ...plugin.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(keys) == 0 {
		w.all++
	}
	for _, k := range keys {
		w.hints[k]++
	}
}

func (w *watched) hinted(k plugin.Key) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hints[k]
}

// list returns everything by key, as soon as it is known.
func (w *watched) list() (all map[plugin.Key]plugin.Resource) {
	w.t.Helper()
	until(w.t, "a list", func() bool {
		var err error
		all, err = list(w.t.Context(), w.Source)
		return err == nil
	})
	return all
}

func list(ctx context.Context, s *Source) (map[plugin.Key]plugin.Resource, error) {
	all := make(map[plugin.Key]plugin.Resource)
	err := s.List(ctx, func(r plugin.Resource) { all[r.Key] = r })
	return all, err
}

// until waits for a condition.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !f() {
		select {
		case <-look.C:
		case <-limit.C:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// vm returns one VM as it is listed.
func (w *watched) vm(v *testvcenter.Server, moref string) (inventory.VM, bool) {
	r, found, err := w.Get(w.t.Context(), key(v, inventory.KindVM, moref))
	if err != nil || !found {
		return inventory.VM{}, false
	}
	return r.Spec.(inventory.VM), true
}

func key(v *testvcenter.Server, kind, moref string) plugin.Key {
	return plugin.Key{Kind: kind, ID: v.InstanceUUID() + "/" + moref}
}

func TestConformance(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 30, Hosts: 4, Clusters: 2})
	plugintest.Run(t, plugintest.Options{Kinds: Kinds(), New: func(t *testing.T) plugin.Source {
		return watch(t, v, Options{}, quick).Source
	}})
}

func TestEverythingIsListed(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 250, Hosts: 8, Clusters: 2, Datastores: 3, Networks: 4})
	w := watch(t, v, Options{}, quick)
	all := w.list()
	got := make(map[string]int)
	for k := range all {
		got[k.Kind]++
	}
	want := map[string]int{
		inventory.KindVCenter: 1, inventory.KindDatacenter: 1, inventory.KindFolder: 6, inventory.KindCluster: 2, inventory.KindESXi: 8,
		inventory.KindResourcePool: 2, inventory.KindDatastore: 3, inventory.KindSwitch: 1, inventory.KindPortGroup: 4, inventory.KindVM: 250,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("kinds (-want +got):\n%s", d)
	}
	if n := v.Sessions(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func TestWhatAVMShows(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 1})
	id := v.IDs("VirtualMachine")[0]
	created := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	v.Set(id, "snapshot", types.VirtualMachineSnapshotInfo{
		CurrentSnapshot: &types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: "snapshot-2"},
		RootSnapshotList: []types.VirtualMachineSnapshotTree{{
			Snapshot: types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: "snapshot-1"}, Name: "a%2fb", CreateTime: created, State: types.VirtualMachinePowerStatePoweredOff,
			ChildSnapshotList: []types.VirtualMachineSnapshotTree{{
				Snapshot: types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: "snapshot-2"}, Name: "c", CreateTime: created, State: types.VirtualMachinePowerStatePoweredOn,
			}},
		}},
	})
	w := watch(t, v, Options{}, quick)
	w.list()
	got, found := w.vm(v, id)
	if !found {
		t.Fatal("the VM is not there")
	}
	n := strings.TrimPrefix(got.Path, "/DC0/vm/")
	booted := testvcenter.Started
	want := inventory.VM{
		State: inventory.VMRunning, Hypervisor: "vmware", Persistent: true, VCPUs: 2, MaxVCPUs: 2, MemoryBytes: 4 << 30, MaxMemoryBytes: 4 << 30,
		Description: "made for " + n, UUID: got.UUID, Host: got.Host, Cluster: got.Cluster, Path: "/DC0/vm/" + n, Datastores: got.Datastores,
		Disks: []inventory.Disk{
			{Target: "ide0:0", Bus: "ide", Device: "cdrom", Type: "file", Source: "[] /vmimages/tools-isoimages/linux.iso", Format: "iso", ReadOnly: true},
			{Target: "scsi0:0", Bus: "scsi", Device: "disk", Type: "file", Source: "[" + got.Datastores[0] + "] " + n + "/" + n + "_1.vmdk", Format: "vmdk", CapacityBytes: 20 << 30},
			{Target: "scsi0:1", Bus: "scsi", Device: "disk", Type: "file", Source: "[" + got.Datastores[0] + "] " + n + "/" + n + "_2.vmdk", Format: "vmdk", CapacityBytes: 20 << 30},
		},
		NICs:  []inventory.NIC{{MAC: got.NICs[0].MAC, Model: "vmxnet3", Type: "distributed", Source: got.VMware.Networks[0], Target: "Network adapter 1"}},
		Guest: &inventory.Guest{OS: "Debian GNU/Linux 12 (64-bit)", Hostname: n + ".example", Addresses: got.Guest.Addresses},
		Snapshots: []inventory.Snapshot{
			{ID: "snapshot-1", Name: "a/b", Created: created, State: inventory.VMShutOff},
			{ID: "snapshot-2", Name: "c", Parent: "snapshot-1", Created: created, State: inventory.VMRunning, Current: true},
		},
		VMware: &inventory.VMware{
			Moref: id, InstanceUUID: got.VMware.InstanceUUID, HostMoref: got.VMware.HostMoref, ClusterMoref: got.VMware.ClusterMoref,
			Datacenter: "DC0", ResourcePool: "Resources", Hardware: "vmx-19", Firmware: "efi", GuestID: "debian12_64Guest", Tools: "guestToolsRunning",
			CoresPerSocket: 1, StorageBytes: 10 << 30, UncommittedBytes: 30 << 30, Booted: &booted, Networks: got.VMware.Networks,
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("VM (-want +got):\n%s", d)
	}
	for what, s := range map[string]string{"UUID": got.UUID, "host": got.Host, "cluster": got.Cluster, "network": got.VMware.Networks[0], "instance UUID": got.VMware.InstanceUUID} {
		if s == "" {
			t.Errorf("the VM has no %s", what)
		}
	}
	if len(got.Guest.Addresses) != 2 {
		t.Errorf("addresses %v", got.Guest.Addresses)
	}
}

func TestChangesAreHintedAtAndShown(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 5, Hosts: 4, Clusters: 2})
	w := watch(t, v, Options{}, quick)
	w.list()
	id := v.IDs("VirtualMachine")[2]
	k := key(v, inventory.KindVM, id)
	hosts := v.IDs("HostSystem")
	for _, change := range []struct {
		what  string
		path  string
		value any
		shows func(vm inventory.VM) bool
	}{
		{"power", "runtime.powerState", types.VirtualMachinePowerStatePoweredOff, func(vm inventory.VM) bool { return vm.State == inventory.VMShutOff }},
		{"memory", "config.hardware.memoryMB", int32(1), func(vm inventory.VM) bool { return vm.MemoryBytes == 1<<20 }},
		{"host", "runtime.host", types.ManagedObjectReference{Type: "HostSystem", Value: hosts[1]}, func(vm inventory.VM) bool { return vm.Host == "esx001.example" && vm.Cluster == "cluster1" }},
		{"no devices", "config.hardware.device", types.ArrayOfVirtualDevice{}, func(vm inventory.VM) bool { return len(vm.Disks) == 0 && len(vm.NICs) == 0 }},
		{"orphan", "runtime.connectionState", types.VirtualMachineConnectionStateOrphaned, func(vm inventory.VM) bool { return vm.State == inventory.VMUnknown && vm.StateReason == "orphaned" }},
		{"disks to consolidate", "runtime.consolidationNeeded", true, func(vm inventory.VM) bool { return len(vm.Warnings) == 1 }},
	} {
		before := w.hinted(k)
		v.Set(id, change.path, change.value)
		until(t, change.what, func() bool { vm, ok := w.vm(v, id); return ok && change.shows(vm) })
		until(t, change.what+" hinted at", func() bool { return w.hinted(k) > before })
	}
	before := w.hinted(k)
	v.Set(id, "config.hardware.memoryMB", int32(1)) // what it was
	added := v.AddVM()
	until(t, "a new VM", func() bool { _, ok := w.vm(v, added); return ok })
	if w.hinted(k) != before {
		t.Error("an update that changes nothing is hinted at")
	}
	v.Set(id, "config.template", true)
	until(t, "a template", func() bool {
		all := w.list()
		_, vm := all[k]
		_, template := all[key(v, inventory.KindTemplate, id)]
		return !vm && template
	})
	v.Remove(added)
	until(t, "a VM that is gone", func() bool { _, ok := w.vm(v, added); return !ok })
	if n := v.Counts().Logins; n != 1 {
		t.Errorf("%d logins", n)
	}
}

func TestRenamedPlacesShowInVMs(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 3})
	w := watch(t, v, Options{}, quick)
	w.list()
	id := v.IDs("VirtualMachine")[0]
	for path, rename := range map[string]struct {
		id    string
		shows func(inventory.VM) bool
	}{
		"folder": {v.IDs("Folder")[1], func(vm inventory.VM) bool { return strings.HasPrefix(vm.Path, "/DC0/new%2fname/") }},
		"host":   {"", func(vm inventory.VM) bool { return vm.Host == "new/name" }},
		"store":  {"", func(vm inventory.VM) bool { return slices.Equal(vm.Datastores, []string{"new/name"}) }},
	} {
		vm, _ := w.vm(v, id)
		switch path {
		case "host":
			rename.id = vm.VMware.HostMoref
		case "store":
			rename.id = v.Get(id, "datastore").(types.ArrayOfManagedObjectReference).ManagedObjectReference[0].Value
		}
		v.Set(rename.id, "name", "new%2fname")
		until(t, path, func() bool { vm, _ := w.vm(v, id); return rename.shows(vm) })
	}
	folder := v.IDs("Folder")[6-1]
	v.Set(id, "parent", types.ManagedObjectReference{Type: "Folder", Value: folder})
	until(t, "a folder with a slash in its name", func() bool { vm, _ := w.vm(v, id); return strings.Contains(vm.Path, "/prod%2feu/") })
}

func TestPortGroupsSayTheirVLANAndWhetherTheyAreUplinks(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 1, Networks: 5})
	w := watch(t, v, Options{}, quick)
	w.list()
	ids := v.IDs("DistributedVirtualPortgroup")
	dvs := v.IDs("VmwareDistributedVirtualSwitch")[0]
	trunk := func(vlans ...types.NumericRange) types.VMwareDVSPortSetting {
		return types.VMwareDVSPortSetting{Vlan: &types.VmwareDistributedVirtualSwitchTrunkVlanSpec{VlanId: vlans}}
	}
	v.Set(ids[1], "config.defaultPortConfig", trunk(types.NumericRange{Start: 1, End: 9}, types.NumericRange{Start: 20, End: 20}))
	v.Set(ids[2], "config.defaultPortConfig", types.VMwareDVSPortSetting{Vlan: &types.VmwareDistributedVirtualSwitchPvlanSpec{PvlanId: 5}})
	v.Set(ids[3], "tag", types.ArrayOfTag{Tag: []types.Tag{{Key: "OTHER"}, {Key: "SYSTEM/DVS.UPLINKPG"}}})
	v.Set(dvs, "config.uplinkPortgroup", types.ArrayOfManagedObjectReference{ManagedObjectReference: []types.ManagedObjectReference{{Type: "DistributedVirtualPortgroup", Value: ids[4]}}})
	for i, want := range []inventory.PortGroup{{VLAN: "10"}, {VLAN: "1-9,20"}, {VLAN: "private 5"}, {VLAN: "13", Uplink: true}, {VLAN: "14", Uplink: true}} {
		want.Type, want.Path, want.Datacenter, want.Switch, want.Accessible = "distributed", "/DC0/network/pg"+string(rune('0'+i)), "DC0", "dvs0", true
		var got inventory.PortGroup
		until(t, want.Path, func() bool {
			r, _, _ := w.Get(t.Context(), key(v, inventory.KindPortGroup, ids[i]))
			got, _ = r.Spec.(inventory.PortGroup)
			return cmp.Equal(got, want)
		})
	}
}

func TestStandardNetworksShowWhatTheirHostsSay(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 1, Hosts: 2, Standard: 2})
	w := watch(t, v, Options{}, quick)
	w.list()
	ids, hosts := v.IDs("Network"), v.IDs("HostSystem")
	group := func(name, vswitch string, vlan int32) types.ArrayOfHostPortGroup {
		return types.ArrayOfHostPortGroup{HostPortGroup: []types.HostPortGroup{{Spec: types.HostPortGroupSpec{Name: name, VswitchName: vswitch, VlanId: vlan}}}}
	}
	shows := func(what string, i int, vswitch, vlan string, warnings int) {
		t.Helper()
		var got inventory.PortGroup
		until(t, what, func() bool {
			r, _, _ := w.Get(t.Context(), key(v, inventory.KindPortGroup, ids[i]))
			got, _ = r.Spec.(inventory.PortGroup)
			return got.Type == "standard" && got.Switch == vswitch && got.VLAN == vlan && len(got.Warnings) == warnings
		})
	}
	shows("as on all hosts", 0, "vSwitch0", "30", 0)
	shows("another", 1, "vSwitch0", "31", 0)
	v.Set(hosts[1], "config.network.portgroup", group("std0", "vSwitch1", 0))
	shows("of two minds", 0, "vSwitch0,vSwitch1", "0,30", 1)
	shows("on one host only", 1, "vSwitch0", "31", 0)
	v.Set(hosts[0], "config.network.portgroup", group("std0", "vSwitch1", 0))
	shows("without a VLAN", 0, "vSwitch1", "", 0)
	shows("on no host", 1, "", "", 0)
	for _, h := range hosts {
		v.Set(h, "config.network.portgroup", group("std0", "vSwitch1", 4095))
	}
	shows("tagged by the guest", 0, "vSwitch1", "1-4094", 0)
	v.Set(ids[0], "name", "a%2fb")
	for _, h := range hosts {
		v.Set(h, "config.network.portgroup", group("a/b", "vSwitch2", 4))
	}
	shows("with a slash in its name", 0, "vSwitch2", "4", 0)
}

func TestWhatHasNoNotificationIsReadAgain(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 600})
	often := quick
	often.sweepEvery, often.fillsEvery = 20*time.Millisecond, 20*time.Millisecond
	w := watch(t, v, Options{}, often)
	w.list()
	vms := v.IDs("VirtualMachine")
	last := vms[len(vms)-1]
	ds := v.IDs("Datastore")[0]
	v.SetSilently(last, "summary.storage", types.VirtualMachineStorageSummary{Committed: 77, Timestamp: testvcenter.Started})
	summary := v.Get(ds, "summary").(types.DatastoreSummary)
	summary.FreeSpace, summary.Accessible = 5, false
	v.SetSilently(ds, "summary", summary)
	until(t, "the VM's storage", func() bool { vm, _ := w.vm(v, last); return vm.VMware.StorageBytes == 77 })
	until(t, "the datastore's free space", func() bool {
		r, _, _ := w.Get(t.Context(), key(v, inventory.KindDatastore, ds))
		d, _ := r.Spec.(inventory.Datastore)
		return d.FreeBytes == 5 && d.State == "inaccessible" && len(d.Warnings) == 1
	})
}

func TestHowFullDatastoresAreTakesOneCall(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 300, Datastores: 40})
	often := holding()
	often.fillsEvery = 100 * time.Millisecond
	w := watch(t, v, Options{}, often)
	w.list()
	free := func(id string) uint64 {
		r, _, _ := w.Get(t.Context(), key(v, inventory.KindDatastore, id))
		d, _ := r.Spec.(inventory.Datastore)
		return d.FreeBytes
	}
	for round, id := range v.IDs("Datastore")[:3] {
		summary := v.Get(id, "summary").(types.DatastoreSummary)
		summary.FreeSpace = int64(round + 1)
		v.SetSilently(id, "summary", summary)
		before, began := v.Counts().Calls, time.Now()
		until(t, "the datastore fills", func() bool { return free(id) == uint64(round+1) })
		until(t, "a hint at it", func() bool { return w.hinted(key(v, inventory.KindDatastore, id)) == 1 })
		if n, most := v.Counts().Calls-before, int(time.Since(began)/often.fillsEvery)+2; n > most {
			t.Errorf("%d calls, want %d at most", n, most)
		}
	}
	v.Inject(testvcenter.Unavailable)
	until(t, "that it fails is doubted", func() bool { return !w.State().OK })
	v.Clear()
	w.list()
	if n := v.Counts().Logins; n != 1 {
		t.Errorf("%d logins", n)
	}
}

func TestAnUnknownPropertyIsLeftOut(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 2})
	v.Unknown("config.maxMtu")
	v.Unknown("guest.guestFullName")
	w := watch(t, v, Options{}, quick)
	id := v.IDs("VirtualMachine")[0]
	w.list()
	if vm, ok := w.vm(v, id); !ok || vm.Guest.OS == "" {
		t.Errorf("VM %v, %+v: what is configured stands in for what the guest says", ok, vm.Guest)
	}
}

func TestPrerequisites(t *testing.T) {
	v := start(t, testvcenter.Options{VMs: 4, Hosts: 4})
	cluster, host, store := v.IDs("ClusterComputeResource")[0], v.IDs("HostSystem")[0], v.IDs("Datastore")
	v.Set(cluster, "configuration.drsConfig.defaultVmBehavior", types.DrsBehaviorManual)
	v.Set(host, "summary.config.product", types.AboutInfo{Version: "6.7.0"})
	for _, id := range store {
		v.Set(id, "host", types.ArrayOfDatastoreHostMount{DatastoreHostMount: []types.DatastoreHostMount{{Key: types.ManagedObjectReference{Type: "HostSystem", Value: host}}}})
	}
	vms := v.IDs("VirtualMachine")
	v.Set(vms[0], "config.instanceUuid", v.Get(vms[1], "config.instanceUuid"))
	w := watch(t, v, Options{}, quick)
	all := w.list()
	for k, want := range map[plugin.Key][]string{
		key(v, inventory.KindCluster, cluster): {"DRS is manual", "no datastore is shared"},
		key(v, inventory.KindESXi, host):       {"ESXi 6.7.0 is not supported"},
		key(v, inventory.KindVM, vms[0]):       {"another VM has the same instance UUID"},
		key(v, inventory.KindVM, vms[1]):       {"another VM has the same instance UUID"},
		key(v, inventory.KindVM, vms[2]):       nil,
	} {
		got := warnings(t, all[k])
		if len(got) != len(want) {
			t.Errorf("%v: warnings %q, want %q", k, got, want)
			continue
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%v: warning %q, want %q", k, got[i], want[i])
			}
		}
	}
	v.Set(cluster, "configuration.drsConfig.defaultVmBehavior", types.DrsBehaviorFullyAutomated)
	v.Set(vms[0], "config.instanceUuid", "unique")
	for _, k := range []plugin.Key{key(v, inventory.KindVM, vms[0]), key(v, inventory.KindVM, vms[1])} {
		until(t, "a warning that is over", func() bool { return len(warnings(t, w.list()[k])) == 0 })
	}
}

func warnings(t *testing.T, r plugin.Resource) []string {
	t.Helper()
	b, err := json.Marshal(r.Spec)
	if err != nil {
		t.Fatal(err)
	}
	var spec struct{ Warnings []string }
	if err := json.Unmarshal(b, &spec); err != nil {
		t.Fatal(err)
	}
	return spec.Warnings
}
