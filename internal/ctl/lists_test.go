package ctl

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// resource is one as a deployment unit shows it.
func resource(host, source, kind, id, name, state string, spec any) api.Resource {
	b, err := json.Marshal(spec)
	if err != nil {
		panic(err) // our own structs
	}
	return api.Resource{Hostname: host, Source: source, Key: plugin.Key{Kind: kind, ID: id}, Name: name, State: state, Spec: b}
}

// estate is a KVM host and two vCenters behind two gateways.
func estate() []api.Resource {
	east, west := inventory.VCenterModule("east"), inventory.VCenterModule("west")
	warnings := []string{"DRS is off: turn it on and set it to fully automated, or new VMs find no host", "no datastore is shared by all hosts: mount one on each, or VMs cannot move"}
	all := []api.Resource{
		resource("kvm1", "libvirt", inventory.KindVM, "c91d", "web", "running", inventory.VM{VCPUs: 1, MemoryBytes: 1 << 30, NICs: []inventory.NIC{{Source: "br0"}}}),
		resource("gw1", east, inventory.KindVM, "6a39/vm-45", "db-2", "running", inventory.VM{
			VCPUs: 4, MemoryBytes: 8 << 30, Cluster: "prod", Host: "esx1", Datastores: []string{"ds1"}, Disks: []inventory.Disk{{CapacityBytes: 10 << 30}, {CapacityBytes: 5 << 30}},
			Guest: &inventory.Guest{OS: "Debian 12", Addresses: []string{"192.0.2.9"}}, Warnings: []string{"consolidate the disks"}, Snapshots: make([]inventory.Snapshot, 2),
		}),
		resource("gw1", east, inventory.KindVM, "6a39/vm-39", "db-1", "shut_off", inventory.VM{VCPUs: 4, MemoryBytes: 8 << 30, Cluster: "prod", Host: "esx1"}),
		resource("gw1", east, inventory.KindVCenter, "6a39", "vc.east.example", "ok", inventory.VCenter{Version: "8.0.3"}),
		resource("gw2", west, inventory.KindVCenter, "7b40", "vc.west.example", "ok", inventory.VCenter{Version: "8.0.3"}),
		resource("gw1", east, inventory.KindCluster, "6a39/domain-c15", "prod", "", inventory.Cluster{Hosts: 2, HA: true, Warnings: warnings}),
		resource("gw1", east, inventory.KindPortGroup, "6a39/dvportgroup-10", "DVUplinks-8", "", inventory.PortGroup{Type: "distributed", Switch: "dvs0", VLAN: "0-4094", Uplink: true}),
		resource("gw1", east, inventory.KindPortGroup, "6a39/dvportgroup-12", "app", "", inventory.PortGroup{Type: "distributed", Switch: "dvs0", VLAN: "12"}),
		resource("kvm1", "network", inventory.KindLink, "name/eth0", "eth0", "up", inventory.Link{Type: "device", Master: "br0", MTU: 1500}),
		resource("kvm1", "network", inventory.KindLink, "name/eth0.7", "eth0.7", "up", inventory.Link{Type: "vlan", MTU: 1500, VLAN: &inventory.VLAN{ID: 7}, Addresses: []inventory.Address{{CIDR: "192.0.2.2/24"}, {CIDR: "fd00::2/64"}}}),
		resource("kvm1", "libvirt-networks", inventory.KindNetwork, "5f", "default", "", inventory.Network{Bridge: "virbr0"}),
	}
	return all
}

