// Command thousand is a plugin that lists a thousand VMs of a usual size.
package main

import (
	"context"
	"fmt"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

type hypervisor struct{}

func (hypervisor) List(_ context.Context, emit func(plugin.Resource)) error {
	for i := range 1000 {
		id := fmt.Sprintf("6a9d2f00-0000-4000-8000-%012d", i)
		emit(plugin.Resource{Key: plugin.Key{Kind: inventory.KindVM, ID: id}, Name: fmt.Sprintf("vm-%d", i), Spec: vm(id)})
	}
	return nil
}

func vm(id string) inventory.VM {
	v := inventory.VM{
		State: inventory.VMRunning, Hypervisor: "kvm", VCPUs: 4, MaxVCPUs: 4,
		MemoryBytes: 4 << 30, MaxMemoryBytes: 4 << 30, Arch: "x86_64", Machine: "q35", OSType: "hvm",
	}
	for _, name := range []string{"vda", "vdb"} {
		v.Disks = append(v.Disks, inventory.Disk{
			Target: name, Bus: "virtio", Source: "/var/lib/nova/instances/" + id + "/" + name, Format: "qcow2", CapacityBytes: 20 << 30,
		})
	}
	for _, name := range []string{"tap0", "tap1"} {
		v.NICs = append(v.NICs, inventory.NIC{MAC: "52:54:00:12:34:56", Model: "virtio", Type: "bridge", Source: "br-int", Target: name})
	}
	return v
}

func main() {
	plugin.Serve(plugin.Plugin[struct{}]{
		Name: "thousand", Version: "1", Kinds: []plugin.Kind{{Name: inventory.KindVM, Spec: inventory.VM{}}},
		New: func(context.Context, struct{}) (plugin.Source, error) { return hypervisor{}, nil },
	})
}
