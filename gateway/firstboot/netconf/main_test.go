package netconf

import (
	"os"
	"syscall"
	"testing"

	"github.com/openpf9/openpf9/internal/namespaces"
)

// victimEnv marks a process that is killed in the middle of a change.
const victimEnv = "OPENPF9_TEST_NETCONF_VICTIM"

// Tests change a network and a host's name of their own.
func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		victim(dir)
		return
	}
	namespaces.Main(m, syscall.CLONE_NEWNET|syscall.CLONE_NEWUTS, func() error {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0) // without IPv6 there is none
		return nil
	})
}