// runOn runs a command line against a deployment unit with the estate, which
// applies no filter but that of the kind, and returns what was printed and the
// queries that were sent.
func runOn(t *testing.T, all []api.Resource, line string) (status int, out, errs string, asked []string) {
	t.Helper()
	var mu sync.Mutex
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, strings.TrimPrefix(r.URL.Path, "/api/v1/resources/")+" "+r.URL.Query().Encode())
		mu.Unlock()
		page := api.Resources{Items: []api.Resource{}}
		for _, x := range all {
			if r.URL.Path == "/api/v1/resources/"+x.Kind && !strings.Contains(r.URL.Query().Encode(), "cluster=") {
				page.Items = append(page.Items, x)
			}
		}
		_ = json.NewEncoder(w).Encode(page)
	}))
	defer s.Close()
	ca, token := credentials(t, s)
	var stdout, stderr bytes.Buffer
	args := append(strings.Fields(line), "--url", s.URL, "--ca-file", ca, "--token-file", token)
	if strings.HasPrefix(line, "__complete") { // the last word is completed
		args = append([]string{"__complete", "--url", s.URL, "--ca-file", ca, "--token-file", token}, strings.Fields(line)[1:]...)
		args = append(args, "")
	}
	status = Main(t.Context(), "", args, &stdout, &stderr)
	return status, stdout.String(), stderr.String(), asked
}

func TestTables(t *testing.T) {
	kvm := estate()[:1]
	for _, tc := range []struct {
		name, line string
		all        []api.Resource
		want       string
	}{
		{"VMs of KVM hosts only", "vm list", kvm, "" +
			"HOST  NAME  STATE    VCPUS  MEMORY\n" +
			"kvm1  web   running  1      1.0 GiB\n"},
		{"VMs of both, by host and name", "get vm", estate(), "" +
			"HOST  NAME  STATE     VCENTER  CLUSTER  VCPUS  MEMORY   DISKS     WARNINGS\n" +
			"gw1   db-1  shut_off  east     prod     4      8.0 GiB  -         -\n" +
			"gw1   db-2  running   east     prod     4      8.0 GiB  15.0 GiB  consolidate the disks\n" +
			"kvm1  web   running   -        -        1      1.0 GiB  -         -\n"},
		{"columns for scripts", "get vm --no-headers", kvm, "kvm1  web  running  -  -  1  1.0 GiB  -  -\n"},
		{"a VM in wide", "get vm -o wide --no-headers", estate()[1:2], "" +
			"gw1  db-2  running  east  prod  4  8.0 GiB  15.0 GiB  consolidate the disks  192.0.2.9  -  Debian 12  esx1  ds1  2  -  -  6a39/vm-45  vcenter-east  -  -\n"},
		{"the first warning and their count", "get cluster", estate(), "" +
			"HOST  NAME  VCENTER  HOSTS  CORES  MEMORY  HA    DRS    WARNINGS\n" +
			"gw1   prod  east     2      0      0 B     true  false  DRS is off: turn it on and set it to fully automated, or new VMs find no host (and 1 more)\n"},
		{"clusters by their own command", "cluster list --no-headers -o wide", estate(), "gw1  prod  -  east  2  "},
		{"vCenters by their own command", "vcenter list", estate(), "" +
			"HOST  NAME             STATE  VCENTER  VERSION\n" +
			"gw1   vc.east.example  ok     east     8.0.3\n" +
			"gw2   vc.west.example  ok     west     8.0.3\n"},
		{"no datastores by their own command", "datastore list", estate(), "HOST  NAME  STATE  VCENTER  "},
		{"all warnings", "get cluster -o wide", estate(), "find no host; no datastore is shared by all hosts: mount one on each, or VMs cannot move  "},
		{"port groups, uplinks marked", "get portgroup", estate(), "" +
			"HOST  NAME         VCENTER  TYPE         SWITCH  VLAN    UPLINK\n" +
			"gw1   DVUplinks-8  east     distributed  dvs0    0-4094  true\n" +
			"gw1   app          east     distributed  dvs0    12      -\n"},
		{"networks, without uplinks", "network list", estate(), "" +
			"HOST  NAME     KIND        STATE  VCENTER  SWITCH  VLAN  ADDRESSES\n" +
			"kvm1  eth0     device      up     -        br0     -     -\n" +
			"kvm1  eth0.7   vlan        up     -        -       7     192.0.2.2/24,fd00::2/64\n" +
			"kvm1  default  network     -      -        virbr0  -     -\n" +
			"gw1   app      port group  -      east     dvs0    12    -\n"},
		{"a table for each kind", "get network", estate(), "" +
			"net.link\n" +
			"HOST  NAME    STATE  TYPE    VLAN  ADDRESS       MASTER\n" +
			"kvm1  eth0    up     device  -     -             br0\n" +
			"kvm1  eth0.7  up     vlan    7     192.0.2.2/24  -\n" +
			"\n" +
			"net.network\n" +
			"HOST  NAME     ACTIVE  BRIDGE\n" +
			"kvm1  default  false   virbr0\n" +
			"\n" +
			"vsphere.network\n"},
		{"nothing of any kind", "get storage", estate(), ""},
		{"nothing of a kind", "get template", estate(), "HOST  NAME  STATE  VCENTER  CLUSTER"},
		{"nothing of a kind that no vCenter has", "get bridge", estate(), "HOST  NAME  STATE  DATAPATH\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, out, errs, _ := runOn(t, tc.all, tc.line)
			exact := strings.HasSuffix(tc.want, "\n") && !strings.HasSuffix(tc.want, "vsphere.network\n")
			if status != 0 || !strings.Contains(out, tc.want) || exact && out != tc.want {
				t.Errorf("%s: status %d\n%s\n%s\nwant\n%s", tc.line, status, errs, out, tc.want)
			}
		})
	}
	if _, out, _, _ := runOn(t, estate(), "network list -o json"); strings.Contains(out, "DVUplinks") || !strings.Contains(out, `"app"`) {
		t.Errorf("uplinks are no networks in JSON either: %s", out)
	}
	if _, out, errs, _ := runOn(t, estate(), "get storage"); out != "" || errs != "There are none.\n" {
		t.Errorf("nothing of several kinds: %q, %q", out, errs)
	}
}

