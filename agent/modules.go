package agent

import (
	"time"

	"github.com/openpf9/openpf9/agent/host"
	"github.com/openpf9/openpf9/agent/libvirt"
	"github.com/openpf9/openpf9/agent/network"
	"github.com/openpf9/openpf9/agent/storage"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// sources are what modules are made of. They are kept from one configuration
// to the next, because some remember what hangs.
type sources struct {
	libvirt     *libvirt.Conn
	filesystems *storage.Filesystems
	lvm         *storage.LVM
}

// modules is the list of discovery modules, and all there is to registering
// one: a name, what it lists, the source, and how often to list it anyway.
func (s *sources) modules(c Config, hostID string) []discovery.Module {
	vm, nets, pools := libvirtSources(s.libvirt)
	return []discovery.Module{
		{Name: "host", Kinds: []string{inventory.KindHost}, Source: &host.Node{ID: hostID}, Interval: 5 * time.Minute},
		{Name: "libvirt", Kinds: []string{inventory.KindVM}, Source: vm, Interval: time.Minute, Timeout: 20 * time.Second, Config: c.Libvirt},
		{Name: "libvirt-networks", Kinds: []string{inventory.KindNetwork}, Source: nets, Interval: time.Minute, Timeout: 20 * time.Second, Config: c.Libvirt},
		{Name: "libvirt-storage", Kinds: []string{inventory.KindPool, inventory.KindVolume}, Source: pools, Interval: time.Minute, Timeout: 25 * time.Second, Config: c.Libvirt},
		{Name: "network", Kinds: []string{inventory.KindLink, inventory.KindRoute}, Source: &network.Links{}, Interval: 5 * time.Minute},
		{Name: "ovs", Kinds: []string{inventory.KindOVSBridge}, Source: &network.OVS{}, Interval: 10 * time.Minute},
		{Name: "filesystems", Kinds: []string{inventory.KindFilesystem}, Source: s.filesystems, Interval: time.Minute, Config: c.Storage},
		{Name: "devices", Kinds: []string{inventory.KindDevice}, Source: &storage.Devices{}, Interval: 5 * time.Minute},
		{Name: "lvm", Kinds: []string{inventory.KindVolumeGroup}, Source: s.lvm, Interval: 5 * time.Minute},
	}
}

func libvirtSources(c *libvirt.Conn) (vm, nets, pools plugin.Source) {
	if c == nil {
		return nil, nil, nil // for the names only
	}
	return c.VMs(), c.Networks(), c.Storage()
}
