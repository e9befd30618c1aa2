package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	vsession "github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vcenter"
	"github.com/openpf9/openpf9/internal/eventually"
)

// operator logs in at vCenter itself.
func operator(t *testing.T, s *sites) *govmomi.Client {
	t.Helper()
	vc, err := vim25.NewClient(t.Context(), soap.NewClient(s.byName["lab"].acts.URL(), true))
	if err != nil {
		t.Fatal(err)
	}
	c := &govmomi.Client{Client: vc, SessionManager: vsession.NewManager(vc)}
	if err := c.Login(t.Context(), url.UserPassword("pf9", password)); err != nil {
		t.Fatal(err)
	}
	return c
}

func machine(t *testing.T, c *govmomi.Client, name string) *object.VirtualMachine {
	t.Helper()
	vm, err := find.NewFinder(c.Client).VirtualMachine(t.Context(), "/DC0/vm/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// done waits for a task.
func done(ctx context.Context, task *object.Task, err error) error {
	if err != nil {
		return err
	}
	return task.Wait(ctx)
}

// Who has the gateway's disk or vCenter has everything.
func TestTheGatewaysAndVCentersOwnVMsAreNeverDelegated(t *testing.T) {
	address := free(t)
	s, conf := lab(t, func(c *VCenter) { c.Broker = address }) // everything is delegated
	st := s.byName["lab"]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var c *govmomi.Client
	eventually.Nil(t, func() (err error) {
		c, err = local(ctx, address, filepath.Join(conf.StateDir, "brokers/lab"))
		return err
	})
	gw, vc, other := machine(t, c, "DC0_C0_RP0_VM0"), machine(t, c, "DC0_C1_RP0_VM0"), operator(t, s)
	scoped := func(r types.ManagedObjectReference) bool {
		r.ServerGUID = st.source.State().Instance
		return s.permit(r) == nil
	}
	if !scoped(gw.Reference()) || !scoped(vc.Reference()) {
		t.Fatal("the VMs are not delegated")
	}

	s.kept.mu.Lock()
	s.kept.own.UUIDs = spellings(swapped(gw.UUID(ctx)))
	s.kept.mu.Unlock()
	if err := set(ctx, machine(t, other, "DC0_C1_RP0_VM0"), "SET.guest.ipAddress", "127.0.0.1"); err != nil { // where the lab's vCenter is
		t.Fatal(err)
	}
	want := []string{"/DC0/vm/DC0_C0_RP0_VM0 (this gateway)", "/DC0/vm/DC0_C1_RP0_VM0 (vCenter lab)"}
	eventually.Nil(t, func() error {
		if got := s.status()[0].Kept; !slices.Equal(got, want) {
			return fmt.Errorf("%v are kept", got)
		}
		return nil
	})
	if now := st.control(); now.VMs != 0 || !slices.Equal(now.Kept, want) {
		t.Errorf("control is of %d VMs, and not of %v", now.VMs, now.Kept)
	}
	for _, vm := range []*object.VirtualMachine{gw, vc} {
		ref := vm.Reference()
		ref.ServerGUID = st.source.State().Instance
		if err := s.permit(ref); err == nil || !strings.Contains(err.Error(), "never delegated") {
			t.Errorf("actions on %s: %v", vm.Name(), err)
		}
		if _, err := vm.PowerOff(ctx); !soap.IsSoapFault(err) || !strings.Contains(err.Error(), "outside of what is delegated") {
			t.Errorf("power off %s: %v", vm.Name(), err)
		}
		if _, err := vm.Export(ctx); !soap.IsSoapFault(err) {
			t.Errorf("export %s: %v", vm.Name(), err)
		}
		dc, err := find.NewFinder(c.Client).DefaultDatacenter(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, err = object.NewVirtualDiskManager(c.Client).CopyVirtualDisk(ctx, "[LocalDS_0] "+filepath.Base(vm.InventoryPath)+"/disk1.vmdk", dc, "[LocalDS_0] loot.vmdk", dc, nil, false)
		if err == nil || !strings.Contains(err.Error(), "a machine that is not delegated has files in") {
			t.Errorf("copy the disk of %s: %v", vm.Name(), err)
		}
	}
}

// swapped is a UUID as a machine with the other order of bytes says it.
func swapped(uuid string) string { return spellings(uuid)[1] }

func set(ctx context.Context, vm *object.VirtualMachine, key, value string) error {
	task, err := vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: key, Value: value}}})
	return done(ctx, task, err)
}

