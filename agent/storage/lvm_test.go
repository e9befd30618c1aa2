package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

const (
	vgUUID  = "vYRRKs-757o-KZ3W-fE9P-uPKA-gd7N-zQ3cLe"
	pv0UUID = "uVYjHN-NOyJ-IXDZ-gxGJ-Pwe1-096o-YiTLlt"
	pv1UUID = "QTUxur-eUtP-3YEQ-3h7y-sSaF-c6EP-90aC2i"
)

// testGroup is what vgs and lvs print of the volumes in testdata/lvm, which
// LVM 2.03.16 wrote.
func testGroup(devices ...string) inventory.VolumeGroup {
	return inventory.VolumeGroup{
		SizeBytes: 125829120, FreeBytes: 71303168, ExtentBytes: 4194304,
		PhysicalVolumes: devices,
		LogicalVolumes: []inventory.LogicalVolume{
			{Name: "fast", UUID: "AAAAAA-0000-0000-0000-0000-0000-000002", SizeBytes: 16777216},
			{Name: "pool", UUID: "AAAAAA-0000-0000-0000-0000-0000-000003", SizeBytes: 12582912},
			{Name: "root", UUID: "AAAAAA-0000-0000-0000-0000-0000-000001", SizeBytes: 20971520},
			{Name: "thin0", UUID: "AAAAAA-0000-0000-0000-0000-0000-000004", SizeBytes: 209715200, Thin: true},
		},
	}
}

// lvmHost is a tree with two disks, one volume active, and whatever else is
// asked for.
type lvmHost struct {
	root string
	t    *testing.T
}

func newLVMHost(t *testing.T) lvmHost {
	h := lvmHost{t.TempDir(), t}
	h.write("proc/self/mountinfo", "")
	for i, name := range []string{"sda", "sdb"} {
		h.write("sys/class/block/"+name+"/size", "131072\n")
		h.write("sys/class/block/"+name+"/dev", fmt.Sprintf("8:%d\n", i))
	}
	return h
}

func (h lvmHost) write(path, text string) {
	h.t.Helper()
	path = filepath.Join(h.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h lvmHost) read(path string) string {
	h.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

func (h lvmHost) disks() {
	h.write("dev/sda", h.read("testdata/lvm/pv0.img"))
	h.write("dev/sdb", h.read("testdata/lvm/pv1.img"))
}

func (h lvmHost) udev() {
	h.write("run/udev/data/b8:0", "E:ID_FS_TYPE=LVM2_member\nE:ID_FS_UUID="+pv0UUID+"\n")
	h.write("run/udev/data/b8:1", "E:ID_FS_TYPE=LVM2_member\nE:ID_FS_UUID="+pv1UUID+"\n")
}

func (h lvmHost) active() {
	h.write("sys/class/block/dm-0/size", "40960\n")
	h.write("sys/class/block/dm-0/dev", "253:0\n")
	h.write("sys/class/block/dm-0/dm/name", "vgtest-root\n")
	h.write("sys/class/block/dm-0/dm/uuid", "LVM-"+bare(vgUUID)+bare("AAAAAA-0000-0000-0000-0000-0000-000001")+"\n")
}

func (h lvmHost) list() ([]plugin.Resource, error) {
	var all []plugin.Resource
	err := (&LVM{Root: h.root}).List(h.t.Context(), func(r plugin.Resource) { all = append(all, r) })
	return all, err
}

func (h lvmHost) lists(spec inventory.VolumeGroup) {
	h.t.Helper()
	got, err := h.list()
	if err != nil {
		h.t.Fatal(err)
	}
	want := []plugin.Resource{{Key: plugin.Key{Kind: inventory.KindVolumeGroup, ID: vgUUID}, Name: "vgtest", Spec: spec}}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("volume groups (-want +got):\n%s", diff)
	}
}

func TestVolumeGroupsAreReadFromTheirDisks(t *testing.T) {
	h := newLVMHost(t)
	h.disks()
	h.lists(testGroup("/dev/sda", "/dev/sdb"))
}

func TestActiveLogicalVolumesAreMarked(t *testing.T) {
	h := newLVMHost(t)
	h.disks()
	h.active()
	want := testGroup("/dev/sda", "/dev/sdb")
	want.LogicalVolumes[2].Active = true
	h.lists(want)
}

func TestTheBackupStandsInForUnreadableDisks(t *testing.T) {
	h := newLVMHost(t)
	h.udev()
	h.write("etc/lvm/backup/vgtest", h.read("testdata/lvm/vgtest"))
	h.write("etc/lvm/backup/other", strings.NewReplacer("vgtest", "other", vgUUID, "xxxxxx", pv0UUID, "gone0", pv1UUID, "gone1").Replace(h.read("testdata/lvm/vgtest")))
	h.lists(testGroup("/dev/sda", "/dev/sdb"))
}

func TestAHiddenGroupIsAnErrorThatNamesTheRemedy(t *testing.T) {
	h := newLVMHost(t)
	h.udev()
	got, err := h.list()
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || len(got) != 0 {
		t.Fatalf("List = %v, %v, want nothing and an error that wraps fs.ErrPermission only", got, err)
	}
	for _, part := range []string{"/dev/sda", "/etc/lvm/backup"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not name %s", err, part)
		}
	}
}

