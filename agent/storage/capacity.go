package storage

import (
	"cmp"
	"context"
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
	for {
		err := syscall.Statfs(path, &s)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return capacity{}, err
		}
		break
	}
	// The kernel counts in fragments; the block size is only a hint for I/O.
	unit := uint64(cmp.Or(s.Frsize, s.Bsize))
	return capacity{
		total:      s.Blocks * unit,
		used:       (s.Blocks - min(s.Bfree, s.Blocks)) * unit,
		available:  s.Bavail * unit,
		inodes:     s.Files,
		freeInodes: s.Ffree,
	}, nil
}

// probe is one statfs under way or hanging.
type probe struct {
	since time.Time
	done  chan struct{} // closed when got and err are set
	got   capacity
	err   error
}

// ask measures the file system dev at path, and gives up after the timeout or
// when ctx ends. A hanging call cannot be ended: its goroutine, the only one in
// the package that outlives the function that started it, stays until the
// kernel answers, and until then no second one is started for the same device
// and nobody waits for it again.
func (f *Filesystems) ask(ctx context.Context, dev, path string) (capacity, bool) {
	p := f.probe(dev, path)
	timer := time.NewTimer(cmp.Or(f.Timeout, 2*time.Second) - time.Since(p.since))
	defer timer.Stop()
	select {
	case <-p.done:
		return p.got, p.err == nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return capacity{}, false
}

// probe returns the probe of dev that is under way, or starts one.
func (f *Filesystems) probe(dev, path string) *probe {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.probes[dev]; ok {
		return p
	}
	p := &probe{since: time.Now(), done: make(chan struct{})}
	if f.probes == nil {
		f.probes = make(map[string]*probe)
	}
	f.probes[dev] = p
	measure := f.statfs
	if measure == nil {
		measure = statfs
	}
	go func() {
		p.got, p.err = measure(path)
		f.mu.Lock()
		delete(f.probes, dev)
		f.mu.Unlock()
		close(p.done)
	}()
	return p
}
