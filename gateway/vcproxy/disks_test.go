package vcproxy

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

// sparse writes the beginning of a sparse disk with a descriptor.
func sparse(text string) []byte {
	sectors := uint64(len(text)/sectorSize + 1)
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, sparseHeader{Magic: [4]byte{'K', 'D', 'M', 'V'}, Version: 1, Descriptor: 1, DescriptorLen: sectors}) // a buffer takes everything
	b.Write(make([]byte, sectorSize-b.Len()))
	b.WriteString(text)
	b.Write(make([]byte, (sectors+1)*sectorSize-uint64(b.Len())))
	return b.Bytes()
}

const harmless = "# Disk DescriptorFile\r\nversion=1\r\nencoding=\"UTF-8\"\r\nCID=7e5b80a7\r\nparentCID=ffffffff\r\ncreateType=\"streamOptimized\"\r\n\r\n" +
	"# Extent description\r\nRDONLY 83886080 SPARSE \"call-me-stream.vmdk\"\r\n\r\n#DDB\r\nddb.adapterType = \"lsilogic\"\r\nddb.geometry.heads = \"255\"\r\n"

func TestDescriptorsNameNoOtherFile(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		why  string // "": it is harmless
	}{
		"usual":                    {harmless, ""},
		"nothing":                  {"", ""},
		"parent":                   {harmless + "parentFileNameHint=\"/vmfs/volumes/x/a.vmdk\"\n", "parentFileNameHint"},
		"parent in capitals":       {harmless + "PARENTFILENAMEHINT = \"../a.vmdk\"\n", "another file"},
		"parent by its number":     {strings.Replace(harmless, "ffffffff", "7e5b80a8", 1), "builds on another disk"},
		"part by a path":           {harmless + "RW 8 SPARSE \"/vmfs/volumes/x/a.vmdk\"\n", "another file"},
		"part upward":              {harmless + "RW 8 SPARSE \"../x/a.vmdk\"\n", "another file"},
		"part by a path, indented": {harmless + "  RW 8 SPARSE \"x\\a.vmdk\"\n", "another file"},
		"flat part":                {harmless + "RW 8 FLAT \"a-flat.vmdk\" 0\n", "another file"},
		"part of VMFS":             {harmless + "RW 8 VMFS \"a-flat.vmdk\"\n", "another file"},
		"raw device":               {harmless + "RW 8 VMFSRDM \"a-rdm.vmdk\"\n", "another file"},
		"tracking of changes":      {harmless + "changeTrackPath=\"/vmfs/volumes/x/a-ctk.vmdk\"\n", "another file"},
		"filter":                   {harmless + "ddb.x = \"a\"\niofilters = \"x\"\n", "another file"},
	} {
		r, err := checkDisk("/folder/x.vmdk", bytes.NewReader(sparse(test.text)))
		if test.why == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, sparse(test.text)) {
				t.Errorf("%s: the content is another, %v", name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: %v, want %q", name, err, test.why)
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"it breaks off":    func(b []byte) []byte { return b[:20] },
		"too short":        func(b []byte) []byte { return b[:sectorSize+10] },
		"far behind":       func(b []byte) []byte { binary.LittleEndian.PutUint64(b[28:], 1<<20); return b },
		"more than can be": func(b []byte) []byte { binary.LittleEndian.PutUint64(b[28:], 1<<63); return b },
		"endless":          func(b []byte) []byte { binary.LittleEndian.PutUint64(b[36:], 1<<55); return b },
	} {
		if _, err := checkDisk("/folder/x.vmdk", bytes.NewReader(change(sparse(harmless)))); err == nil {
			t.Errorf("a descriptor of which %s is taken", name)
		}
	}
}

func FuzzSparseDisk(f *testing.F) {
	f.Add(sparse(harmless))
	f.Add(sparse("parentCID=0\n"))
	f.Add([]byte("KDMV"))
	f.Fuzz(func(t *testing.T, head []byte) {
		r, err := checkDisk("/folder/x.vmdk", bytes.NewReader(head))
		if err != nil {
			return
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, head) || !bytes.HasPrefix(head, []byte("KDMV")) {
			t.Errorf("the content became %q, %v", got, err)
		}
	})
}

func TestPathsAreReadInOneWay(t *testing.T) {
	for _, file := range []string{"a", "a/b.vmdk", "a b/c", "10.0.0.1_base/x", "..a/b..", "50%/x", "a%zz"} {
		if !straight(file) {
			t.Errorf("%q is no path", file)
		}
	}
	for _, file := range []string{"", "/a", "a/", "a//b", ".", "a/.", "..", "a/../b", `a\b`, "a%2e", "%2F", "a%5Cb", "a%41", "a%252e", " a", "a /b", "a\nb", "a\x00"} {
		if straight(file) {
			t.Errorf("%q is a path", file)
		}
	}
}
