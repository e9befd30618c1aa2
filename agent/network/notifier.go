package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// notifier is an rtnetlink socket that the kernel sends changes to. It does not
// use the library's subscriptions: those parse every message into a fresh
// 64 KiB buffer and end at the first overflow, while here nothing but the fact
// of a change is of interest.
type notifier struct {
	file    *os.File
	conn    syscall.RawConn
	stopped atomic.Bool
}

// The multicast groups of <linux/rtnetlink.h>, as bits.
const (
	groupLink   = 1 << 0
	groupAddr4  = 1 << 4
	groupRoute4 = 1 << 6
	groupAddr6  = 1 << 8
	groupRoute6 = 1 << 10
)

func newNotifier(buffer int) (*notifier, error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, syscall.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	n := &notifier{file: os.NewFile(uintptr(fd), "rtnetlink")}
	if err := n.start(fd, buffer); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *notifier) start(fd, buffer int) error {
	// Without CAP_NET_ADMIN the second call caps the size at rmem_max.
	if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, buffer) != nil {
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer); err != nil {
			return fmt.Errorf("set receive buffer: %w", err)
		}
	}
	if err := attachFilter(fd); err != nil {
		return fmt.Errorf("attach route filter: %w", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK, Groups: groupLink | groupAddr4 | groupRoute4 | groupAddr6 | groupRoute6}); err != nil {
		return fmt.Errorf("subscribe to rtnetlink: %w", err)
	}
	var err error
	n.conn, err = n.file.SyscallConn()
	return err
}

// routeFilter keeps routes other than the default ones from ever waking the
// agent: a host that speaks BGP changes thousands in a second. It is a classic
// BPF program over struct nlmsghdr (type at 4, body at 16) and struct rtmsg
// (destination length at 1). BPF loads in network byte order, the header is in
// the machine's: so the constants are turned.
func routeFilter() []syscall.SockFilter {
	turned := func(v uint16) uint32 {
		b := binary.NativeEndian.AppendUint16(nil, v)
		return uint32(binary.BigEndian.Uint16(b))
	}
	const (
		loadHalf = syscall.BPF_LD | syscall.BPF_H | syscall.BPF_ABS
		loadByte = syscall.BPF_LD | syscall.BPF_B | syscall.BPF_ABS
		jumpEq   = syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K
		ret      = syscall.BPF_RET | syscall.BPF_K
	)
	return []syscall.SockFilter{
		{Code: loadHalf, K: 4},
		{Code: jumpEq, K: turned(syscall.RTM_NEWROUTE), Jt: 1},
		{Code: jumpEq, K: turned(syscall.RTM_DELROUTE), Jf: 2},
		{Code: loadByte, K: syscall.NLMSG_HDRLEN + 1},
		{Code: jumpEq, K: 0, Jf: 1},
		{Code: ret, K: 0xffffffff}, // accept
		{Code: ret, K: 0},          // drop
	}
}

func attachFilter(fd int) error {
	code := routeFilter()
	prog := syscall.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := syscall.Syscall6(syscall.SYS_SETSOCKOPT, uintptr(fd), syscall.SOL_SOCKET, syscall.SO_ATTACH_FILTER,
		uintptr(unsafe.Pointer(&prog)), unsafe.Sizeof(prog), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// drainLimit is how many messages at most are taken before changed is called.
const drainLimit = 4096

// run calls changed once for the messages that have come in since the last
// call; lost says that some were dropped. It ends at wake or on an error.
func (n *notifier) run(changed func(lost bool)) error {
	var broken error
	err := n.conn.Read(func(fd uintptr) bool {
		for more := true; more && broken == nil && !n.stopped.Load(); {
			var some, lost bool
			some, lost, more, broken = drain(int(fd))
			if some {
				changed(lost)
			}
		}
		return broken != nil || n.stopped.Load()
	})
	if broken != nil {
		return fmt.Errorf("read rtnetlink: %w", broken)
	}
	return err
}

// drain takes messages off the socket; more says that some may be left. The
// body of a message is not looked at: the filter has.
func drain(fd int) (some, lost, more bool, err error) {
	var buf [syscall.NLMSG_HDRLEN]byte
	for range drainLimit {
		_, from, err := syscall.Recvfrom(fd, buf[:], 0)
		switch {
		case err == nil:
			a, ok := from.(*syscall.SockaddrNetlink)
			some = some || ok && a.Pid == 0 // only the kernel is believed
		case errors.Is(err, syscall.ENOBUFS):
			some, lost = true, true
		case errors.Is(err, syscall.EAGAIN):
			return some, lost, false, nil
		case !errors.Is(err, syscall.EINTR):
			return some, lost, false, err
		}
	}
	return some, lost, true, nil
}

// wake makes run return.
func (n *notifier) wake() {
	n.stopped.Store(true)
	_ = n.file.SetReadDeadline(time.Unix(1, 0))
}

func (n *notifier) close() { _ = n.file.Close() }
