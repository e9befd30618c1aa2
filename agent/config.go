package agent

import (
	"errors"
	"io/fs"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/internal/daemon"
)

// Config is the agent's configuration file. Its zero value is good on a host.
type Config struct {
	core.Config
	Libvirt Libvirt `toml:"libvirt"`
	Storage Storage `toml:"storage"`
}

// Libvirt says where libvirt is; empty fields mean where it usually is.
type Libvirt struct {
	Socket string `toml:"socket"`
	URI    string `toml:"uri"`
	// Control lets the deployment unit switch VMs on and off. It needs that the
	// agent's user may control libvirt, which is as good as root.
	Control bool `toml:"control"`
}

// Storage is what storage modules look at.
type Storage struct {
	// NetworkFilesystems also lists NFS and its like.
	NetworkFilesystems bool `toml:"network_filesystems"`
}

// LoadConfig reads a configuration file and its drop-ins, fills in the defaults
// and checks it. A missing file is an empty one.
func LoadConfig(file string) (Config, error) {
	var c Config
	if err := daemon.Load(file, &c); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	return c, c.Complete(file, Program, (&sources{}).modules(Config{}, ""))
}
