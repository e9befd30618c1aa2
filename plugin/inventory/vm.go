package inventory

// The states of a VM. They are libvirt's, under one name each.
const (
	VMRunning      = "running"
	VMBlocked      = "blocked" // running, waiting for a resource
	VMPaused       = "paused"
	VMShuttingDown = "shutting_down"
	VMShutOff      = "shut_off"
	VMCrashed      = "crashed"
	VMSuspended    = "suspended" // guest power management
	VMUnknown      = "unknown"
)

// VM is a virtual machine, of whatever hypervisor.
type VM struct {
	State          string    `json:"state"`
	StateReason    string    `json:"state_reason,omitempty"` // "booted", "destroyed", "crashed", "failed", ...
	Hypervisor     string    `json:"hypervisor"`             // "qemu", "kvm", "test", "vmware"
	Persistent     bool      `json:"persistent"`
	Autostart      bool      `json:"autostart"`
	VCPUs          int       `json:"vcpus"`
	MaxVCPUs       int       `json:"max_vcpus"`
	MemoryBytes    uint64    `json:"memory_bytes"`
	MaxMemoryBytes uint64    `json:"max_memory_bytes"`
	Arch           string    `json:"arch,omitempty"`
	Machine        string    `json:"machine,omitempty"`
	OSType         string    `json:"os_type,omitempty"`
	Title          string    `json:"title,omitempty"`
	Description    string    `json:"description,omitempty"`
	Disks          []Disk    `json:"disks,omitempty"`
	NICs           []NIC     `json:"nics,omitempty"`
	Console        []Console `json:"console,omitempty"`
	Nova           *Nova     `json:"nova,omitempty"`

	// Of a VM that a vCenter manages.

	UUID       string     `json:"uuid,omitempty"`       // that its firmware shows
	Host       string     `json:"host,omitempty"`       // name of the ESXi host it is on
	Cluster    string     `json:"cluster,omitempty"`    // name
	Path       string     `json:"path,omitempty"`       // in the inventory, "/dc/vm/folder/name"
	Datastores []string   `json:"datastores,omitempty"` // names, sorted
	Guest      *Guest     `json:"guest,omitempty"`
	Snapshots  []Snapshot `json:"snapshots,omitempty"` // each after its parent
	Warnings   []string   `json:"warnings,omitempty"`
	VMware     *VMware    `json:"vmware,omitempty"`
}

// Disk is a disk of a VM.
type Disk struct {
	Target          string `json:"target"`           // "vda"
	Bus             string `json:"bus,omitempty"`    // "virtio"
	Device          string `json:"device,omitempty"` // "disk", "cdrom"
	Type            string `json:"type,omitempty"`   // "file", "block", "network", "volume"
	Source          string `json:"source,omitempty"` // path, device or name
	Format          string `json:"format,omitempty"` // "qcow2"
	ReadOnly        bool   `json:"read_only,omitempty"`
	CapacityBytes   uint64 `json:"capacity_bytes,omitempty"`   // what the guest sees; 0: unknown
	AllocationBytes uint64 `json:"allocation_bytes,omitempty"` // what the host has given; 0: unknown
}

// NIC is a network interface of a VM.
type NIC struct {
	MAC    string `json:"mac"`
	Model  string `json:"model,omitempty"`  // "virtio"
	Type   string `json:"type,omitempty"`   // "bridge", "network", "ethernet", "direct"
	Source string `json:"source,omitempty"` // bridge, network or device
	Target string `json:"target,omitempty"` // the host's end, "vnet0"
	VLAN   int    `json:"vlan,omitempty"`
}

// Console is a way to a VM's screen. Passwords are never read.
type Console struct {
	Type   string `json:"type"`             // "vnc", "spice", "serial"
	Listen string `json:"listen,omitempty"` // address or socket
	Port   int    `json:"port,omitempty"`   // 0: none yet
}

// Nova is what OpenStack Nova wrote into a VM's metadata.
type Nova struct {
	Name    string `json:"name,omitempty"`
	Flavor  string `json:"flavor,omitempty"`
	User    string `json:"user,omitempty"`    // user UUID
	Project string `json:"project,omitempty"` // project UUID
	Image   string `json:"image,omitempty"`   // root image UUID
	Created string `json:"created,omitempty"` // as Nova wrote it
	Package string `json:"package,omitempty"` // nova version
}

// VMStats is one sample of what a VM uses. Counters start with the VM's start.
type VMStats struct {
	ID                 string      `json:"id"` // domain UUID
	Name               string      `json:"name"`
	State              string      `json:"state"`
	CPUTimeNanoseconds uint64      `json:"cpu_time_ns"`
	VCPUs              int         `json:"vcpus"`
	MemoryBytes        uint64      `json:"memory_bytes"` // balloon's current size
	ResidentBytes      uint64      `json:"resident_bytes,omitempty"`
	Disks              []DiskStats `json:"disks,omitempty"`
	NICs               []NICStats  `json:"nics,omitempty"`
}

// DiskStats counts a VM disk's traffic.
type DiskStats struct {
	Target        string `json:"target"`
	ReadBytes     uint64 `json:"read_bytes"`
	ReadRequests  uint64 `json:"read_requests"`
	WriteBytes    uint64 `json:"write_bytes"`
	WriteRequests uint64 `json:"write_requests"`
}

// NICStats counts a VM interface's traffic, as the host sees it.
type NICStats struct {
	Target          string `json:"target"`
	ReceiveBytes    uint64 `json:"receive_bytes"`
	ReceivePackets  uint64 `json:"receive_packets"`
	TransmitBytes   uint64 `json:"transmit_bytes"`
	TransmitPackets uint64 `json:"transmit_packets"`
}
