package storage

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// TestLVMToolsAreUnderstood makes a volume group with LVM's own tools on a loop
// device. Device-mapper is not needed for that.
func TestLVMToolsAreUnderstood(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a loop device")
	}
	if _, err := exec.LookPath("vgcreate"); err != nil {
		t.Skip("needs LVM's tools")
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(64<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+dir, "LVM_SUPPRESS_FD_WARNINGS=1")
		out, err := cmd.Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return "", errors.New(string(exit.Stderr))
		}
		return strings.TrimSpace(string(out)), err
	}
	loop, err := run("losetup", "-f", "--show", image)
	if err != nil {
		t.Skipf("no loop device here: %v", err)
	}
	t.Cleanup(func() {
		if _, err := run("losetup", "-d", loop); err != nil {
			t.Errorf("free %s: %v", loop, err)
		}
	})
	conf := "devices { scan_lvs = 0 filter = [ \"a|^" + loop + "$|\", \"r|.*|\" ] use_devicesfile = 0 }\n"
	if err := os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"pvcreate", "-qq", loop}, {"vgcreate", "-qq", "openpf9test", loop}, {"vgchange", "-qq", "--addtag", "a", "openpf9test"}} {
		if _, err := run(args[0], args[1:]...); err != nil {
			t.Skipf("%v does not work here: %v", args, err)
		}
	}
	want, err := run("vgs", "--noheadings", "--nosuffix", "--units", "b", "--separator", ",", "-o", "vg_uuid,vg_size,vg_free", "openpf9test")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = new(LVM).List(t.Context(), func(r plugin.Resource) {
		if r.Name == "openpf9test" {
			g := r.Spec.(inventory.VolumeGroup)
			got = append(got, r.ID, strconv.FormatUint(g.SizeBytes, 10), strconv.FormatUint(g.FreeBytes, 10))
			if len(g.PhysicalVolumes) != 1 || g.PhysicalVolumes[0] != loop {
				t.Errorf("physical volumes = %q, want %s", g.PhysicalVolumes, loop)
			}
		}
	})
	if err != nil || strings.Join(got, ",") != want {
		t.Errorf("List = %v, %v; vgs prints %s", got, err, want)
	}
}
