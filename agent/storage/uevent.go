package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// Watch calls changed when a block device comes, goes or changes, and when
// something is mounted or unmounted.
func (d *Devices) Watch(ctx context.Context, changed func(...plugin.Key)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var mu sync.Mutex // keeps the two from calling changed at once
	hint := func(...plugin.Key) {
		mu.Lock()
		defer mu.Unlock()
		changed()
	}
	wg.Go(func() { cancel(watchMounts(ctx, under(d.Root, "/proc/self/mountinfo"), hint)) })
	wg.Go(func() { cancel(watchUevents(ctx, hint)) })
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// The multicast groups of kernel object events: the kernel's own, and those
// that udev sends on when its database is up to date.
const (
	ueventKernel = 1 << 0
	ueventUdev   = 1 << 1
)

// watchUevents waits for events of block devices. In a network name space other
// than the first the kernel sends none, and the runner's poll has to do.
func watchUevents(ctx context.Context, changed func(...plugin.Key)) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, syscall.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return fmt.Errorf("watch block devices: %w", os.NewSyscallError("socket", err))
	}
	f := os.NewFile(uintptr(fd), "uevent")
	defer f.Close()
	err = syscall.Bind(fd, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK, Groups: ueventKernel | ueventUdev})
	if err != nil {
		return fmt.Errorf("watch block devices: %w", os.NewSyscallError("bind", err))
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch block devices: %w", err)
	}
	var stopped atomic.Bool
	defer context.AfterFunc(ctx, func() {
		stopped.Store(true)
		_ = f.SetReadDeadline(time.Unix(1, 0))
	})()
	buf := make([]byte, 8<<10) // the kernel's messages have at most 2 KiB, udev's a little more
	var broken error
	err = conn.Read(func(fd uintptr) bool {
		for !stopped.Load() {
			block, more, err := nextUevent(int(fd), buf)
			if block {
				changed()
			}
			if broken = err; err != nil || !more {
				break
			}
		}
		return broken != nil || stopped.Load()
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch block devices: %w", errors.Join(broken, err))
}

// nextUevent takes one message off the socket, and says whether it is about a
// block device. Lost messages count as one that is.
func nextUevent(fd int, buf []byte) (block, more bool, err error) {
	n, _, err := syscall.Recvfrom(fd, buf, 0)
	switch {
	case err == nil:
		return isBlockUevent(buf[:n]), true, nil
	case errors.Is(err, syscall.ENOBUFS):
		return true, true, nil
	case errors.Is(err, syscall.EAGAIN):
		return false, false, nil
	case errors.Is(err, syscall.EINTR):
		return false, true, nil
	}
	return false, false, os.NewSyscallError("recvfrom", err)
}

// isBlockUevent looks for the property in a list of zero-ended ones.
func isBlockUevent(b []byte) bool { return bytes.Contains(b, []byte("\x00SUBSYSTEM=block\x00")) }
