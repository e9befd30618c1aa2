package vcproxy_test

import (
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

// A template is in no pool: its host says whose it is.
func TestTemplatesThatAreNewBelongToTheirHost(t *testing.T) {
	s, inv := partStand(t)
	vc, admin := s.client(t), s.admin(t)
	for _, test := range []struct {
		of   string
		mine bool
	}{{"DC0_C0_RP0_VM0", true}, {"DC0_H0_VM0", false}} {
		source := object.NewVirtualMachine(admin, inv.ref(t, "VirtualMachine", test.of))
		task, err := source.Clone(t.Context(), object.NewFolder(admin, inv.ref(t, "Folder", "vm")), "template of "+test.of, types.VirtualMachineCloneSpec{Template: true})
		if err != nil {
			t.Fatal(err)
		}
		info, err := task.WaitForResult(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = methods.Rename_Task(t.Context(), vc, &types.Rename_Task{This: info.Result.(vcproxy.Ref), NewName: "renamed"})
		if !test.mine {
			refused(t, err, "outside of what is delegated")
		} else if err != nil {
			t.Error(err)
		}
	}
}

// Two datacenters have a datastore of one name, and only one is delegated.
func TestNamesMeanWhatIsNear(t *testing.T) {
	s, inv := partStand(t)
	inv.twins()
	vc := s.client(t)
	dc := inv.ref(t, "Datacenter", "DC0")
	mkdir := func(where *vcproxy.Ref) error {
		_, err := methods.MakeDirectory(t.Context(), vc, &types.MakeDirectory{This: *vc.ServiceContent.FileManager, Name: "[LocalDS_0] images", Datacenter: where})
		return err
	}
	if err := mkdir(&dc); err != nil {
		t.Error(err)
	}
	refused(t, mkdir(nil), `"LocalDS_0" is not delegated`)
	refused(t, mkdir(&vcproxy.Ref{Type: "Datacenter", Value: "datacenter-9999"}), `"LocalDS_0" is not delegated`)
	session := cookie(t, vc)
	for query, want := range map[string]int{
		"dcPath=DC0&dsName=LocalDS_0": 200, "dcPath=/DC0&dsName=LocalDS_0": 200, "dcPath=Elsewhere&dsName=LocalDS_0": 403, "dsName=LocalDS_0": 403,
	} {
		if status := s.putAs(t, session, "/folder/images/a?"+query, strings.NewReader("a file")); status != want {
			t.Errorf("an upload with %s is answered with %d, want %d", query, status, want)
		}
	}
}
