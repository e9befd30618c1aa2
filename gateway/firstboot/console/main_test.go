package console

import (
	"syscall"
	"testing"

	"github.com/openpf9/openpf9/internal/namespaces"
)

// Tests change a network and a host's name of their own.
func TestMain(m *testing.M) {
	namespaces.Main(m, syscall.CLONE_NEWNET|syscall.CLONE_NEWUTS, nil)
}
