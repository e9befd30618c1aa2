package plugin

import (
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

// notifier tells systemd that the plugin is alive, if its unit asks to be told
// (sd_notify(3), WatchdogSec=). It is for one goroutine.
type notifier struct {
	fd    int // of a datagram socket; -1: nobody asks
	to    syscall.Sockaddr
	every time.Duration // 0: no watchdog
}

// newNotifier reads the service manager's wishes from the environment.
func newNotifier(getenv func(string) string) *notifier {
	n := &notifier{fd: -1}
	path := getenv("NOTIFY_SOCKET")
	if path == "" || path[0] != '/' && path[0] != '@' {
		return n
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return n
	}
	n.fd, n.to = fd, &syscall.SockaddrUnix{Name: path}
	pid := getenv("WATCHDOG_PID")
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.every = time.Duration(usec) * time.Microsecond / 3
	}
	return n
}

// tell sends one state. A full socket loses it: the next one comes soon.
func (n *notifier) tell(state string) {
	if n.fd >= 0 {
		_ = syscall.Sendto(n.fd, []byte(state), 0, n.to)
	}
}

func (n *notifier) close() {
	if n.fd >= 0 {
		_ = syscall.Close(n.fd)
	}
}

// beThrifty trades processor time that a plugin does not need for memory that a
// host with many plugins does: the heap is collected before it has doubled.
func beThrifty() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(20)
	}
}
