package storage

import (
	"testing"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

// volatile blanks capacity, which others on the machine change.
func volatile(kind string, spec map[string]any) {
	if kind == inventory.KindFilesystem {
		for _, f := range []string{"used_bytes", "available_bytes", "free_inodes"} {
			delete(spec, f)
		}
	}
}

func TestFilesystemsConform(t *testing.T) {
	plugintest.Run(t, plugintest.Options{
		New:      func(*testing.T) plugin.Source { return &Filesystems{} },
		Kinds:    (*Filesystems)(nil).Kinds(),
		Volatile: volatile,
	})
}

func TestDevicesOfThisMachineAreListed(t *testing.T) {
	if names, err := blockNames(""); err != nil || len(names) == 0 {
		t.Skip("needs a block device")
	}
	err := new(Devices).List(t.Context(), func(r plugin.Resource) {
		if d := r.Spec.(inventory.Device); d.SizeBytes == 0 && d.Type != "rom" {
			t.Errorf("%s has no size: %+v", r.ID, d)
		}
	})
	if err != nil {
		t.Error(err)
	}
}
