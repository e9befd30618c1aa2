package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// The names of the runners.
const (
	RunnerSystemd = "systemd"
	RunnerExec    = "exec"
)

const dialTimeout = 10 * time.Second // systemd may be busy starting a plugin

// Runner brings a plugin to life and connects with it.
type Runner interface {
	// Dial returns a fresh connection. The caller ends it.
	Dial(ctx context.Context) (Link, error)
}

// Link is a connection with a running plugin.
type Link interface {
	protocol.Conn
	// End closes the connection, waits until what was started for it has ended,
	// by force after a grace, and says how that ended, for people.
	End() string
}

// Socket is the runner for production: systemd listens on a socket and starts
// the plugin's unit with each connection.
type Socket struct {
	Path string
	Unit string // whose log has more
}

// socketLink is a connection that systemd made a plugin of.
type socketLink struct {
	*net.UnixConn
	unit string
}

// End closes the connection; the rest is systemd's.
func (l *socketLink) End() string {
	_ = l.Close() // again, mostly
	return fmt.Sprintf("journalctl -u '%s@*' has more", l.unit)
}

// Dial connects to the socket.
func (s Socket) Dial(ctx context.Context) (Link, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", s.Path)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("nobody listens on %s; systemctl restart %s.socket: %w", s.Path, s.Unit, err)
	}
	if err != nil {
		return nil, err
	}
	u := conn.(*net.UnixConn) // the network is unix
	if uid, err := peer(u); err != nil || uid != 0 && int(uid) != os.Geteuid() {
		_ = u.Close()
		return nil, fmt.Errorf("%s is served by uid %d, not by systemd (%v)", s.Path, uid, err)
	}
	return &socketLink{u, s.Unit}, nil
}

// check refuses a socket that others may connect to or put in its place.
func (s Socket) check() error {
	info, err := os.Lstat(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the plugin's socket is not there: %w; systemctl enable --now %s.socket", err, s.Unit)
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%s is no socket", s.Path)
	}
	if err := trust(s.Path, info); err != nil {
		return err
	}
	return trustDir(filepath.Dir(s.Path))
}

// peer says which user listens at the other end.
func peer(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var bad error
	err = raw.Control(func(fd uintptr) {
		cred, bad = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, bad); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
