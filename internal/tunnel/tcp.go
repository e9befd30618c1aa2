package tunnel

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	notSent     = 64 << 10 // bytes that the kernel takes before it can send them
	sendBuffer  = 16 << 20 // asked for; the kernel gives net.core.wmem_max at most
	userTimeout = 30 * time.Second
)

// prepareTCP keeps the kernel's own queue short, so that what is urgent does
// not stand behind it, and lets one connection fill a long path. Connections
// that are not TCP stay as they are.
func prepareTCP(c net.Conn) {
	sc, ok := under(c).(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	// Every option is a help, none is needed.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	})
}

// under finds the connection below TLS and our own wrapping.
func under(c net.Conn) net.Conn {
	for {
		switch w := c.(type) {
		case *tls.Conn:
			c = w.NetConn()
		case *corked:
			c = w.Conn
		default:
			return c
		}
	}
}