func TestAnActiveVolumeOfAHiddenGroupIsAnError(t *testing.T) {
	h := newLVMHost(t)
	h.active()
	if _, err := h.list(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("List = %v, want an error that wraps fs.ErrPermission", err)
	}
}

func TestNoPhysicalVolumeIsAbsence(t *testing.T) {
	h := newLVMHost(t)
	h.write("dev/sda", strings.Repeat("x", 4096))
	_, err := h.list()
	if !errors.Is(err, ErrAbsent) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List = %v, want ErrAbsent", err)
	}
}

func TestADamagedDiskIsAnErrorNotAnAbsence(t *testing.T) {
	h := newLVMHost(t)
	h.disks()
	h.udev()
	for disk, image := range map[string]string{"sda": "pv0.img", "sdb": "pv1.img"} {
		h.write("dev/"+disk, strings.Replace(h.read("testdata/lvm/"+image), "extent_size", "extent_sizE", -1))
	}
	_, err := h.list()
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List = %v, want the damage", err)
	}
}

func TestLVMConforms(t *testing.T) {
	h := newLVMHost(t)
	h.disks()
	h.active()
	plugintest.Run(t, plugintest.Options{
		New:   func(*testing.T) plugin.Source { return &LVM{Root: h.root} },
		Kinds: (*LVM)(nil).Kinds(),
	})
}

func FuzzParseVolumeGroup(f *testing.F) {
	b, err := os.ReadFile("testdata/lvm/vgtest")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add("a { id = \"x\" extent_size = 8 b = [ 1, \"\\\"\", [] ] } # end")
	f.Fuzz(func(t *testing.T, text string) {
		g, err := parseVolumeGroup(text)
		if err == nil && (g.uuid == "" || g.spec.FreeBytes > g.spec.SizeBytes) {
			t.Errorf("%+v", g)
		}
	})
}

// FuzzReadLabel gives every image the right checksums, or nothing past them
// would ever be reached.
func FuzzReadLabel(f *testing.F) {
	b, err := os.ReadFile("testdata/lvm/pv0.img")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:8704])
	f.Fuzz(func(t *testing.T, image []byte) {
		if len(image) >= 4096+sectorBytes {
			binary.LittleEndian.PutUint32(image[sectorBytes+16:], lvmCRC(image[sectorBytes+20:2*sectorBytes]))
			binary.LittleEndian.PutUint32(image[4096:], lvmCRC(image[4100:4096+sectorBytes]))
		}
		l, err := readLabel(bytes.NewReader(image))
		if err == nil && len(l.uuid) != 32 {
			t.Errorf("uuid %q", l.uuid)
		}
	})
}
