package storage

import (
	"cmp"
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// capacity is what statfs(2) says, in bytes.
type capacity struct {
	total, used, available uint64
	inodes, freeInodes     uint64
}

func statfs(path string) (capacity, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(path, &s)
	for errors.Is(err, syscall.EINTR) {
		err = syscall.Statfs(path, &s)
	}
	if err != nil {
		return capacity{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	// The kernel counts in fragments; the block size is a hint for I/O.
	unit := uint64(cmp.Or(s.Frsize, s.Bsize))
	return capacity{
		total:      s.Blocks * unit,
		used:       (s.Blocks - min(s.Bfree, s.Blocks)) * unit,
		available:  s.Bavail * unit,
		inodes:     s.Files,
		freeInodes: s.Ffree,
	}, nil
}

// ask measures the file system dev at path.
func (f *Filesystems) ask(ctx context.Context, dev, path string) (capacity, error) {
	measure := f.statfs
	if measure == nil {
		measure = statfs
	}
	return f.flights.do(ctx, dev, cmp.Or(f.Timeout, 2*time.Second), func() (capacity, error) { return measure(path) })
}
