package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// lvmLabel is what a physical volume says of itself.
type lvmLabel struct {
	uuid string // without dashes
	text string // newest metadata; empty on a volume of no group or that keeps none
}

var errNoLabel = errors.New("no LVM label")

const (
	labelSectors = 4 // the label is in one of the first four sectors
	maxMetadata  = 16 << 20
	maxAreas     = 16
)

// readLabel reads the label and the metadata of a physical volume. The layout
// is LVM's on-disk format, little-endian: a label header (id, sector, checksum,
// offset of what follows, type), the volume's header (UUID, size, then two
// zero-ended lists of offset and size: data areas and metadata areas).
func readLabel(r io.ReaderAt) (lvmLabel, error) {
	head := make([]byte, labelSectors*sectorBytes)
	if n, err := r.ReadAt(head, 0); err != nil && (!errors.Is(err, io.EOF) || n < len(head)) {
		if errors.Is(err, io.EOF) {
			return lvmLabel{}, errNoLabel
		}
		return lvmLabel{}, err
	}
	for i := range labelSectors {
		s := head[i*sectorBytes:][:sectorBytes]
		if !bytes.HasPrefix(s, []byte("LABELONE")) || string(s[24:32]) != "LVM2 001" {
			continue
		}
		if binary.LittleEndian.Uint64(s[8:]) != uint64(i) || lvmCRC(s[20:]) != binary.LittleEndian.Uint32(s[16:]) {
			continue
		}
		return readVolumeHeader(r, s, binary.LittleEndian.Uint32(s[20:]))
	}
	return lvmLabel{}, errNoLabel
}

func readVolumeHeader(r io.ReaderAt, sector []byte, offset uint32) (lvmLabel, error) {
	const fixed = 32 + 8
	if offset > sectorBytes-fixed {
		return lvmLabel{}, fmt.Errorf("LVM label: header at %d", offset)
	}
	h := sector[offset:]
	l := lvmLabel{uuid: string(h[:32])}
	areas := h[fixed:]
	_, areas = diskAreas(areas) // data
	metadata, _ := diskAreas(areas)
	var newest uint64
	var failure error
	for _, a := range metadata {
		text, err := readMetadata(r, a)
		if err != nil {
			failure = errors.Join(failure, err)
			continue
		}
		if text == "" {
			continue
		}
		g, err := parseVolumeGroup(text)
		if err != nil {
			failure = errors.Join(failure, err)
		} else if l.text == "" || g.seqno > newest {
			l.text, newest = text, g.seqno
		}
	}
	if l.text == "" && failure != nil {
		return l, fmt.Errorf("LVM metadata: %w", failure)
	}
	return l, nil
}

type diskArea struct{ offset, size uint64 }

// diskAreas reads a list that ends with an offset of zero, and returns what
// follows it.
func diskAreas(b []byte) ([]diskArea, []byte) {
	var all []diskArea
	for len(b) >= 16 && len(all) < maxAreas {
		a := diskArea{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
		b = b[16:]
		if a.offset == 0 {
			return all, b
		}
		all = append(all, a)
	}
	return all, nil
}

// readMetadata reads the committed text of a metadata area. The area begins
// with a header of 512 bytes (checksum, magic, version, start, size, then where
// the text lies); the rest is a ring.
func readMetadata(r io.ReaderAt, a diskArea) (string, error) {
	h := make([]byte, sectorBytes)
	if a.offset > 1<<60 || a.size > 1<<40 || a.size <= sectorBytes {
		return "", fmt.Errorf("area of %d bytes at %d", a.size, a.offset)
	}
	if _, err := r.ReadAt(h, int64(a.offset)); err != nil {
		return "", err
	}
	if string(h[4:20]) != " LVM2 x[5A%r0N*>" || lvmCRC(h[4:]) != binary.LittleEndian.Uint32(h) {
		return "", fmt.Errorf("area at %d has a broken header", a.offset)
	}
	loc := h[40:]
	offset, size := binary.LittleEndian.Uint64(loc), binary.LittleEndian.Uint64(loc[8:])
	sum, flags := binary.LittleEndian.Uint32(loc[16:]), binary.LittleEndian.Uint32(loc[20:])
	const ignored = 1
	if offset == 0 || flags&ignored != 0 {
		return "", nil
	}
	if offset < sectorBytes || offset >= a.size || size > min(a.size-sectorBytes, maxMetadata) {
		return "", fmt.Errorf("area at %d: text of %d bytes at %d", a.offset, size, offset)
	}
	text := make([]byte, size)
	first := min(size, a.size-offset)
	if _, err := r.ReadAt(text[:first], int64(a.offset+offset)); err != nil {
		return "", err
	}
	if first < size {
		if _, err := r.ReadAt(text[first:], int64(a.offset+sectorBytes)); err != nil {
			return "", err
		}
	}
	if lvmCRC(text) != sum {
		return "", fmt.Errorf("area at %d: text and checksum differ", a.offset)
	}
	return string(bytes.TrimRight(text, "\x00")), nil
}

// lvmCRC is CRC-32 with LVM's own start value and without the usual inversions.
func lvmCRC(b []byte) uint32 {
	const start = 0xf597a6cf
	return ^crc32.Update(^uint32(start), crc32.IEEETable, b)
}
