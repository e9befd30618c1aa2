package testlibvirt

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Start runs a daemon until the test ends. It skips the test where libvirt or
// QEMU is not installed.
func Start(t testing.TB) *Daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "pf9lv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d, err := New(dir)
	if errors.Is(err, ErrMissing) {
		t.Skipf("needs libvirtd, virsh and qemu-system-x86_64: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		if t.Failed() {
			if log, err := os.ReadFile(filepath.Join(dir, "libvirtd.log")); err == nil {
				t.Logf("libvirtd said:\n%s", log[max(0, len(log)-4096):])
			}
		}
	})
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
	return d
}
