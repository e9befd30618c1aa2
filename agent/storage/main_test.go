package storage

import (
	"syscall"
	"testing"

	"github.com/openpf9/openpf9/internal/namespaces"
)

// Tests mount in a name space of their own, where nobody else's mounts disturb
// them.
func TestMain(m *testing.M) {
	namespaces.Main(m, syscall.CLONE_NEWNS, func() error {
		return syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	})
}
