package vcproxy_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vmdk"

	"github.com/openpf9/openpf9/gateway/vcproxy"
	"github.com/openpf9/openpf9/internal/vcsim"
)

// imageSize is of the disk that all images hold.
const imageSize = 1 << 20

// imageDisk is the disk's content: some grains are zeros, which a sparse image
// leaves out.
func imageDisk() []byte {
	disk := make([]byte, imageSize)
	for grain := 0; grain < len(disk); grain += 3 * vmdk.GrainSize * vmdk.SectorSize {
		copy(disk[grain:], bytes.Repeat([]byte("an operating system "), 1000))
	}
	return disk
}

// makeImages writes the disk in the forms that images have.
func makeImages(t *testing.T, dir string) {
	t.Helper()
	for name, content := range map[string][]byte{"sparse.vmdk": sparse(t, imageDisk()), "flat.vmdk": imageDisk(), "boot.iso": imageDisk()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w, err := vmdk.NewStreamOptimizedWriter(filepath.Join(dir, "stream.vmdk"), imageSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(bytes.NewReader(imageDisk())); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// sparse writes a disk as one sparse file, as hypervisors on desktops do.
func sparse(t *testing.T, disk []byte) []byte {
	t.Helper()
	const grain, tables = vmdk.GrainSize * vmdk.SectorSize, 512
	h := vmdk.SparseExtentHeaderOnDisk{
		MagicNumber: vmdk.SparseMagicNumber, Version: 1, Flags: vmdk.SparseFlagValidNewlineDetector,
		Capacity: uint64(len(disk) / vmdk.SectorSize), GrainSize: vmdk.GrainSize, NumGTEsPerGT: tables,
		GDOffset: 1, Overhead: vmdk.GrainSize, SingleEndLine: '\n', NonEndLine: ' ', DoubleEndLineChar1: '\r', DoubleEndLineChar2: '\n',
	}
	table, data := make([]uint32, tables), []byte(nil)
	for i := range len(disk) / grain {
		one := disk[i*grain : (i+1)*grain]
		if len(bytes.Trim(one, "\x00")) > 0 {
			table[i] = uint32(h.Overhead) + uint32(len(data)/vmdk.SectorSize)
			data = append(data, one...)
		}
	}
	var out bytes.Buffer
	directory := make([]uint32, vmdk.SectorSize/4)
	directory[0] = 2 // the only table follows
	for _, part := range []any{h, directory, table} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return append(append(out.Bytes(), make([]byte, int(h.Overhead)*vmdk.SectorSize-out.Len())...), data...)
}

// What nova does with images, in parts; nova itself is there with -long only.
func TestImagesOnTheirWay(t *testing.T) {
	s, inv := partStandWith(t, vcproxy.Limits{}, vcsim.Complete)
	store := inv.ref(t, "Datastore", "LocalDS_0")
	inv.twins()
	makeImages(t, s.dir)
	vc := s.client(t)
	ctx, dc := t.Context(), inv.ref(t, "Datacenter", "DC0")
	s.must(t, "datastore.upload", "-ds=LocalDS_0", filepath.Join(s.dir, "sparse.vmdk"), "images/sparse.vmdk")
	done := func(ref vcproxy.Ref) any {
		t.Helper()
		info, err := object.NewTask(vc, ref).WaitForResult(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return info.Result
	}
	copied, err := methods.CopyVirtualDisk_Task(ctx, vc, &types.CopyVirtualDisk_Task{
		This: *vc.ServiceContent.VirtualDiskManager, SourceName: "[LocalDS_0] images/sparse.vmdk", SourceDatacenter: &dc, DestName: "[LocalDS_0] images/disk.vmdk",
	})
	if err != nil {
		t.Fatal(err)
	}
	done(copied.Returnval)
	back := filepath.Join(s.dir, "back")
	s.must(t, "datastore.download", "-ds=LocalDS_0", "images/disk-flat.vmdk", back)
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, imageDisk()) {
		t.Errorf("the disk came back with %d bytes, %v", len(got), err)
	}
	var ds mo.Datastore
	if err := property.DefaultCollector(vc).RetrieveOne(ctx, store, []string{"browser"}, &ds); err != nil {
		t.Fatal(err)
	}
	search, err := methods.SearchDatastore_Task(ctx, vc, &types.SearchDatastore_Task{This: ds.Browser, DatastorePath: "[LocalDS_0] images"})
	if err != nil {
		t.Fatal(err)
	}
	if found := done(search.Returnval).(types.HostDatastoreBrowserSearchResults); len(found.File) != 3 {
		t.Errorf("%d files are there, want 3", len(found.File))
	}
	machine := inv.ref(t, "VirtualMachine", "DC0_C0_RP0_VM0")
	ticket, err := methods.AcquireTicket(ctx, vc, &types.AcquireTicket{This: machine, TicketType: "webmks"})
	if err != nil || ticket.Returnval.Ticket == "" || ticket.Returnval.SslThumbprint == "" {
		t.Errorf("the console's ticket is %v, %v", ticket, err)
	}
	export, err := methods.ExportVm(ctx, vc, &types.ExportVm{This: machine})
	if err != nil {
		t.Fatal(err)
	}
	l := nfc.NewLease(vc, export.Returnval)
	info, err := l.Wait(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.StartUpdater(ctx, info).Done()
	if err := l.DownloadFile(ctx, back, info.Items[0], soap.DefaultDownload); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(back); err != nil || !strings.HasPrefix(string(got), "# Disk DescriptorFile") {
		t.Errorf("the machine's disk came as %.40q, %v", got, err)
	}
	if err := l.Complete(ctx); err != nil {
		t.Error(err)
	}
	s.noSecret(t)
}
