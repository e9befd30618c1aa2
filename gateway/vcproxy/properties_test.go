package vcproxy_test

import (
	"testing"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// A task knows its machine, and a machine all its tasks.
func TestOnesOwnTaskIsNoWayToOthers(t *testing.T) {
	s, inv := partStand(t)
	vc, admin := s.client(t), s.admin(t)
	in := inv.ref(t, "VirtualMachine", "DC0_C0_RP0_VM0")
	if _, err := methods.PowerOffVM_Task(t.Context(), admin, &types.PowerOffVM_Task{This: in}); err != nil {
		t.Fatal(err)
	}
	own, err := methods.ReconfigVM_Task(t.Context(), vc, &types.ReconfigVM_Task{This: in, Spec: option("nvp.vm-uuid")})
	if err != nil {
		t.Fatal(err)
	}
	spec := func(way ...types.BaseSelectionSpec) types.PropertyFilterSpec {
		return types.PropertyFilterSpec{PropSet: []types.PropertySpec{{Type: "Task", PathSet: []string{"info"}}}, ObjectSet: []types.ObjectSpec{{Obj: own.Returnval, SelectSet: way}}}
	}
	away := &types.TraversalSpec{
		Type: "Task", Path: "info.entity", SelectSet: []types.BaseSelectionSpec{&types.TraversalSpec{Type: "ManagedEntity", Path: "recentTask"}},
	}
	const why = "others are found by way of it"
	pc := vc.ServiceContent.PropertyCollector
	_, err = methods.RetrievePropertiesEx(t.Context(), vc, &types.RetrievePropertiesEx{This: pc, SpecSet: []types.PropertyFilterSpec{spec(away)}})
	refused(t, err, why)
	_, err = methods.CreateFilter(t.Context(), vc, &types.CreateFilter{This: pc, Spec: spec(away)})
	refused(t, err, why)
	res, err := methods.RetrievePropertiesEx(t.Context(), vc, &types.RetrievePropertiesEx{This: pc, SpecSet: []types.PropertyFilterSpec{spec()}})
	if err != nil || len(res.Returnval.Objects) != 1 {
		t.Errorf("the own task: %+v, %v", res, err)
	}
}
