package inventory

// Host is the machine itself: what it is, not what it is doing.
type Host struct {
	Hostname       string         `json:"hostname"`
	OS             OS             `json:"os"`
	CPU            CPU            `json:"cpu"`
	MemoryBytes    uint64         `json:"memory_bytes"`
	SwapBytes      uint64         `json:"swap_bytes,omitempty"`
	HugePages      []HugePages    `json:"huge_pages,omitempty"`
	NUMA           []NUMANode     `json:"numa,omitempty"`
	Virtualization Virtualization `json:"virtualization"`
	Hardware       Hardware       `json:"hardware,omitzero"`
	BootID         string         `json:"boot_id,omitempty"`
}

// OS is the running operating system, from os-release(5) and uname(2).
type OS struct {
	ID         string `json:"id"`          // os-release ID, "debian"
	Version    string `json:"version"`     // os-release VERSION_ID, "12"
	PrettyName string `json:"pretty_name"` // os-release PRETTY_NAME
	Kernel     string `json:"kernel"`      // uname release
	Arch       string `json:"arch"`        // uname machine, "x86_64"
}

// CPU is the processor topology of the whole host.
type CPU struct {
	Vendor   string   `json:"vendor,omitempty"`   // "GenuineIntel"
	Model    string   `json:"model,omitempty"`    // "Intel(R) Xeon(R) ..."
	Family   int      `json:"family,omitempty"`   // CPUID family
	ModelID  int      `json:"model_id,omitempty"` // CPUID model
	Stepping int      `json:"stepping,omitempty"` // CPUID stepping
	Sockets  int      `json:"sockets"`            // physical packages
	Cores    int      `json:"cores"`              // physical cores, all sockets
	Threads  int      `json:"threads"`            // logical processors online
	MaxMHz   int      `json:"max_mhz,omitempty"`  // nominal or maximal clock, never the current one
	Features []string `json:"features,omitempty"` // kernel's flags, sorted
}

// HugePages is the pool of one page size.
type HugePages struct {
	SizeBytes uint64 `json:"size_bytes"`
	Total     uint64 `json:"total"` // pages
}

// NUMANode is one memory node.
type NUMANode struct {
	ID          int    `json:"id"`
	CPUs        string `json:"cpus"` // kernel list form, "0-3,8-11"
	MemoryBytes uint64 `json:"memory_bytes"`
	Distances   []int  `json:"distances,omitempty"`
}

// Virtualization says whether this host can run guests and is one itself.
type Virtualization struct {
	Extension string `json:"extension,omitempty"` // "vmx", "svm" or empty
	KVM       bool   `json:"kvm"`                 // /dev/kvm exists
	Nested    bool   `json:"nested,omitempty"`    // KVM may nest
	IOMMU     bool   `json:"iommu,omitempty"`     // IOMMU groups exist
	Guest     string `json:"guest,omitempty"`     // hypervisor under this host ("kvm", "vmware"); empty: physical
}

// Hardware is what the firmware says of the machine (DMI).
type Hardware struct {
	Vendor  string `json:"vendor,omitempty"`
	Product string `json:"product,omitempty"`
	Serial  string `json:"serial,omitempty"` // only where readable without root
	BIOS    string `json:"bios,omitempty"`
}

// Usage is what the host is doing now. It is not part of the inventory, which
// would otherwise change all the time: the agent samples it and sends it beside.
type Usage struct {
	CPUPercent           float64 `json:"cpu_percent"` // of all processors together, 0 to 100
	Load1                float64 `json:"load1"`
	MemoryTotalBytes     uint64  `json:"memory_total_bytes"`
	MemoryAvailableBytes uint64  `json:"memory_available_bytes"`
	DiskTotalBytes       uint64  `json:"disk_total_bytes"` // of the root file system
	DiskUsedBytes        uint64  `json:"disk_used_bytes"`
	UptimeSeconds        uint64  `json:"uptime_seconds"`
}
