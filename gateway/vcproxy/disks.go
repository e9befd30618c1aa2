package vcproxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// A disk says in its descriptor which files it consists of and on which other it
// builds, by whatever path. Descriptors are therefore vCenter's to write. Clients
// send sparse disks, which have one inside that is looked at, and the contents of
// disks that vCenter has made.

// sparseHeader is how a sparse disk begins; what is behind it is not looked at.
type sparseHeader struct {
	Magic                     [4]byte
	Version, Flags            uint32
	Capacity, Grain           uint64
	Descriptor, DescriptorLen uint64 // in sectors
}

const (
	sectorSize  = 512
	lookedAtMax = 64 << 10 // bytes of an upload that are looked at; usual ones have their descriptor in 11 KiB
)

// checkDisk looks at the beginning of a file that a client sends and returns the
// file with it. Files that are no disks may have any content.
func checkDisk(name string, content io.Reader) (io.Reader, error) {
	if ending(name) != ".vmdk" {
		return content, nil
	}
	r := bufio.NewReaderSize(content, lookedAtMax)
	head, err := r.Peek(lookedAtMax)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("KDMV")):
		return r, checkSparse(head)
	case isExtent(name) && !bytes.HasPrefix(bytes.TrimSpace(head), []byte("#")) && !bytes.HasPrefix(head, []byte("COWD")):
		return r, nil
	}
	return nil, errors.New("this is no sparse disk: have vCenter create or import the disk, and send the contents to its -flat.vmdk")
}

func checkSparse(head []byte) error {
	var h sparseHeader
	if err := binary.Read(bytes.NewReader(head), binary.LittleEndian, &h); err != nil {
		return fmt.Errorf("the sparse disk breaks off: %w", err)
	}
	if h.Descriptor == 0 {
		return nil // it says nothing
	}
	const sectors = lookedAtMax / sectorSize
	if h.Descriptor > sectors || h.DescriptorLen > sectors || (h.Descriptor+h.DescriptorLen)*sectorSize > uint64(len(head)) {
		return errors.New("the descriptor of the sparse disk is not at its beginning")
	}
	text, _, _ := bytes.Cut(head[h.Descriptor*sectorSize:(h.Descriptor+h.DescriptorLen)*sectorSize], []byte{0})
	return checkDescriptor(string(text))
}

var (
	// ownExtent is a part that is the file itself, whatever it was called before.
	ownExtent = regexp.MustCompile(`^(RW|RDONLY) [0-9]+ SPARSE "[^"/\\]+\.vmdk"$`)
	// descriptorKeys say nothing of other files. So do those of ddb.
	descriptorKeys = []string{"version", "encoding", "cid", "parentcid", "isnativesnapshot", "createtype"}
)

// checkDescriptor wants a descriptor to name no other file.
func checkDescriptor(text string) error {
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.TrimSpace(line)
		key, value, pair := strings.Cut(line, "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.Trim(value, ` "`)
		switch {
		case line == "" || line[0] == '#' || ownExtent.MatchString(line):
		case !pair || !slices.Contains(descriptorKeys, key) && !strings.HasPrefix(key, "ddb."):
			return fmt.Errorf("the descriptor of the sparse disk has the line %.80q, which may lead to another file", line)
		case key == "parentcid" && !strings.EqualFold(value, "ffffffff"):
			return errors.New("the sparse disk builds on another disk: send the whole disk")
		}
	}
	return nil
}
