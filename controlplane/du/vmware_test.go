package du

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"path/filepath"
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

type everything struct{}

func (everything) Contains(types.ManagedObjectReference) bool { return true }

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
		Scope: everything{}, Control: func() error { return nil }, Journal: filepath.Join(state, "actions.journal"),
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
		{"vm stop --force " + vms[0].Name, 0, "already off", types.VirtualMachinePowerStatePoweredOff},
		{"vm start " + known[0].ID, 0, "started", types.VirtualMachinePowerStatePoweredOn},
		{"vm snapshot create " + vms[0].Name + " before --memory", 0, "snapshot before made", types.VirtualMachinePowerStatePoweredOn},
		{"vm suspend " + vms[0].Name + " --host kvm", 0, "suspended", types.VirtualMachinePowerStateSuspended},
		{"vm snapshot remove " + vms[0].Name + " after", 1, `it has "before"`, types.VirtualMachinePowerStateSuspended},
		{"action list --host kvm", 0, "snapshot-create", types.VirtualMachinePowerStateSuspended},
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