// Why rows are stale is said once for all of one cause, below the table.
func TestWhyRowsAreStale(t *testing.T) {
	const cause = "module vcenter-east is degraded: vc.east.example refuses the account"
	all := estate()
	for i := range all {
		if all[i].Source == inventory.VCenterModule("east") {
			all[i].Stale, all[i].StaleSince, all[i].StaleReason = true, time.Now(), cause
		}
	}
	for _, tc := range []struct {
		line        string
		inRows, own int // times that the cause is said
	}{
		{"get vm", 0, 1},
		{"vm list", 0, 1},
		{"get vcenter", 0, 1},
		{"get storage", 0, 0},
		{"get vm --no-headers", 0, 0},
		{"get vm -o wide", 2, 0},
		{"get vm -o json", 2, 0},
	} {
		status, out, errs, _ := runOn(t, all, tc.line)
		if n := strings.Count(errs, "stale on gw1 since "+clock(time.Now())[:11]); status != 0 || strings.Count(out, cause) != tc.inRows || strings.Count(errs, cause) != tc.own || n != tc.own {
			t.Errorf("%s: status %d\n%s\n%s", tc.line, status, out, errs)
		}
	}
	long := make([]api.Resource, mostWhys+2)
	for i := range long {
		long[i] = api.Resource{Host: wire.HostID(strings.Repeat("x", i)), Hostname: "gw", Stale: true, StaleReason: strings.Repeat("bad\x1b", 200)}
	}
	var errs bytes.Buffer
	(&app{errs: &errs}).tell(staleWhys(long))
	if lines := strings.Split(errs.String(), "\n"); len(lines) != mostWhys+2 || len(lines[0]) != longWhy+3 || strings.Contains(lines[0], "\x1b") || lines[mostWhys] != "... and 2 more; -o wide says why of each" {
		t.Errorf("many and long causes:\n%s", &errs)
	}
	errs.Reset()
	(&app{errs: &errs}).tell([]why{{"stale on gw", time.Now(), "vCenter lab: stale since 2026-01-02T03:04:05Z: gone"}})
	if errs.String() != "stale on gw: vCenter lab: stale since 2026-01-02T03:04:05Z: gone\n" {
		t.Errorf("a cause that has its time: %s", &errs)
	}
}

