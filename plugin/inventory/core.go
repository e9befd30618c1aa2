package inventory

import (
	"slices"

	"github.com/openpf9/openpf9/plugin"
)

// core is the one table of the core kinds; all that follows, the published
// schema and the tests of the columns read it. It never changes.
var core = slices.Concat([]plugin.Kind{
	kind(KindHost, Host{}, column("OS", "os.pretty_name"), column("KERNEL", "os.kernel"), column("THREADS", "cpu.threads"), column("MEMORY", "memory_bytes"),
		wide("MODEL", "cpu.model"), wide("VENDOR", "hardware.vendor"), wide("PRODUCT", "hardware.product")),
	kind(KindVM, VM{}, column("CLUSTER", "cluster"), column("VCPUS", "vcpus"), column("MEMORY", "memory_bytes"), column("WARNINGS", "warnings"),
		wide("ADDRESSES", "guest.addresses"), wide("OS", "guest.os"), wide("ESXI", "host"), wide("DATASTORES", "datastores"), wide("REASON", "state_reason"), wide("AUTOSTART", "autostart"), wide("HYPERVISOR", "hypervisor")),
	kind(KindLink, Link{}, column("TYPE", "type"), column("VLAN", "vlan.id"), column("ADDRESS", "addresses.0.cidr"), column("MASTER", "master"),
		wide("MAC", "mac"), wide("MTU", "mtu"), wide("MBIT/S", "speed_mbps"), wide("DRIVER", "driver")),
	kind(KindRoute, Route{}, column("FAMILY", "family"), column("LINK", "link"), column("METRIC", "metric"), wide("GATEWAY", "gateway"), wide("FROM", "source")),
	kind(KindOVSBridge, OVSBridge{}, column("DATAPATH", "datapath_type"), wide("FAIL MODE", "fail_mode"), wide("CONTROLLER", "controllers.0")),
	kind(KindNetwork, Network{}, column("ACTIVE", "active"), column("BRIDGE", "bridge"), column("FORWARD", "forward"), column("ADDRESS", "addresses.0"), wide("AUTOSTART", "autostart")),
	kind(KindFilesystem, Filesystem{}, column("TYPE", "type"), column("SIZE", "total_bytes"), column("FREE", "available_bytes"), column("DEVICE", "source"), wide("MOUNTS", "mounts")),
	kind(KindDevice, Device{}, column("TYPE", "type"), column("SIZE", "size_bytes"), column("MODEL", "model"), column("MOUNTS", "mounts"), wide("PATH", "path"), wide("SERIAL", "serial"), wide("TRANSPORT", "transport")),
	kind(KindVolumeGroup, VolumeGroup{}, column("SIZE", "size_bytes"), column("FREE", "free_bytes"), wide("DEVICES", "physical_volumes")),
	kind(KindPool, Pool{}, column("TYPE", "type"), column("SIZE", "capacity_bytes"), column("FREE", "available_bytes"), wide("PATH", "path")),
	kind(KindVolume, Volume{}, column("POOL", "pool"), column("FORMAT", "format"), column("SIZE", "capacity_bytes"), wide("PATH", "path")),
	kind(KindExtension, Extension{}, column("STATUS", "status"), wide("PATH", "path")),
	kind(KindKind, Kind{}, column("VERSION", "version"), column("DECLARED BY", "modules"), column("PROBLEM", "problem")),
	kind(KindPlugin, Plugin{}, column("VERSION", "version"), column("RESOURCES", "resources"), column("RESTARTS", "restarts"), column("REASON", "state_reason"),
		wide("RUNNER", "runner"), wide("SDK", "sdk"), wide("SHA256", "binary_sha256")),
}, vsphere)

func kind(name string, spec any, columns ...plugin.Column) plugin.Kind {
	return plugin.Kind{Name: name, Version: 1, Spec: spec, Columns: columns}
}

func column(name, path string) plugin.Column { return plugin.Column{Name: name, Path: path} }

func wide(name, path string) plugin.Column {
	return plugin.Column{Name: name, Path: path, Wide: true}
}

// Core returns the core kinds, as a plugin would declare them, each with the
// zero value of its struct. Their columns are shared: do not change them.
func Core() []plugin.Kind { return slices.Clone(core) }

// Spec returns the zero value of the struct that describes resources of a core
// kind, or nil for any other kind.
func Spec(kind string) any {
	if i := index(kind); i >= 0 {
		return core[i].Spec
	}
	return nil
}

// IsCore says whether a kind is one of the core's.
func IsCore(kind string) bool { return index(kind) >= 0 }

func index(kind string) int {
	return slices.IndexFunc(core, func(k plugin.Kind) bool { return k.Name == kind })
}
