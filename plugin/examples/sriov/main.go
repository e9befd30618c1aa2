// Command sriov tells openpf9 of the host's PCI devices that have virtual
// functions (SR-IOV), and of these: how many there are, and who has them. It
// reads sysfs, needs no privilege and starts nothing.
package main

import (
	"context"

	"github.com/openpf9/openpf9/plugin"
)

const (
	kindPF = "org.openpf9.sriov_pf"
	kindVF = "org.openpf9.sriov_vf"
)

type config struct {
	Sys string `json:"sys" help:"where sysfs is mounted"`
}

// physical is the spec of a device that can have virtual functions.
type physical struct {
	Driver     string   `json:"driver,omitempty" help:"the driver that it is bound to, if any"`
	Vendor     string   `json:"vendor" help:"the PCI vendor, such as 0x8086"`
	Device     string   `json:"device" help:"the PCI device, such as 0x1592"`
	NUMANode   *int64   `json:"numa_node,omitempty" help:"where its memory is near; absent on hosts without NUMA"`
	Interfaces []string `json:"interfaces,omitempty" help:"its network interfaces in the host"`
	Total      int64    `json:"vfs_total" help:"how many virtual functions it can have"`
	Enabled    int64    `json:"vfs_enabled" help:"how many it has"`
}

// virtual is the spec of one virtual function.
type virtual struct {
	Index      int      `json:"index" help:"its number in its device"`
	State      string   `json:"state" enum:"host,passthrough,unbound" help:"who has it: a driver of the host, a guest's (VFIO), or nobody"`
	Driver     string   `json:"driver,omitempty" help:"the driver that it is bound to, if any"`
	Interfaces []string `json:"interfaces,omitempty" help:"its network interfaces in the host"`
	MAC        string   `json:"mac,omitempty" help:"of its first interface"`
	IOMMUGroup string   `json:"iommu_group,omitempty" help:"the devices of one group go to one guest"`
}

func main() {
	plugin.Serve(plugin.Plugin[config]{
		Name: "sriov", Version: "0.1.0",
		Kinds: []plugin.Kind{
			{Name: kindPF, Version: 1, Spec: physical{}, Columns: []plugin.Column{
				{Name: "DRIVER", Path: "driver"},
				{Name: "VFS", Path: "vfs_enabled"},
				{Name: "OF", Path: "vfs_total"},
				{Name: "NUMA NODE", Path: "numa_node", Wide: true},
			}},
			{Name: kindVF, Version: 1, Spec: virtual{}, Columns: []plugin.Column{
				{Name: "VF", Path: "index"},
				{Name: "DRIVER", Path: "driver"},
				{Name: "MAC", Path: "mac"},
				{Name: "IOMMU GROUP", Path: "iommu_group", Wide: true},
			}},
		},
		Config: config{Sys: "/sys"},
		New:    func(_ context.Context, c config) (plugin.Source, error) { return source{sys: c.Sys}, nil },
	})
}
