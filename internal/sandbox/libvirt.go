package sandbox

import (
	"os"
	"path/filepath"

	"github.com/openpf9/openpf9/internal/testlibvirt"
)

// Libvirt starts a private libvirtd.
func (b *Box) Libvirt() (*testlibvirt.Daemon, error) {
	for dir := b.Dir; dir != filepath.Dir(dir) && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // the daemon runs as nobody under root
			return nil, err
		}
	}
	dir := filepath.Join(b.Dir, "lv")
	d, err := testlibvirt.New(dir)
	if err != nil {
		return nil, err
	}
	b.OnClose(d.Close)
	return d, d.Restart()
}
