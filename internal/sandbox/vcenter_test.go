package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/internal/vcsim"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// TestVCenter runs a gateway beside a simulated vCenter: what is there reaches
// the deployment unit, and what is asked of the deployment unit is done there.
func TestVCenter(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all programs")
	}
	ctx := t.Context()
	vc, err := vcsim.Start(vcsim.Options{Clusters: 1, Hosts: 2, VMs: 3, User: "pf9", Password: "s3cret-of-the-site"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vc.Close)
	e := newEstate(t)
	e.vcenter("lab", vc.URL, vc.Thumbprint, "pf9", "s3cret-of-the-site", "control = true\ndatastores_every = '1s'\n")
	e.start()
	cp, g := e.cp, e.gateway
	var host api.Host
	eventually.Nil(t, func() error {
		hosts, err := cp.Client.Hosts(ctx)
		if err != nil || len(hosts) != 1 || hosts[0].Counts[inventory.KindVM] != 3 || hosts[0].Counts[inventory.KindCluster] != 1 {
			return fmt.Errorf("hosts %+v, %w\n%s", hosts, err, g.Tail())
		}
		host = hosts[0]
		return nil
	})

	ctl := func(args ...string) (string, error) { return e.ctl(ctx, args...) }
	t.Run("pf9ctl stops a VM, and shows it stopped", func(t *testing.T) {
		out, err := ctl("vm", "list", "-o", "json")
		if err != nil {
			t.Fatalf("vm list: %v\n%s", err, out)
		}
		var vms []api.Resource
		if err := json.Unmarshal([]byte(out), &vms); err != nil || len(vms) != 3 || vms[0].State != inventory.VMRunning {
			t.Fatalf("vm list: %v\n%s", err, out)
		}
		if out, err := ctl("vm", "stop", "--force", vms[0].Name); err != nil {
			t.Fatalf("vm stop: %v\n%s\n%s", err, out, g.Tail())
		}
		if out, err := ctl("vm", "list", "-o", "json"); err != nil || !strings.Contains(out, inventory.VMShutOff) { // at once
			t.Errorf("vm list: %v\n%s", err, out)
		}
	})

	t.Run("pf9ctl makes a snapshot, and lists it", func(t *testing.T) {
		for _, step := range []struct {
			command, name string
			listed        bool
		}{{"create", "before", true}, {"remove", "before", false}} {
			if out, err := ctl("vm", "snapshot", step.command, "DC0_C0_RP0_VM1", step.name); err != nil {
				t.Fatalf("snapshot %s: %v\n%s\n%s", step.command, err, out, g.Tail())
			}
			if out, err := ctl("vm", "snapshot", "list", "DC0_C0_RP0_VM1"); err != nil || strings.Contains(out, step.name) != step.listed {
				t.Errorf("snapshot list after %s: %v\n%s", step.command, err, out)
			}
		}
		if out, err := ctl("action", "list", "--vm", "DC0_C0_RP0_VM1"); err != nil || strings.Count(out, "succeeded") != 2 {
			t.Errorf("action list: %v\n%s", err, out)
		}
	})

	t.Run("what others do in vCenter reaches the watch", func(t *testing.T) {
		seen := watching(t, cp)
		op, err := vc.Operator(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = op.Logout(ctx) }()
		f := find.NewFinder(op.Client)
		vm := func(name string) *object.VirtualMachine {
			t.Helper()
			v, err := f.VirtualMachine(ctx, "/DC0/vm/"+name)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		for _, c := range []struct{ name, want string }{
			{"a VM gets another name", "MODIFIED compute.vm renamed"},
			{"a VM moves to the other host", "MODIFIED compute.vm DC0_C0_RP0_VM2"},
			{"a VM is new", "ADDED compute.vm clone"},
			{"a VM is removed", "DELETED compute.vm clone"},
			{"a port group is new", "ADDED vsphere.network dmz"},
			{"a datastore fills", "MODIFIED vsphere.datastore LocalDS_0"},
		} {
			if err := change(ctx, f, op, vm, c.name); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			seen.wait(t, c.want)
		}
	})

	t.Run("the appliance shows its vCenter", func(t *testing.T) {
		var vcenters []struct{ Name, State string }
		if err := g.JSON(ctx, "/v1/vcenters", &vcenters); err != nil || len(vcenters) != 1 || vcenters[0].State != "ok" {
			t.Errorf("vCenters of %s: %+v, %v", host.ID, vcenters, err)
		}
	})

	t.Run("pf9ctl says in words that the vCenter is gone", func(t *testing.T) {
		vc.Close()
		want := "vCenter " + strings.TrimPrefix(vc.URL, "https://") + " cannot be reached (connection refused), nothing was done"
		if out, err := ctl("vm", "stop", "--force", "DC0_C0_RP0_VM2"); err == nil || !strings.Contains(out, "stop --force failed: "+want) {
			t.Errorf("vm stop: %v\n%s", err, out)
		}
		eventually.Nil(t, func() error { // it is noticed
			for _, line := range []string{"vm list", "vcenter list", "host list"} {
				if out, err := ctl(strings.Fields(line)...); err != nil || strings.Count(out, "connection refused") != 1 {
					return fmt.Errorf("%s: %w; want the cause, once\n%s", line, err, out)
				}
			}
			return nil
		})
		if err := g.Restart(ctx); err != nil { // which then knows nothing of the vCenter
			t.Fatal(err)
		}
		eventually.Nil(t, func() error {
			if out, err := ctl("vm", "stop", "--force", "DC0_C0_RP0_VM2"); err == nil || !strings.Contains(out, "stop --force failed: "+want) {
				return fmt.Errorf("vm stop after a restart: %w\n%s", err, out)
			}
			return nil
		})
	})
}

// change has somebody do something in vCenter.
func change(ctx context.Context, f *find.Finder, op *govmomi.Client, vm func(string) *object.VirtualMachine, what string) error {
	wait := func(task *object.Task, err error) error {
		if err != nil {
			return err
		}
		return task.Wait(ctx)
	}
	switch what {
	case "a VM gets another name":
		return wait(vm("DC0_C0_RP0_VM1").Rename(ctx, "renamed"))
	case "a VM moves to the other host":
		v := vm("DC0_C0_RP0_VM2")
		at, err := v.HostSystem(ctx)
		if err != nil {
			return err
		}
		hosts, err := f.HostSystemList(ctx, "/DC0/host/DC0_C0/*")
		if err != nil {
			return err
		}
		to := hosts[0].Reference()
		if to == at.Reference() {
			to = hosts[1].Reference()
		}
		return wait(v.Relocate(ctx, types.VirtualMachineRelocateSpec{Host: &to}, types.VirtualMachineMovePriorityDefaultPriority))
	case "a VM is new":
		folder, err := f.Folder(ctx, "/DC0/vm")
		if err != nil {
			return err
		}
		return wait(vm("DC0_C0_RP0_VM2").Clone(ctx, folder, "clone", types.VirtualMachineCloneSpec{}))
	case "a VM is removed":
		return wait(vm("clone").Destroy(ctx))
	case "a datastore fills": // of which vCenter tells nobody
		v := vm("DC0_C0_RP0_VM2")
		devices, err := v.Device(ctx)
		if err != nil {
			return err
		}
		controller, err := devices.FindDiskController("")
		if err != nil {
			return err
		}
		store, err := f.Datastore(ctx, "/DC0/datastore/LocalDS_0")
		if err != nil {
			return err
		}
		disk := devices.CreateDisk(controller, store.Reference(), "")
		disk.CapacityInKB = 20 << 20
		return v.AddDevice(ctx, disk)
	case "a port group is new":
		dvs, err := f.Network(ctx, "/DC0/network/DVS0")
		if err != nil {
			return err
		}
		return wait(dvs.(*object.DistributedVirtualSwitch).AddPortgroup(ctx, []types.DVPortgroupConfigSpec{{Name: "dmz", Type: "earlyBinding", NumPorts: 1}}))
	}
	return errors.New("nobody knows how to do this")
}

// sightings are what a watch has shown since it was synced.
type sightings struct {
	mu  sync.Mutex // guards all
	all []string
}

// watching watches a deployment unit until the test ends.
func watching(t *testing.T, cp *sandbox.ControlPlane) *sightings {
	t.Helper()
	s := &sightings{}
	ctx, cancel := context.WithCancel(t.Context())
	synced := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = cp.Client.Watch(ctx, nil, func(e client.Event) {
			var r api.Resource
			switch e.Type {
			case api.Synced:
				once.Do(func() { close(synced) })
			case api.Added, api.Modified, api.Deleted:
				if json.Unmarshal(e.Data, &r) == nil {
					s.mu.Lock()
					s.all = append(s.all, strings.Join([]string{strings.ToUpper(e.Type), r.Kind, r.Name}, " "))
					s.mu.Unlock()
				}
			}
		}, func(error) {})
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-synced
	return s
}

// wait waits until something was shown, and forgets what came before.
func (s *sightings) wait(t *testing.T, want string) {
	t.Helper()
	eventually.Nil(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if i := slices.Index(s.all, want); i >= 0 {
			s.all = s.all[i+1:]
			return nil
		}
		return fmt.Errorf("no %q in %q", want, s.all)
	})
}
