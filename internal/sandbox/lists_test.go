package sandbox_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/vcsim"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// TestListsOfTwoVCenters asks for what is in one vCenter and in one cluster, of
// a gateway that has two which are alike.
func TestListsOfTwoVCenters(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all programs")
	}
	ctx := t.Context()
	const password = "s3cret-of-the-site"
	e := newEstate(t)
	for i, name := range []string{"east", "west"} {
		vc, err := vcsim.Start(vcsim.Options{Clusters: 1 + i, Hosts: 2, VMs: 2, User: "pf9", Password: password})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(vc.Close)
		e.vcenter(name, vc.URL, vc.Thumbprint, "pf9", password, "control = true\n")
	}
	e.start()
	eventually.Nil(t, func() error {
		hosts, err := e.cp.Client.Hosts(ctx)
		if err != nil || len(hosts) != 1 || hosts[0].Counts[inventory.KindVM] != 6 || hosts[0].Counts[inventory.KindCluster] != 3 {
			return fmt.Errorf("hosts %+v, %w\n%s", hosts, err, e.gateway.Tail())
		}
		return nil
	})
	for _, tc := range []struct {
		line  string
		lines int // -1: it is refused
		want  string
	}{
		{"get vm --no-headers", 6, " west "},
		{"get vm --no-headers --vcenter west", 4, " west  DC0_C1 "},
		{"get vm --no-headers --cluster DC0_C1", 2, " west "},
		{"vm list --no-headers --vcenter east --cluster DC0_C0 --state running", 2, " east "},
		{"vm list --no-headers --vcenter east --state shut_off", 0, ""},
		{"get esxi --no-headers --cluster DC0_C0", 4, " connected "},
		{"get vm --vcenter north", -1, "known are east, west"},
		{"get portgroup --no-headers --vcenter east --name *DVUplinks*", 1, " true "},
		{"network list --no-headers --vcenter east", 2, "DC0_DVPG0"},
		{"vcenter list --no-headers", 2, " west "},
		{"cluster list --no-headers --vcenter west", 2, " DC0_C1 "},
		{"gateway list --no-headers", 1, " gateway "},
		{"vm list --state on", -1, "a VM is running, "},
		{"vm show DC0_C0_RP0_VM0", -1, "give the id or --vcenter: "},
		{"vm stop --force DC0_C0_RP0_VM0", -1, " in cluster DC0_C0 in vCenter west on "},
		{"vm stop --force DC0_C0_RP0_VM0 --vcenter west", 1, "DC0_C0_RP0_VM0: powered off"},
		{"vm list --no-headers --state shut_off", 1, " west "},
		{"action list --no-headers --vm DC0_C0_RP0_VM0", 1, "  stop --force  succeeded  "},
		{"get cluster --no-headers --vcenter east", 1, "or new VMs find no host"},
	} {
		out, err := e.ctl(ctx, strings.Fields(tc.line)...)
		if (err != nil) != (tc.lines < 0) || tc.lines >= 0 && strings.Count(out, "\n") != tc.lines || !strings.Contains(out, tc.want) {
			t.Errorf("pf9ctl %s: %v; want %d lines and %q in\n%s", tc.line, err, tc.lines, tc.want, out)
		}
	}
}
