package vcproxy_test

import (
	"strings"
	"testing"
)

func TestGovcListsAndPowersWithADummyPassword(t *testing.T) {
	s := newStand(t, nil)
	if out := s.must(t, "about"); !strings.Contains(out, "VMware vCenter Server") {
		t.Errorf("about says %q", out)
	}
	if out := s.must(t, "find", "/", "-type", "m"); !strings.Contains(out, "/DC0/vm/DC0_H0_VM0") {
		t.Errorf("find says %q", out)
	}
	if out := s.must(t, "vm.info", "DC0_H0_VM0"); !strings.Contains(out, "poweredOn") {
		t.Errorf("vm.info says %q", out)
	}
	s.must(t, "vm.power", "-off", "DC0_H0_VM0")
	if out := s.must(t, "vm.info", "DC0_H0_VM0"); !strings.Contains(out, "poweredOff") {
		t.Errorf("vm.info says %q", out)
	}
	s.must(t, "vm.power", "-on", "DC0_H0_VM0")
	s.must(t, "snapshot.create", "-vm", "DC0_H0_VM0", "first")
	s.must(t, "vm.clone", "-ds", "LocalDS_0", "-pool", "DC0_H0/Resources", "-vm", "DC0_H0_VM0", "-on=false", "copy")
	s.must(t, "vm.change", "-vm", "copy", "-c", "2") // the inventory does not know it yet
	s.must(t, "vm.destroy", "copy")
	audit := s.auditText(t)
	for _, want := range []string{`"method":"PowerOffVM_Task"`, `"client":"nova"`, `"result":"ok"`, `"method":"Login"`} {
		if !strings.Contains(audit, want) {
			t.Errorf("the audit has no %s:\n%s", want, audit)
		}
	}
	s.noSecret(t)
}
