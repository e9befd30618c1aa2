package network

import (
	"os"
	"syscall"
	"testing"

	"github.com/openpf9/openpf9/internal/namespaces"
)

// Tests add links in a network name space of their own.
func TestMain(m *testing.M) {
	namespaces.Main(m, syscall.CLONE_NEWNET|syscall.CLONE_NEWNS, showOwnSys)
}

// showOwnSys mounts a /sys that shows this network name space, and turns
// duplicate address detection off, which takes a second for each link.
func showOwnSys() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, conf := range []string{"all", "default"} {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+conf+"/accept_dad", []byte("0"), 0) // no IPv6, no detection
	}
	return syscall.Mount("sysfs", "/sys", "sysfs", 0, "")
}