func TestFiltersAreTheDeploymentUnits(t *testing.T) {
	twice := append(estate(), resource("gw3", inventory.VCenterModule("east2"), inventory.KindVCenter, "6a39", "vc.east.example", "ok", inventory.VCenter{}))
	for _, tc := range []struct {
		name, line string
		all        []api.Resource
		status     int
		asked      string // at last
		errs       string
	}{
		{"state", "get vm --state running", estate(), 0, "compute.vm limit=1000&state=running", ""},
		{"state that no VM has", "vm list --state foo", estate(), 2, "", "--state foo: a VM is running, blocked, paused, shutting_down, shut_off, crashed, suspended or unknown\n"},
		{"state of a kind with states of its own", "get cluster --state foo", estate(), 0, "vsphere.cluster limit=1000&state=foo", ""},
		{"nothing found", "vm list --name none", nil, 0, "compute.vm limit=1000&name=none", "There are none.\n"},
		{"vCenter by the name it was paired under", "vm list --vcenter west", estate(), 0, "compute.vm limit=1000&source=vcenter-west", ""},
		{"vCenter by its own name", "get vm --vcenter vc.east.example", estate(), 0, "compute.vm limit=1000&source=vcenter-east", ""},
		{"vCenter that two gateways know", "get vm --vcenter vc.east.example", twice, 2, "vsphere.vcenter limit=1000", "2 gateways know"},
		{"unknown vCenter", "get vm --vcenter north", estate(), 1, "vsphere.vcenter limit=1000", `no vCenter is called "north"; known are east, west`},
		{"no vCenter at all", "get vm --vcenter north", nil, 1, "vsphere.vcenter limit=1000", "no vCenter is known here"},
		{"cluster of a vCenter by its own command", "cluster list --vcenter west", estate(), 0, "vsphere.cluster limit=1000&source=vcenter-west", ""},
		{"cluster of a vCenter", "get esxi --vcenter east --cluster prod", estate(), 0, "vsphere.host cluster=prod&limit=1000&source=vcenter-east", ""},
		{"unknown cluster", "get vm --cluster prd", estate(), 1, "", `no cluster is called "prd"`},
		{"watch of a cluster", "get vm -w --cluster prod", estate(), 2, "", "leave out --cluster"},
		{"watch of a vCenter", "get vm -w --vcenter east", estate(), 2, "", "leave out --vcenter"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, out, errs, asked := runOn(t, tc.all, tc.line)
			found := tc.asked == ""
			for _, q := range asked {
				found = found || q == tc.asked
			}
			if status != tc.status || !found || !strings.Contains(errs, tc.errs) {
				t.Errorf("%s: status %d, want %d; asked for %q, want %q\n%s\n%s", tc.line, status, tc.status, asked, tc.asked, errs, out)
			}
		})
	}
}

func TestCompletionOfFilters(t *testing.T) {
	for line, want := range map[string]string{
		"__complete get vm --vcenter":   "east\nwest\n:4\n",
		"__complete get vm --cluster":   "prod\n:4\n",
		"__complete vm list --state":    "blocked\ncrashed\npaused\nrunning\nshut_off\nshutting_down\nsuspended\nunknown\n:4\n",
		"__complete get link --state":   "up\n:4\n",
		"__complete get cluster --host": ":4\n",
		"__complete get portgroup":      "DVUplinks-8\napp\n:4\n",
		"__complete get vm web":         ":4\n",
	} {
		if status, out, errs, _ := runOn(t, estate(), line); status != 0 || out != want {
			t.Errorf("%s: status %d\n%s\n%s\nwant\n%s", line, status, errs, out, want)
		}
	}
}

func TestHelpNamesTheWords(t *testing.T) {
	_, out, _, _ := runOn(t, nil, "get vm --help")
	for _, want := range []string{"\n  portgroup   vsphere.network\n", "\n  network     net.link, net.route,", "--cluster", "--vcenter east"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
