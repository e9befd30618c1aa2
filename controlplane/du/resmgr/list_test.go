package resmgr

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// vsphereVM is a VM as a gateway reports it.
func vsphereVM(vcenter, cluster string, i int) wire.Resource {
	spec, err := json.Marshal(inventory.VM{
		State: inventory.VMRunning, Hypervisor: "vmware", Persistent: true, VCPUs: 2, MaxVCPUs: 2, MemoryBytes: 2 << 30, MaxMemoryBytes: 2 << 30,
		Disks: []inventory.Disk{{Target: "scsi0:0", Bus: "scsi", Device: "disk", Type: "file", Source: "[ds1] vm/vm.vmdk", Format: "vmdk", CapacityBytes: 20 << 30}},
		NICs:  []inventory.NIC{{MAC: "00:50:56:00:00:01", Model: "vmxnet3", Type: "distributed", Source: "pg1"}},
		Host:  "esx001.example", Cluster: cluster, Path: "/dc/vm/prod/vm", Datastores: []string{"ds1"},
		VMware: &inventory.VMware{Moref: fmt.Sprint("vm-", i), Datacenter: "dc", Hardware: "vmx-19", Firmware: "efi", Networks: []string{"pg1"}},
	})
	if err != nil {
		panic(err)
	}
	return wire.Resource{
		Key:  plugin.Key{Kind: inventory.KindVM, ID: fmt.Sprintf("%s/vm-%d", vcenter, i)},
		Name: fmt.Sprintf("%s-%05d", vcenter, i), Spec: spec, Generation: 1, Source: inventory.VCenterModule(vcenter),
	}
}

func custom(id, spec string) wire.Resource {
	return wire.Resource{Key: plugin.Key{Kind: "com.acme.lun", ID: id}, Name: id, Spec: json.RawMessage(spec), Generation: 1, Source: "acme"}
}

func TestListsOfAClusterAndAVCenter(t *testing.T) {
	m := newManager(t, Limits{})
	gateway, kvm := newAgent(1), newAgent(2)
	for _, r := range []wire.Resource{
		vsphereVM("east", "prod", 1), vsphereVM("east", "prod", 2), vsphereVM("east", "test", 3), vsphereVM("east", "", 4), vsphereVM("west", "prod", 5),
		custom("object", `{"state":"on","cluster":{"name":"prod"}}`), custom("number", `{"state":5,"cluster":"prod"}`),
		custom("long", `{"state":"on","cluster":"`+strings.Repeat("x", 256)+`"}`), custom("plain", `"prod"`),
	} {
		gateway.mirror[r.Key] = r
	}
	local := vm(1, "web", inventory.VMRunning)
	kvm.mirror[local.Key] = local
	gateway.connect(t, m)
	kvm.connect(t, m)
	check := func(what string, q Query, want ...string) {
		t.Helper()
		page, err := m.List(&q)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range page.Items {
			got = append(got, r.Name)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	const kind = inventory.KindVM
	check("of a cluster", Query{Kind: kind, Cluster: "prod"}, "east-00001", "east-00002", "west-00005")
	check("of a vCenter", Query{Kind: kind, Source: "vcenter-west"}, "west-00005")
	check("of one's cluster", Query{Kind: kind, Source: "vcenter-east", Cluster: "prod"}, "east-00001", "east-00002")
	check("of the only module", Query{Kind: kind, Source: "libvirt"}, "web")
	check("of no cluster of that name", Query{Kind: kind, Cluster: "pro"})
	check("whatever the state is", Query{Kind: "com.acme.lun", Cluster: "prod"}, "number")
	check("whatever the cluster is", Query{Kind: "com.acme.lun", State: "on"}, "long", "object")

	gateway.seq++
	moved := &wire.Report{Epoch: gateway.epoch, Seq: gateway.seq, Upserts: []wire.Resource{vsphereVM("east", "dmz", 1)}}
	if _, err := m.Report(gateway.p, moved); err != nil {
		t.Fatal(err)
	}
	check("where it has moved", Query{Kind: kind, Cluster: "dmz"}, "east-00001")
	check("where it was", Query{Kind: kind, Cluster: "prod"}, "east-00002", "west-00005")
}

// A catalogue has millions of entries: what one grows by counts.
func TestAnEntryIsSmall(t *testing.T) {
	if size := reflect.TypeFor[entry]().Size(); size > 56 {
		t.Errorf("an entry has %d bytes beside its text, want 56 at most", size)
	}
}
