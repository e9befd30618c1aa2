package ovfenv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unicode/utf16"
)

// ECMA-119, ISO 9660's twin: a disc is sectors; descriptors of volumes begin at
// the sixteenth.
const (
	sector         = 2048
	firstVolume    = 16
	maxVolumes     = 32      // descriptors that are looked at
	maxDirectory   = 1 << 20 // bytes of a root directory; environments have a disc of their own
	volumePrimary  = 1
	volumeJoliet   = 2 // a supplementary one, if it has Joliet's mark
	volumeEnd      = 255
	flagDirectory  = 1 << 1
	flagMoreExtent = 1 << 7
)

// disc reads the document from a device or an image with an ISO 9660 file
// system. Nothing is mounted.
func disc(ctx context.Context, device string) ([]byte, error) {
	// An empty drive may make an open wait for a disc.
	f, err := os.OpenFile(device, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, syscall.ENOMEDIUM) {
			return nil, errors.New("there is no disc in the drive")
		}
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return iso{from: f, ended: ctx.Err}.document()
}

// iso is an image. What it says is not believed: every length is bounded before
// that much is read.
type iso struct {
	from  io.ReaderAt
	ended func() error // nil while there is time; looked at before each read
}

// document finds the document in the root directory of a volume. A disc has one
// volume for each form of names that its writer knows.
func (d iso) document() ([]byte, error) {
	for n := int64(firstVolume); n < firstVolume+maxVolumes; n++ {
		v, err := d.read(n*sector, sector)
		if err != nil {
			return nil, fmt.Errorf("this is no ISO 9660 file system: %w", err)
		}
		if string(v[1:6]) != "CD001" {
			return nil, errors.New("this is no ISO 9660 file system")
		}
		joliet := v[0] == volumeJoliet && v[88] == '%' && v[89] == '/' && strings.IndexByte("@CE", v[90]) >= 0
		switch {
		case v[0] == volumeEnd:
			return nil, fmt.Errorf("the disc has no %s: %w", FileName, fs.ErrNotExist)
		case v[0] != volumePrimary && !joliet:
			continue
		}
		b, err := d.fromVolume(v, joliet)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	return nil, errors.New("the disc's list of volumes has no end")
}

// fromVolume looks into one volume's root directory.
func (d iso) fromVolume(volume []byte, joliet bool) ([]byte, error) {
	if size := binary.LittleEndian.Uint16(volume[128:]); size != sector {
		return nil, fmt.Errorf("the disc has blocks of %d bytes, want %d", size, sector)
	}
	at, size := extent(volume[156:])
	if size > maxDirectory {
		return nil, fmt.Errorf("the disc's root directory has %d bytes, more than %d", size, maxDirectory)
	}
	directory, err := d.read(at, size)
	if err != nil {
		return nil, fmt.Errorf("read the disc's root directory: %w", err)
	}
	record, err := find(directory, joliet)
	if err != nil {
		return nil, err
	}
	if record[25]&flagMoreExtent != 0 || record[26] != 0 || record[27] != 0 {
		return nil, fmt.Errorf("%s lies in several pieces on the disc", FileName)
	}
	at, size = extent(record)
	if size > MaxBytes {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", FileName, size, MaxBytes)
	}
	b, err := d.read(at, size)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", FileName, err)
	}
	return b, nil
}

// extent is where a directory record's file lies, and its size in bytes.
func extent(record []byte) (at, size int64) {
	return int64(binary.LittleEndian.Uint32(record[2:])) * sector, int64(binary.LittleEndian.Uint32(record[10:]))
}

// find returns the document's record. Records do not cross sectors; a length of
// zero ends a sector.
func find(directory []byte, joliet bool) ([]byte, error) {
	for len(directory) > 0 {
		n := min(sector, len(directory))
		rest := directory[:n]
		directory = directory[n:]
		for len(rest) > 0 && rest[0] != 0 {
			length := int(rest[0])
			if length < 34 || length > len(rest) || 33+int(rest[32]) > length {
				return nil, errors.New("the disc's root directory is damaged")
			}
			record := rest[:length]
			rest = rest[length:]
			if record[25]&flagDirectory == 0 && isDocument(record[33:33+int(record[32])], joliet) {
				return record, nil
			}
		}
	}
	return nil, fs.ErrNotExist
}

// isDocument compares names. Those of the strictest form are in capitals, with
// a version, and have no hyphen.
func isDocument(name []byte, joliet bool) bool {
	text := string(name)
	if joliet {
		text = utf16Text(name)
	}
	text, _, _ = strings.Cut(text, ";")
	return strings.EqualFold(text, FileName) || strings.EqualFold(text, strings.ReplaceAll(FileName, "-", "_"))
}

func utf16Text(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// read returns so many bytes or an error.
func (d iso) read(at, size int64) ([]byte, error) {
	if err := d.ended(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, io.NewSectionReader(d.from, at, size), size); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b.Bytes(), nil
}
