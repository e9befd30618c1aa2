package sandbox_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/eventually"
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
	b := newBox(t)
	cp, err := b.ControlPlane(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(vault.Options{Dir: filepath.Join(b.Dir, "gateway/state/vault")})
	if err == nil {
		err = v.Set("lab", vault.Secret{User: "pf9", Password: "s3cret-of-the-site"})
	}
	if err != nil {
		t.Fatal(err)
	}
	g, err := b.Gateway(ctx, cp, "gateway", fmt.Sprintf("[vcenters.lab]\nurl = %q\nthumbprint = %q\ncontrol = true\n", vc.URL, vc.Thumbprint))
	if err != nil {
		t.Fatal(err)
	}
	var host api.Host
	eventually.Nil(t, func() error {
		hosts, err := cp.Client.Hosts(ctx)
		if err != nil || len(hosts) != 1 || hosts[0].Counts[inventory.KindVM] != 3 || hosts[0].Counts[inventory.KindCluster] != 1 {
			return fmt.Errorf("hosts %+v, %w\n%s", hosts, err, g.Tail())
		}
		host = hosts[0]
		return nil
	})

	ctl := func(args ...string) (string, error) {
		args = append(args, "--url", cp.URL, "--token-file", filepath.Join(cp.State, "admin.token"), "--ca-file", cp.CAFile)
		out, err := exec.CommandContext(ctx, b.Programs.Ctl, args...).CombinedOutput()
		return string(out), err
	}
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
		eventually.Nil(t, func() error {
			out, err := ctl("vm", "list", "-o", "json")
			if err != nil || strings.Count(out, inventory.VMShutOff) == 0 {
				return fmt.Errorf("vm list: %w\n%s", err, out)
			}
			return nil
		})
	})

	t.Run("the appliance shows its vCenter", func(t *testing.T) {
		var vcenters []struct{ Name, State string }
		if err := g.JSON(ctx, "/v1/vcenters", &vcenters); err != nil || len(vcenters) != 1 || vcenters[0].State != "ok" {
			t.Errorf("vCenters of %s: %+v, %v", host.ID, vcenters, err)
		}
	})
}
