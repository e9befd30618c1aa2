package storage

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// Watch calls changed when something is mounted or unmounted.
func (f *Filesystems) Watch(ctx context.Context, changed func(...plugin.Key)) error {
	return watchMounts(ctx, under(f.Root, "/proc/self/mountinfo"), changed)
}

// watchMounts waits for the kernel to mark mountinfo as changed, which it does
// by an exceptional condition on the open file. Go's own poller, which is
// edge-triggered, wakes for those too: so no thread is spent on waiting. The
// first hint comes at once, for what changed before.
func watchMounts(ctx context.Context, path string, changed func(...plugin.Key)) error {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("watch mounts: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch mounts: %w", err)
	}
	var stopped atomic.Bool
	defer context.AfterFunc(ctx, func() {
		stopped.Store(true)
		_ = f.SetReadDeadline(time.Unix(1, 0))
	})()
	err = conn.Read(func(uintptr) bool {
		if !stopped.Load() {
			changed()
		}
		return stopped.Load()
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch mounts: %w", err)
}
