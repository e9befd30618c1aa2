package du

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/actions"
	"github.com/openpf9/openpf9/internal/ctl"
	"github.com/openpf9/openpf9/internal/tunnel"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// vcenter simulates a vCenter and returns a client of it and its VMs.
func vcenter(t *testing.T) (*vim25.Client, []mo.VirtualMachine) {
	t.Helper()
	model := simulator.VPX()
	if err := model.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Remove)
	model.Service.TLS = new(tls.Config)
	s := model.Service.NewServer()
	t.Cleanup(s.Close)
	c, err := govmomi.NewClient(t.Context(), s.URL, true) // the simulator's own certificate
	if err != nil {
		t.Fatal(err)
	}
	var refs []types.ManagedObjectReference
	for _, e := range model.Map().All("VirtualMachine") {
		refs = append(refs, e.Reference())
	}
	var vms []mo.VirtualMachine
	if err := property.DefaultCollector(c.Client).Retrieve(t.Context(), refs, []string{"name", "runtime.powerState"}, &vms); err != nil {
		t.Fatal(err)
	}
	return c.Client, vms
}

// discover reports how the first VM is until ctx ends, each time late.
func discover(ctx context.Context, g *agent, c *vim25.Client, known []wire.Resource, ref types.ManagedObjectReference) {
	known = slices.Clone(known)
	seq := uint64(1)
	late := time.NewTicker(300 * time.Millisecond)
	defer late.Stop()
	for {
		select {
		case <-late.C:
		case <-ctx.Done():
			return
		}
		var vm mo.VirtualMachine
		if err := property.DefaultCollector(c).RetrieveOne(ctx, ref, []string{"runtime.powerState", "snapshot"}, &vm); err != nil {
			if ctx.Err() == nil {
				g.u.t.Error(err)
			}
			return
		}
		is := inventory.VM{State: map[types.VirtualMachinePowerState]string{
			types.VirtualMachinePowerStatePoweredOn: inventory.VMRunning, types.VirtualMachinePowerStatePoweredOff: inventory.VMShutOff,
			types.VirtualMachinePowerStateSuspended: inventory.VMSuspended,
		}[vm.Runtime.PowerState]}
		if vm.Snapshot != nil {
			for _, s := range vm.Snapshot.RootSnapshotList {
				is.Snapshots = append(is.Snapshots, inventory.Snapshot{ID: s.Snapshot.Value, Name: s.Name})
			}
		}
		spec, err := json.Marshal(is)
		if err != nil {
			g.u.t.Error(err)
			return
		}
		if string(spec) == string(known[0].Spec) {
			continue
		}
		seq++
		known[0].Spec, known[0].Generation = spec, seq
		var ack wire.Ack
		if status := g.post("http://resmgr/v1/report", wire.Report{Epoch: 1, Seq: seq, Upserts: known[:1], Digests: digests(known...)}, &ack); status != http.StatusOK {
			g.u.t.Errorf("report: status %d", status)
			return
		}
	}
}

// From pf9ctl through the deployment unit and a tunnel to a vCenter, and back.
func TestVMsOfAVCenterAreControlled(t *testing.T) {
	state := t.TempDir()
	u := start(t, state)
	c, vms := vcenter(t)
	x, err := actions.New(actions.Options{
		Resolve: func(_ context.Context, k plugin.Key) (*vim25.Client, types.ManagedObjectReference, error) {
			_, ref, err := actions.ParseTarget(k)
			return c, ref, err
		},
		Permit:  func(types.ManagedObjectReference) error { return nil },
		Control: func() error { return nil }, Journal: filepath.Join(state, "actions.journal"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = x.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	services := tunnel.NewServices()
	l, err := services.Listen(wire.ServiceActions)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: x.Handler()}
	go func() { _ = web.Serve(l) }()
	defer func() { _ = web.Close() }()
	g := u.enroll(hostA)
	g.connectWith(services)

	// The inventory names the VMs as the gateway's discovery does.
	var known []wire.Resource
	for _, vm := range vms {
		spec, err := json.Marshal(inventory.VM{State: inventory.VMRunning})
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, wire.Resource{Key: plugin.Key{Kind: inventory.KindVM, ID: c.ServiceContent.About.InstanceUuid + "/" + vm.Self.Value}, Name: vm.Name, Spec: spec, Source: "vcenter", Generation: 1})
	}
	g.hello(known...)
	g.report(wire.Report{Seq: 1, Full: inventory.KindVM, Begin: true, End: true, Upserts: known, Digests: digests(known...)})

	wg.Go(func() { discover(ctx, g, c, known, vms[0].Self) })

	power := func() types.VirtualMachinePowerState {
		var vm mo.VirtualMachine
		if err := property.DefaultCollector(c).RetrieveOne(t.Context(), vms[0].Self, []string{"runtime.powerState"}, &vm); err != nil {
			t.Fatal(err)
		}
		return vm.Runtime.PowerState
	}
	for _, step := range []struct {
		line   string
		status int
		text   string // of both outputs
		power  types.VirtualMachinePowerState
	}{
		{"vm stop " + vms[0].Name, 1, "VMware Tools do not run in the guest, so it cannot be asked: power it off instead", types.VirtualMachinePowerStatePoweredOn},
		{"vm stop --force " + vms[0].Name, 0, "powered off", types.VirtualMachinePowerStatePoweredOff},
		{"vm list --name " + vms[0].Name, 0, inventory.VMShutOff, types.VirtualMachinePowerStatePoweredOff},
		{"vm stop --force " + vms[0].Name, 0, "already off", types.VirtualMachinePowerStatePoweredOff},
		{"vm start " + known[0].ID, 0, "started", types.VirtualMachinePowerStatePoweredOn},
		{"vm snapshot create " + vms[0].Name + " before --memory", 0, "snapshot before made", types.VirtualMachinePowerStatePoweredOn},
		{"vm snapshot list " + vms[0].Name, 0, "before", types.VirtualMachinePowerStatePoweredOn},
		{"vm suspend " + vms[0].Name + " --host kvm", 0, "suspended", types.VirtualMachinePowerStateSuspended},
		{"vm snapshot remove " + vms[0].Name + " after", 1, `it has "before"`, types.VirtualMachinePowerStateSuspended},
		{"action list --host kvm", 0, "snapshot create", types.VirtualMachinePowerStateSuspended},
	} {
		began := time.Now()
		var out bytes.Buffer
		status := ctl.Main(t.Context(), "1", append([]string{
			"--config", filepath.Join(state, "none"), "--url", u.base, "--token-file", filepath.Join(state, AdminTokenFile), "--ca-file", filepath.Join(state, AuthorityFile),
		}, strings.Fields(step.line)...), &out, &out)
		if status != step.status || !strings.Contains(out.String(), step.text) {
			t.Errorf("%s: status %d, want %d with %q\n%s", step.line, status, step.status, step.text, &out)
		}
		if got := power(); got != step.power {
			t.Errorf("%s: the VM is %s, want %s", step.line, got, step.power)
		}
		t.Logf("%s took %v", step.line, time.Since(began))
	}
}
