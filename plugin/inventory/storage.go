package inventory

// Filesystem is a mounted file system, once, however often it is mounted.
// Its id is "uuid/<file system UUID>" where known, else "dev/<source>".
type Filesystem struct {
	Source         string   `json:"source"` // device or remote name
	Type           string   `json:"type"`   // "ext4", "nfs4"
	Mounts         []string `json:"mounts"` // mount points, sorted
	ReadOnly       bool     `json:"read_only,omitempty"`
	Network        bool     `json:"network,omitempty"`
	TotalBytes     uint64   `json:"total_bytes"`
	UsedBytes      uint64   `json:"used_bytes"`
	AvailableBytes uint64   `json:"available_bytes"` // to an ordinary user
	TotalInodes    uint64   `json:"total_inodes,omitempty"`
	FreeInodes     uint64   `json:"free_inodes,omitempty"`
	Unresponsive   bool     `json:"unresponsive,omitempty"` // statfs did not answer in time; sizes are unknown
}

// Device is a block device. Its id is "wwn/<WWN>", "serial/<serial>" or, where
// neither is known, "name/<kernel name>".
type Device struct {
	Name           string   `json:"name"` // kernel name, "sda1", "dm-0"
	Path           string   `json:"path"` // "/dev/sda1", "/dev/mapper/vg0-root"
	Type           string   `json:"type"` // "disk", "part", "lvm", "crypt", "raid", "mpath", "loop", "rom"
	SizeBytes      uint64   `json:"size_bytes"`
	SectorBytes    int      `json:"sector_bytes,omitempty"`
	Model          string   `json:"model,omitempty"`
	Vendor         string   `json:"vendor,omitempty"`
	Serial         string   `json:"serial,omitempty"`
	WWN            string   `json:"wwn,omitempty"`
	Rotational     bool     `json:"rotational,omitempty"`
	Removable      bool     `json:"removable,omitempty"`
	ReadOnly       bool     `json:"read_only,omitempty"`
	Transport      string   `json:"transport,omitempty"` // "nvme", "virtio", "scsi", "ata", "usb"
	Parent         string   `json:"parent,omitempty"`    // kernel name of the disk a partition lies on
	Lower          []string `json:"lower,omitempty"`     // kernel names of what it is built from
	FilesystemType string   `json:"filesystem_type,omitempty"`
	FilesystemUUID string   `json:"filesystem_uuid,omitempty"`
	Mounts         []string `json:"mounts,omitempty"`
}

// VolumeGroup is an LVM volume group.
type VolumeGroup struct {
	SizeBytes       uint64          `json:"size_bytes"`
	FreeBytes       uint64          `json:"free_bytes"`
	ExtentBytes     uint64          `json:"extent_bytes,omitempty"`
	PhysicalVolumes []string        `json:"physical_volumes,omitempty"`
	LogicalVolumes  []LogicalVolume `json:"logical_volumes,omitempty"`
}

// LogicalVolume is a volume of a volume group.
type LogicalVolume struct {
	Name      string `json:"name"`
	UUID      string `json:"uuid,omitempty"`
	SizeBytes uint64 `json:"size_bytes"`
	Thin      bool   `json:"thin,omitempty"`
	Active    bool   `json:"active,omitempty"`
}

// Pool is a libvirt storage pool.
type Pool struct {
	Type            string `json:"type"`  // "dir", "logical", "rbd", ...
	State           string `json:"state"` // "running", "inactive", "degraded", ...
	Persistent      bool   `json:"persistent"`
	Autostart       bool   `json:"autostart"`
	Path            string `json:"path,omitempty"`
	CapacityBytes   uint64 `json:"capacity_bytes"`
	AllocationBytes uint64 `json:"allocation_bytes"`
	AvailableBytes  uint64 `json:"available_bytes"`
}

// Volume is a volume of a libvirt storage pool, which is its parent.
type Volume struct {
	Pool            string `json:"pool"` // pool's name
	Type            string `json:"type"` // "file", "block", "dir", "network"
	Path            string `json:"path,omitempty"`
	Format          string `json:"format,omitempty"`
	CapacityBytes   uint64 `json:"capacity_bytes"`
	AllocationBytes uint64 `json:"allocation_bytes"`
}