// A template has no pool; its folder belongs to all clusters of the datacenter.
func TestTemplatesOfOtherClustersAreNotDelegated(t *testing.T) {
	address := free(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var vm *object.VirtualMachine
	s, conf := lab(t, func(c *VCenter) {
		c.Broker, c.Clusters = address, []string{"DC0_C0"}
		before, err := session.New(session.Options{
			URL: c.URL.String(), Pin: c.Thumbprint.String(),
			Account: func() (session.Account, error) { return session.Account{User: "pf9", Password: password}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = before.Close() }()
		client, err := before.Client(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// Before anybody looks: the simulator reads what it marks without a lock.
		vm = machine(t, &govmomi.Client{Client: client}, "DC0_C1_RP0_VM0")
		task, err := vm.PowerOff(ctx)
		if err := errors.Join(done(ctx, task, err), vm.MarkAsTemplate(ctx)); err != nil {
			t.Fatal(err)
		}
	})
	var c *govmomi.Client
	eventually.Nil(t, func() (err error) {
		c, err = local(ctx, address, filepath.Join(conf.StateDir, "brokers/lab"))
		return err
	})
	if o, ok := s.byName["lab"].source.Lookup(vm.Reference().Value); !ok || o.Listed {
		t.Fatalf("the inventory has %+v", o)
	}
	pool, err := find.NewFinder(c.Client).ResourcePool(ctx, "/DC0/host/DC0_C0/Resources")
	if err != nil {
		t.Fatal(err)
	}
	outside := machine(t, c, "DC0_C1_RP0_VM0")
	if err := outside.MarkAsVirtualMachine(ctx, *pool, nil); !soap.IsSoapFault(err) || !strings.Contains(err.Error(), "outside of what is delegated") {
		t.Errorf("into the delegated pool: %v", err)
	}
	if _, err := outside.Destroy(ctx); !soap.IsSoapFault(err) {
		t.Errorf("destroy: %v", err)
	}
}

func TestOwnMarks(t *testing.T) {
	root, credentials := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		filepath.Join(root, "sys/class/dmi/id/product_uuid"): "4C4C4544-0042-3510-8052-C4C04F423534\n",
		filepath.Join(root, "sys/class/net/eth0/address"):    "00:50:56:aa:bb:cc\n",
		filepath.Join(root, "sys/class/net/eth0/device/x"):   "",
		filepath.Join(root, "sys/class/net/lo/address"):      "00:00:00:00:00:00\n",
		filepath.Join(credentials, machineUUID):              "564d7a3c-1111-2222-3333-444455556666\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	want := vcenter.Marks{Of: "this gateway", MACs: []string{"00:50:56:aa:bb:cc"}, UUIDs: []string{
		"564d7a3c-1111-2222-3333-444455556666", "3c7a4d56-1111-2222-3333-444455556666",
		"4c4c4544-0042-3510-8052-c4c04f423534", "44454c4c-4200-1035-8052-c4c04f423534",
	}}
	if diff := cmp.Diff(want, ownMarks(root, credentials)); diff != "" {
		t.Error(diff)
	}
	for _, none := range []string{"", "unknown", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "564d7a3c-1111"} {
		if got := spellings(none); got != nil {
			t.Errorf("%q is spelled %q", none, got)
		}
	}
	if got := ownMarks(t.TempDir(), ""); got.MACs != nil || len(got.UUIDs) != 0 {
		t.Errorf("a machine that says nothing has the marks %+v", got)
	}
}
