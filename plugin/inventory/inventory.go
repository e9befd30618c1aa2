// Package inventory is the vocabulary of discovered resources: the kinds and
// the struct that describes each of them.
//
// The structs are additive: a field is never renamed, re-used or given another
// unit. Sizes are bytes, times are RFC 3339 in UTC, absent values are omitted.
// Slices without an order of their own are sorted by their first field.
package inventory

// The core kinds. A resource's id is given in parentheses.
const (
	KindHost        = "host.node"            // (host id) Host
	KindVM          = "compute.vm"           // (domain UUID) VM
	KindLink        = "net.link"             // (see Link) Link
	KindRoute       = "net.route"            // (family/table/destination/gateway/link/metric) Route
	KindOVSBridge   = "net.ovs_bridge"       // (OVSDB row UUID) OVSBridge
	KindNetwork     = "net.network"          // (network UUID) Network
	KindFilesystem  = "storage.filesystem"   // (see Filesystem) Filesystem
	KindDevice      = "storage.device"       // (see Device) Device
	KindVolumeGroup = "storage.volume_group" // (VG UUID) VolumeGroup
	KindPool        = "storage.pool"         // (pool UUID) Pool
	KindVolume      = "storage.volume"       // (volume key) Volume
	KindExtension   = "host.extension"       // (extension's name) Extension
	KindKind        = "agent.kind"           // (kind's name) Kind
	KindPlugin      = "agent.plugin"         // (plugin's name) Plugin
)
