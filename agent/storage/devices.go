package storage

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Devices lists block devices: disks, partitions, device-mapper and RAID
// devices, and loop devices in use. The zero value works; no privilege is
// needed. It is a [plugin.Source] and a [plugin.Watcher].
type Devices struct {
	// Root is prefixed to /sys, /proc and /run; empty means "/".
	Root string
}

// Kinds are the kinds that Devices emits.
func (*Devices) Kinds() []string { return []string{inventory.KindDevice} }

// List emits every block device.
func (d *Devices) List(ctx context.Context, emit func(plugin.Resource)) error {
	all, err := d.read(ctx)
	if err != nil {
		return fmt.Errorf("list block devices: %w", err)
	}
	ids := make(map[string]string) // by kernel name
	used := make(map[string]int)
	for _, dev := range all {
		ids[dev.Name] = deviceID(dev.Device, dev.partition)
		used[ids[dev.Name]]++
	}
	for _, dev := range all {
		if used[ids[dev.Name]] > 1 { // the paths of a multipath disk
			ids[dev.Name] = clip(ids[dev.Name] + "/" + dev.Name)
		}
	}
	for _, dev := range all {
		r := plugin.Resource{
			Key:  plugin.Key{Kind: inventory.KindDevice, ID: ids[dev.Name]},
			Name: clip(dev.Name),
			Spec: dev.Device,
		}
		if id, ok := ids[dev.Parent]; ok {
			r.Parent = plugin.Key{Kind: inventory.KindDevice, ID: id}
		}
		emit(r)
	}
	return nil
}

// device is a device and its partition number, if it is a partition.
type device struct {
	inventory.Device
	partition string
}

func (d *Devices) read(ctx context.Context) ([]device, error) {
	names, err := blockNames(d.Root)
	if err != nil {
		return nil, err
	}
	mounts, err := readMountPoints(d.Root)
	if err != nil {
		return nil, err
	}
	var all []device
	for _, name := range names {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if dev, ok := readDevice(newBlock(d.Root, name)); ok {
			dev.Mounts = mounts.of(newBlock(d.Root, name))
			all = append(all, dev)
		}
	}
	return all, nil
}

// deviceID makes the id. Partitions wear their disk's WWN and serial, and a
// device-mapper device's kernel name is given anew at each boot.
func deviceID(d inventory.Device, partition string) string {
	part := ""
	if partition != "" {
		part = "-part" + partition
	}
	mapped, isMapped := strings.CutPrefix(d.Path, "/dev/mapper/")
	switch {
	case isMapped:
		return clip("name/mapper/" + mapped)
	case d.WWN != "":
		return clip("wwn/" + d.WWN + part)
	case d.Serial != "":
		return clip("serial/" + d.Serial + part)
	}
	return clip("name/" + d.Name)
}

// readDevice reads one device; false if it is none that anybody would ask for:
// a RAM disk, a free loop device, a slot without a medium, a hidden path.
func readDevice(b block) (device, bool) {
	sectors := b.number("size")
	kind := deviceType(b)
	if kind == "" || sectors == 0 && kind != "rom" || b.read("hidden") == "1" {
		return device{}, false
	}
	disk := b
	parent := b.parent()
	if parent != "" {
		disk = newBlock(b.root, parent)
	}
	udev := readUdev(b.root, b.dev())
	out := device{partition: b.read("partition"), Device: inventory.Device{
		Name:           b.name,
		Path:           b.path(),
		Type:           kind,
		SizeBytes:      sectors * 512, // the kernel counts so, whatever the sector
		SectorBytes:    int(disk.number("queue", "logical_block_size")),
		Rotational:     disk.read("queue", "rotational") == "1",
		Removable:      disk.read("removable") == "1",
		ReadOnly:       b.read("ro") == "1",
		Parent:         parent,
		Lower:          lower(b),
		FilesystemType: udev["ID_FS_TYPE"],
		FilesystemUUID: udev["ID_FS_UUID"],
	}}
	identify(&out.Device, disk, udev)
	return out, true
}

