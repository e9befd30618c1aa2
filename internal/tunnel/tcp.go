package tunnel

import (
	"crypto/tls"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	notSent     = 64 << 10 // bytes that the kernel takes before it can send them
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
		if size := sendBuffer(); size > 0 {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, size)
		}
	})
}

// sendBuffer is the size to ask for as SO_SNDBUF; 0: what the kernel does by
// itself is better. It doubles what is asked for, to net.core.wmem_max, and then
// grows the buffer no more; by itself it grows one to net.ipv4.tcp_wmem's third
// number (tcp(7), socket(7)).
var sendBuffer = sync.OnceValue(func() int {
	most, grown := sysctl("net/core/wmem_max"), sysctl("net/ipv4/tcp_wmem")
	if len(most) != 1 || len(grown) != 3 || 2*most[0] <= grown[2] {
		return 0
	}
	return most[0]
})

// sysctl reads numbers of the kernel's; none if it does not tell.
func sysctl(name string) (numbers []int) {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return nil
	}
	for _, f := range strings.Fields(string(b)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil
		}
		numbers = append(numbers, n)
	}
	return numbers
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
