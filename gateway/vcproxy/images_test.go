package vcproxy_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmware/govmomi/vmdk"
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