// identify fills in what tells one disk from the next: udev's word first, which
// asked the disk, then the kernel's.
func identify(d *inventory.Device, disk block, udev map[string]string) {
	d.Model = cmp.Or(unhex(udev["ID_MODEL_ENC"]), disk.read("device", "model"))
	d.Vendor = cmp.Or(unhex(udev["ID_VENDOR_ENC"]), vendor(disk.read("device", "vendor")))
	d.Serial = cmp.Or(udev["ID_SERIAL_SHORT"], udev["ID_SCSI_SERIAL"], disk.read("device", "serial"), disk.read("serial"))
	d.WWN = cmp.Or(udev["ID_WWN_WITH_EXTENSION"], udev["ID_WWN"], disk.read("wwid"), disk.read("device", "wwid"))
	d.Transport = transport(disk, udev)
	if d.Type == "lvm" || d.Type == "crypt" || d.Type == "raid" || d.Type == "mpath" {
		// They inherit properties of what lies under them.
		d.Model, d.Vendor, d.Serial, d.WWN, d.Transport = "", "", "", "", ""
	}
}

// vendor leaves out PCI numbers, which virtio shows in place of a name.
func vendor(v string) string {
	if strings.HasPrefix(v, "0x") {
		return ""
	}
	return v
}

// deviceType returns lsblk's word for the device, or nothing if it is not
// storage.
func deviceType(b block) string {
	switch {
	case b.has("partition"):
		return "part"
	case b.has("dm"):
		return mapperType(b.read("dm", "uuid"))
	case b.has("md"):
		return "raid"
	case strings.HasPrefix(b.name, "loop"):
		return "loop"
	case strings.HasPrefix(b.name, "sr"):
		return "rom"
	case strings.HasPrefix(b.name, "ram"), strings.HasPrefix(b.name, "zram"), strings.HasPrefix(b.name, "fd"):
		return ""
	}
	return "disk"
}

// mapperType goes by the prefix that each owner of a device-mapper device gives
// its UUID.
func mapperType(uuid string) string {
	prefix, _, _ := strings.Cut(uuid, "-")
	switch p := strings.ToLower(prefix); {
	case p == "lvm", p == "crypt", p == "mpath":
		return p
	case strings.HasPrefix(p, "part"):
		return "part"
	case p == "dmraid":
		return "raid"
	}
	return "dm"
}

func transport(disk block, udev map[string]string) string {
	if bus := udev["ID_BUS"]; bus != "" {
		return bus
	}
	switch {
	case strings.HasPrefix(disk.name, "nvme"):
		return "nvme"
	case strings.HasPrefix(disk.name, "vd"):
		return "virtio"
	case strings.HasPrefix(disk.name, "mmcblk"):
		return "mmc"
	case strings.HasPrefix(disk.name, "sd"), strings.HasPrefix(disk.name, "sr"):
		return "scsi"
	}
	return ""
}

// lower returns the kernel names of what the device is built from, sorted.
func lower(b block) []string {
	entries, err := os.ReadDir(filepath.Join(b.dir, "slaves"))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

// mountPoints maps device numbers, and for file systems without one device
// paths, to mount points.
type mountPoints map[string][]string

func readMountPoints(root string) (mountPoints, error) {
	b, err := os.ReadFile(under(root, "/proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}
	mounts, err := parseMountinfo(b)
	if err != nil {
		return nil, err
	}
	out := make(mountPoints)
	for _, m := range mounts {
		switch {
		case m.Major != 0 && m.Root == "/":
			out[m.dev()] = append(out[m.dev()], m.Point)
		case m.Type == "btrfs":
			out[m.Source] = append(out[m.Source], m.Point)
		}
	}
	return out, nil
}

func (p mountPoints) of(b block) []string {
	points := slices.Concat(p[b.dev()], p[b.path()])
	slices.Sort(points)
	return slices.Compact(points)
}
