package storage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

// blocks makes /sys/class/block of devices that are given as "name" or, for a
// partition, "disk/name", each with its attributes.
func blocks(t *testing.T, devices map[string]map[string]string, files map[string]string) string {
	t.Helper()
	root := tree(t, files)
	h := lvmHost{root, t}
	for path, attrs := range devices {
		dir := "sys/devices/virtual/block/" + path
		for name, value := range attrs {
			h.write(filepath.Join(dir, name), value+"\n")
		}
		link := filepath.Join(root, "sys/class/block", filepath.Base(path))
		if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../devices/virtual/block/"+path, link); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// storageServer has disks of every sort that is told apart.
func storageServer(t *testing.T) string {
	return blocks(t, map[string]map[string]string{
		"sda": {
			"dev": "8:0", "size": "2048000", "ro": "0", "removable": "0", "queue/logical_block_size": "512", "queue/rotational": "1",
			"device/vendor": "SEAGATE", "device/model": "ST1000",
		},
		"sda/sda1": {"dev": "8:1", "size": "1024000", "partition": "1", "ro": "0"},
		"sda/sda2": {"dev": "8:2", "size": "1000000", "partition": "2", "ro": "0"},
		"sdb":      {"dev": "8:16", "size": "2048000", "queue/rotational": "0"},
		"sdc":      {"dev": "8:32", "size": "2048000", "queue/rotational": "0"},
		"nvme0n1": {
			"dev": "259:0", "size": "4096000", "queue/logical_block_size": "4096", "queue/rotational": "0", "ro": "0",
			"wwid": "eui.0025388b710116a1", "device/model": "Samsung SSD 980", "device/serial": "S64DNF0R",
		},
		"nvme0c0n1": {"dev": "259:9", "size": "4096000", "hidden": "1"},
		"vda":       {"dev": "254:0", "size": "8192", "serial": "disk-one", "device/vendor": "0x1af4"},
		"dm-0":      {"dev": "253:0", "size": "800000", "dm/name": "vg-root", "dm/uuid": "LVM-abc", "slaves/sda2/x": ""},
		"dm-1":      {"dev": "253:1", "size": "700000", "dm/name": "secret", "dm/uuid": "CRYPT-LUKS2-1", "slaves/dm-0/x": ""},
		"dm-2":      {"dev": "253:2", "size": "2048000", "dm/name": "mpatha", "dm/uuid": "mpath-3600", "slaves/sdb/x": "", "slaves/sdc/x": ""},
		"md0":       {"dev": "9:0", "size": "4000", "md/level": "raid1", "slaves/vda/x": ""},
		"loop0":     {"dev": "7:0", "size": "0"},
		"loop1":     {"dev": "7:1", "size": "100", "ro": "1"},
		"sr0":       {"dev": "11:0", "size": "0", "removable": "1"},
		"zram0":     {"dev": "252:0", "size": "1000"},
	}, map[string]string{
		"proc/self/mountinfo":  "30 22 253:1 / /data rw - xfs /dev/mapper/secret rw\n31 22 253:1 /sub /bind rw - xfs /dev/mapper/secret rw\n32 1 8:1 / /boot rw - ext4 /dev/sda1 rw\n",
		"run/udev/data/b8:0":   "E:ID_WWN_WITH_EXTENSION=0x5000c500\nE:ID_SERIAL_SHORT=Z1D\nE:ID_MODEL_ENC=ST1000NM\\x20\\x20\nE:ID_BUS=ata\n",
		"run/udev/data/b8:1":   "E:ID_WWN_WITH_EXTENSION=0x5000c500\nE:ID_SERIAL_SHORT=Z1D\nE:ID_FS_TYPE=ext4\nE:ID_FS_UUID=boot-uuid\n",
		"run/udev/data/b8:16":  "E:ID_WWN=0x6006\n",
		"run/udev/data/b8:32":  "E:ID_WWN=0x6006\n",
		"run/udev/data/b253:2": "E:ID_SERIAL_SHORT=3600\nE:ID_WWN=0x6006\n",
		"run/udev/data/b253:1": "E:ID_FS_TYPE=xfs\nE:ID_FS_UUID=data-uuid\n",
	})
}

func TestDevicesOfAServer(t *testing.T) {
	got := make(map[string]inventory.Device)
	parents := make(map[string]string)
	err := (&Devices{Root: storageServer(t)}).List(t.Context(), func(r plugin.Resource) {
		got[r.ID] = r.Spec.(inventory.Device)
		parents[r.ID] = r.Parent.ID
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]inventory.Device{
		"wwn/0x5000c500": {
			Name: "sda", Path: "/dev/sda", Type: "disk", SizeBytes: 2048000 * 512, SectorBytes: 512, Model: "ST1000NM", Vendor: "SEAGATE",
			Serial: "Z1D", WWN: "0x5000c500", Rotational: true, Transport: "ata",
		},
		"wwn/0x5000c500-part1": {
			Name: "sda1", Path: "/dev/sda1", Type: "part", SizeBytes: 1024000 * 512, SectorBytes: 512, Model: "ST1000", Vendor: "SEAGATE",
			Serial: "Z1D", WWN: "0x5000c500", Rotational: true, Transport: "scsi", Parent: "sda",
			FilesystemType: "ext4", FilesystemUUID: "boot-uuid", Mounts: []string{"/boot"},
		},
		"name/sda2": {
			Name: "sda2", Path: "/dev/sda2", Type: "part", SizeBytes: 1000000 * 512, SectorBytes: 512, Model: "ST1000", Vendor: "SEAGATE",
			Rotational: true, Transport: "scsi", Parent: "sda",
		},
		"wwn/0x6006/sdb": {Name: "sdb", Path: "/dev/sdb", Type: "disk", SizeBytes: 2048000 * 512, WWN: "0x6006", Transport: "scsi"},
		"wwn/0x6006/sdc": {Name: "sdc", Path: "/dev/sdc", Type: "disk", SizeBytes: 2048000 * 512, WWN: "0x6006", Transport: "scsi"},
		"wwn/eui.0025388b710116a1": {
			Name: "nvme0n1", Path: "/dev/nvme0n1", Type: "disk", SizeBytes: 4096000 * 512, SectorBytes: 4096, Model: "Samsung SSD 980",
			Serial: "S64DNF0R", WWN: "eui.0025388b710116a1", Transport: "nvme",
		},
		"serial/disk-one":     {Name: "vda", Path: "/dev/vda", Type: "disk", SizeBytes: 8192 * 512, Serial: "disk-one", Transport: "virtio"},
		"name/mapper/vg-root": {Name: "dm-0", Path: "/dev/mapper/vg-root", Type: "lvm", SizeBytes: 800000 * 512, Lower: []string{"sda2"}},
		"name/mapper/secret": {
			Name: "dm-1", Path: "/dev/mapper/secret", Type: "crypt", SizeBytes: 700000 * 512, Lower: []string{"dm-0"},
			FilesystemType: "xfs", FilesystemUUID: "data-uuid", Mounts: []string{"/data"},
		},
		"name/mapper/mpatha": {Name: "dm-2", Path: "/dev/mapper/mpatha", Type: "mpath", SizeBytes: 2048000 * 512, Lower: []string{"sdb", "sdc"}},
		"name/md0":           {Name: "md0", Path: "/dev/md0", Type: "raid", SizeBytes: 4000 * 512, Lower: []string{"vda"}},
		"name/loop1":         {Name: "loop1", Path: "/dev/loop1", Type: "loop", SizeBytes: 100 * 512, ReadOnly: true},
		"name/sr0":           {Name: "sr0", Path: "/dev/sr0", Type: "rom", Removable: true, Transport: "scsi"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	if p := parents["wwn/0x5000c500-part1"]; p != "wwn/0x5000c500" {
		t.Errorf("parent of sda1 is %q", p)
	}
}

func TestDevicesOfAServerConform(t *testing.T) {
	root := storageServer(t)
	plugintest.Run(t, plugintest.Options{
		New:   func(*testing.T) plugin.Source { return &Devices{Root: root} },
		Kinds: (*Devices)(nil).Kinds(),
	})
}

func TestLongNamesMakeValidIDs(t *testing.T) {
	d := inventory.Device{Name: "dm-1", Path: "/dev/mapper/" + strings.Repeat("x", 400)}
	if id := deviceID(d, ""); len(id) != 255 {
		t.Errorf("id of %d bytes", len(id))
	}
}
