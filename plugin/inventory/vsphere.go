package inventory

import (
	"strings"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// The kinds of what a vCenter manages beside its VMs, which are of KindVM. The
// id of each is "<vCenter's instance UUID>/<managed object id>", as in
// "6e5a…/host-21", but that of the vCenter itself is its instance UUID. Its
// parent is the one that it has in vCenter.
const (
	KindVCenter          = "vsphere.vcenter"           // VCenter
	KindDatacenter       = "vsphere.datacenter"        // Datacenter
	KindFolder           = "vsphere.folder"            // Folder
	KindCluster          = "vsphere.cluster"           // Cluster
	KindESXi             = "vsphere.host"              // ESXi
	KindResourcePool     = "vsphere.resource_pool"     // ResourcePool
	KindDatastore        = "vsphere.datastore"         // Datastore
	KindDatastoreCluster = "vsphere.datastore_cluster" // DatastoreCluster
	KindPortGroup        = "vsphere.network"           // PortGroup
	KindSwitch           = "vsphere.switch"            // Switch
	KindTemplate         = "vsphere.template"          // VM, one that is a template
	KindTag              = "vsphere.tag"               // Tag; its id ends in the URN of the tag
)

// What begins the names of modules that list a vCenter, and its tags.
const (
	modulePrefix    = "vcenter-"
	tagModulePrefix = "tags-"
)

// VCenterModule returns the name of the module that lists what the vCenter has
// which a gateway was paired with under a name.
func VCenterModule(name string) string { return modulePrefix + name }

// VCenterTagModule returns the name of the module that lists its tags.
func VCenterTagModule(name string) string { return tagModulePrefix + name }

// VCenterName returns the name of the vCenter that a module lists; empty: it
// lists none.
func VCenterName(module string) string {
	for _, prefix := range []string{modulePrefix, tagModulePrefix} {
		if name, found := strings.CutPrefix(module, prefix); found {
			return name
		}
	}
	return ""
}

// vsphere is a part of the table of core kinds.
var vsphere = []plugin.Kind{
	kind(KindVCenter, VCenter{}, column("VERSION", "version"), column("BUILD", "build"), column("WARNINGS", "warnings"), wide("URL", "url"), wide("FINGERPRINT", "fingerprint")),
	kind(KindDatacenter, Datacenter{}, column("PATH", "path")),
	kind(KindFolder, Folder{}, column("TYPE", "type"), column("PATH", "path")),
	kind(KindCluster, Cluster{}, column("HOSTS", "hosts"), column("CORES", "cpu_cores"), column("MEMORY", "memory_bytes"), column("HA", "ha"), column("DRS", "drs"),
		column("WARNINGS", "warnings"), wide("DRS LEVEL", "drs_level"), wide("DATACENTER", "datacenter"), wide("SHARED DATASTORES", "datastores")),
	kind(KindESXi, ESXi{}, column("CLUSTER", "cluster"), column("VERSION", "version"), column("CORES", "cpu_cores"), column("MEMORY", "memory_bytes"), column("WARNINGS", "warnings"),
		wide("MODEL", "model"), wide("ADDRESSES", "addresses"), wide("DATASTORES", "datastores")),
	kind(KindResourcePool, ResourcePool{}, column("CLUSTER", "cluster"), column("VAPP", "vapp"), wide("PATH", "path")),
	kind(KindDatastore, Datastore{}, column("TYPE", "type"), column("SIZE", "capacity_bytes"), column("FREE", "free_bytes"), column("SHARED", "shared"), column("HOSTS", "hosts"),
		column("WARNINGS", "warnings"), wide("DATASTORE CLUSTER", "cluster"), wide("DATACENTER", "datacenter"), wide("URL", "url")),
	kind(KindDatastoreCluster, DatastoreCluster{}, column("SIZE", "capacity_bytes"), column("FREE", "free_bytes"), wide("DATACENTER", "datacenter"), wide("DATASTORES", "datastores")),
	kind(KindPortGroup, PortGroup{}, column("TYPE", "type"), column("SWITCH", "switch"), column("VLAN", "vlan"), column("UPLINK", "uplink"), column("WARNINGS", "warnings"), wide("DATACENTER", "datacenter"), wide("ACCESSIBLE", "accessible")),
	kind(KindSwitch, Switch{}, column("VERSION", "version"), column("MTU", "mtu"), column("HOSTS", "hosts"), wide("PORTS", "ports"), wide("DATACENTER", "datacenter")),
	kind(KindTag, Tag{}, column("CATEGORY", "category"), wide("DESCRIPTION", "description")),
	kind(KindTemplate, VM{}, column("CLUSTER", "cluster"), column("VCPUS", "vcpus"), column("MEMORY", "memory_bytes"), column("OS", "guest.os"), column("PATH", "path"), wide("ESXI", "host"), wide("DATASTORES", "datastores")),
}

// VCenter is a vCenter server.
type VCenter struct {
	State       string   `json:"state"` // "ok": it was followed; while it cannot be, its module is degraded and it is stale
	URL         string   `json:"url"`
	Product     string   `json:"product"` // "VMware vCenter Server"
	Version     string   `json:"version"` // "8.0.3"
	Build       string   `json:"build,omitempty"`
	APIVersion  string   `json:"api_version,omitempty"`
	OS          string   `json:"os,omitempty"`          // "linux-x64"
	Fingerprint string   `json:"fingerprint,omitempty"` // SHA-256 of the certificate
	Clusters    []string `json:"clusters,omitempty"`    // that were chosen, sorted; none: all
	Warnings    []string `json:"warnings,omitempty"`
}

// Datacenter is a vSphere datacenter.
type Datacenter struct {
	Path string `json:"path"` // "/folder/datacenter"
}

// Folder is a folder of a vCenter's inventory.
type Folder struct {
	Path string `json:"path"`
	Type string `json:"type,omitempty"` // of what it holds: "vm", "host", "datastore", "network", "datacenter"
}

// Cluster is a cluster of ESXi hosts.
type Cluster struct {
	Path        string   `json:"path"`
	Datacenter  string   `json:"datacenter,omitempty"` // name
	Hosts       int      `json:"hosts"`
	CPUCores    int      `json:"cpu_cores"`
	CPUMHz      int      `json:"cpu_mhz"`
	MemoryBytes uint64   `json:"memory_bytes"`
	HA          bool     `json:"ha"`
	DRS         bool     `json:"drs"`
	DRSLevel    string   `json:"drs_level,omitempty"`  // "fullyAutomated", "partiallyAutomated", "manual"
	Datastores  []string `json:"datastores,omitempty"` // names of those that all hosts share, sorted
	// Warnings say what keeps the cluster from serving as a compute node.
	Warnings []string `json:"warnings,omitempty"`
}

// ESXi is an ESXi host.
type ESXi struct {
	State       string     `json:"state"` // "connected", "disconnected", "notResponding"; "maintenance" if it is in that
	Power       string     `json:"power,omitempty"`
	Path        string     `json:"path"`
	Datacenter  string     `json:"datacenter,omitempty"` // name
	Cluster     string     `json:"cluster,omitempty"`    // name; empty: the host stands alone
	UUID        string     `json:"uuid,omitempty"`       // of the hardware
	Vendor      string     `json:"vendor,omitempty"`
	Model       string     `json:"model,omitempty"`
	CPUModel    string     `json:"cpu_model,omitempty"`
	CPUSockets  int        `json:"cpu_sockets"`
	CPUCores    int        `json:"cpu_cores"`
	CPUThreads  int        `json:"cpu_threads"`
	CPUMHz      int        `json:"cpu_mhz"` // of one core
	MemoryBytes uint64     `json:"memory_bytes"`
	Version     string     `json:"version,omitempty"` // "8.0.3"
	Build       string     `json:"build,omitempty"`
	Fingerprint string     `json:"fingerprint,omitempty"` // of its certificate, as vCenter keeps it
	Booted      *time.Time `json:"booted,omitempty"`
	NICs        []ESXiNIC  `json:"nics,omitempty"`
	Addresses   []string   `json:"addresses,omitempty"`  // of the host's own interfaces, as CIDR, sorted
	Datastores  []string   `json:"datastores,omitempty"` // names, sorted
	Warnings    []string   `json:"warnings,omitempty"`
}

// ESXiNIC is a physical network interface of an ESXi host.
type ESXiNIC struct {
	Name      string `json:"name"` // "vmnic0"
	MAC       string `json:"mac,omitempty"`
	Driver    string `json:"driver,omitempty"`
	SpeedMbps int    `json:"speed_mbps,omitempty"` // 0: no link
}

// ResourcePool is a resource pool or a vApp. Limits of -1 are none.
type ResourcePool struct {
	Path                   string `json:"path"`
	Cluster                string `json:"cluster,omitempty"` // or standing host; name
	VApp                   bool   `json:"vapp,omitempty"`
	CPUReservationMHz      int64  `json:"cpu_reservation_mhz"`
	CPULimitMHz            int64  `json:"cpu_limit_mhz"`
	CPUShares              int    `json:"cpu_shares,omitempty"`
	MemoryReservationBytes int64  `json:"memory_reservation_bytes"`
	MemoryLimitBytes       int64  `json:"memory_limit_bytes"`
	MemoryShares           int    `json:"memory_shares,omitempty"`
}

// Datastore is a vSphere datastore.
type Datastore struct {
	State            string   `json:"state"` // "accessible", "inaccessible", "maintenance"
	Path             string   `json:"path"`
	Datacenter       string   `json:"datacenter,omitempty"` // name
	Cluster          string   `json:"cluster,omitempty"`    // name of the datastore cluster
	Type             string   `json:"type"`                 // "VMFS", "NFS", "vsan", ...
	URL              string   `json:"url,omitempty"`
	CapacityBytes    uint64   `json:"capacity_bytes"`
	FreeBytes        uint64   `json:"free_bytes"`
	UncommittedBytes uint64   `json:"uncommitted_bytes,omitempty"` // promised to thin disks beyond what they use
	Shared           bool     `json:"shared"`                      // by several hosts
	Hosts            int      `json:"hosts"`                       // that mount it
	Warnings         []string `json:"warnings,omitempty"`
}

// DatastoreCluster is a datastore cluster (storage pod).
type DatastoreCluster struct {
	Path          string   `json:"path"`
	Datacenter    string   `json:"datacenter,omitempty"` // name
	CapacityBytes uint64   `json:"capacity_bytes"`
	FreeBytes     uint64   `json:"free_bytes"`
	Datastores    []string `json:"datastores,omitempty"` // names, sorted
}

// PortGroup is a network that VMs attach to. With Uplink it is none: a distributed
// switch keeps such port groups for the network cards of its hosts, and VMs
// cannot be attached to them, so they belong in no choice of networks. vCenter
// marks them by the tag SYSTEM/DVS.UPLINKPG.
type PortGroup struct {
	Type       string   `json:"type"` // "standard", "distributed", "opaque"
	Path       string   `json:"path"`
	Datacenter string   `json:"datacenter,omitempty"` // name
	Switch     string   `json:"switch,omitempty"`     // name of the distributed switch, or of the hosts' own
	VLAN       string   `json:"vlan,omitempty"`       // "12", "1-4094", "private 5"; empty: none
	Uplink     bool     `json:"uplink,omitempty"`     // the switch's own, for its uplinks
	Accessible bool     `json:"accessible"`
	Warnings   []string `json:"warnings,omitempty"`
}

// Switch is a distributed virtual switch.
type Switch struct {
	Path       string `json:"path"`
	Datacenter string `json:"datacenter,omitempty"` // name
	UUID       string `json:"uuid,omitempty"`
	Version    string `json:"version,omitempty"`
	MTU        int    `json:"mtu,omitempty"`
	Ports      int    `json:"ports,omitempty"`
	Hosts      int    `json:"hosts"` // that are members
}

// Tag is a vSphere tag and what it is attached to.
type Tag struct {
	Category    string   `json:"category"`
	Description string   `json:"description,omitempty"`
	Objects     []string `json:"objects,omitempty"` // managed object ids, sorted
}

// VMware is what only a vSphere VM has.
type VMware struct {
	Moref        string `json:"moref"` // managed object id, "vm-12"
	InstanceUUID string `json:"instance_uuid,omitempty"`
	HostMoref    string `json:"host_moref,omitempty"`
	ClusterMoref string `json:"cluster_moref,omitempty"`
	Datacenter   string `json:"datacenter,omitempty"`    // name
	ResourcePool string `json:"resource_pool,omitempty"` // name
	Hardware     string `json:"hardware,omitempty"`      // version of the virtual hardware, "vmx-19"
	Firmware     string `json:"firmware,omitempty"`      // "bios", "efi"
	GuestID      string `json:"guest_id,omitempty"`      // as configured, "debian12_64Guest"
	Tools        string `json:"tools,omitempty"`         // "guestToolsRunning", ...
	ManagedBy    string `json:"managed_by,omitempty"`    // key of the extension that does
	// CoresPerSocket says how the processors are shown to the guest.
	CoresPerSocket   int        `json:"cores_per_socket,omitempty"`
	StorageBytes     uint64     `json:"storage_bytes,omitempty"`     // in use
	UncommittedBytes uint64     `json:"uncommitted_bytes,omitempty"` // may be used beyond that
	Booted           *time.Time `json:"booted,omitempty"`
	Networks         []string   `json:"networks,omitempty"` // names, sorted
}

// Guest is what a VM's operating system says of itself.
type Guest struct {
	OS        string   `json:"os,omitempty"` // full name, as configured if the guest does not tell
	Hostname  string   `json:"hostname,omitempty"`
	Addresses []string `json:"addresses,omitempty"` // sorted
}

// Snapshot is a snapshot of a VM.
type Snapshot struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Parent      string    `json:"parent,omitempty"` // id
	Created     time.Time `json:"created"`
	State       string    `json:"state,omitempty"` // of the VM then
	Current     bool      `json:"current,omitempty"`
}
