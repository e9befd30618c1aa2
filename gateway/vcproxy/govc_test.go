package vcproxy_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ova packs an OVF with one disk.
func ova(t *testing.T, file string, disk []byte) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, one := range []struct {
		name    string
		content []byte
	}{{"a.ovf", []byte(strings.Replace(ovf, "SIZE", fmt.Sprint(len(disk)), 1))}, {"disk.vmdk", disk}} {
		if err := w.WriteHeader(&tar.Header{Name: one.name, Mode: 0o600, Size: int64(len(one.content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(one.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestGovcWholeLife(t *testing.T) {
	s, inv := partStand(t)
	inv.twins()
	makeImages(t, s.dir)
	image := filepath.Join(s.dir, "stream.vmdk")
	stream, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	packed := filepath.Join(s.dir, "a.ova")
	ova(t, packed, stream)
	ds, pool := "-ds=LocalDS_0", "-pool=DC0_C0/Resources"
	for _, args := range [][]string{
		{"import.vmdk", ds, pool, image},
		{"import.ova", ds, pool, "-name=appliance", packed},
		{"vm.power", "-on", "appliance"},
		{"datastore.upload", ds, filepath.Join(s.dir, "boot.iso"), "boot.iso"},
		{"vm.create", ds, pool, "-net=DC0_DVPG0", "-m=64", "-disk=1MB", "-iso=boot.iso", "-iso-datastore=LocalDS_0", "-on=false", "made"},
		{"vm.power", "-on", "made"},
		{"vm.power", "-reset", "made"},
		{"vm.power", "-suspend", "made"},
		{"vm.power", "-on", "made"},
		{"vm.change", "-vm=made", "-c=2", "-e=guestinfo.role=web"},
		{"vm.disk.create", "-vm=made", ds, "-name=made/data", "-size=1M"},
		{"snapshot.create", "-vm=made", "-m=false", "first"},
		{"snapshot.create", "-vm=made", "-m=false", "second"},
		{"snapshot.tree", "-vm=made"},
		{"snapshot.revert", "-vm=made", "first"},
		{"snapshot.remove", "-vm=made", "second"},
		{"snapshot.remove", "-vm=made", "*"},
		{"vm.clone", ds, pool, "-vm=made", "-on=false", "-link=false", "copy"},
		{"vm.migrate", "-host=DC0_C0_H1", "copy"},
		{"vm.power", "-off", "made"},
		{"vm.destroy", "made", "copy", "appliance"},
		{"datastore.rm", ds, "boot.iso"},
	} {
		s.must(t, args...)
	}
	for _, args := range [][]string{
		{"vm.create", "-ds=LocalDS_1", pool, "-net=DC0_DVPG0", "-on=false", "other"},
		{"vm.create", ds, "-pool=DC0_H0/Resources", "-net=DC0_DVPG0", "-on=false", "other"},
		{"vm.create", ds, pool, "-net=VM Network", "-on=false", "other"},
		{"import.ova", "-ds=LocalDS_1", pool, packed},
		{"vm.clone", ds, pool, "-vm=DC0_H0_VM0", "-on=false", "other"},
		{"vm.migrate", "-host=DC0_H0", "DC0_C0_RP0_VM0"},
		{"vm.migrate", "-pool=DC0_H0/Resources", "DC0_C0_RP0_VM0"},
		{"vm.migrate", "-ds=LocalDS_1", "DC0_C0_RP0_VM0"},
		{"vm.destroy", "DC0_H0_VM0"},
		{"snapshot.create", "-vm=DC0_H0_VM0", "first"},
	} {
		if out, err := s.govc(t, args...); err == nil || !strings.Contains(out, "the gateway refuses") {
			t.Errorf("govc %s: %v, %s", strings.Join(args, " "), err, out)
		}
	}
	if out := s.must(t, "find", "/", "-type", "m"); strings.Count(out, "\n") != 4 {
		t.Errorf("the machines at the end are %q", out)
	}
	if audit := s.auditText(t); strings.Count(audit, fmt.Sprintf(`"bytes":%d`, len(stream))) != 2 {
		t.Errorf("the image was not sent twice:\n%s", audit)
	}
	s.noSecret(t)
}
