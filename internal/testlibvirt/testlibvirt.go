// Package testlibvirt runs a private libvirtd, with real QEMU guests without
// acceleration, for tests, the demo and the bars. It needs Debian's packages
// libvirt-daemon, libvirt-daemon-driver-qemu, libvirt-clients and
// qemu-system-x86, but neither root nor KVM nor systemd. Under root it runs the
// daemon as nobody, because root's would be the system's.
//
// The daemon speaks test:///default, test:///<file> and qemu:///session on
// [Daemon.Socket].
//
// The program that uses it becomes the parent of the guests, which outlive
// their daemon, and reaps them as init would.
//
// It stops processes by their numbers only, and leaves nothing behind.
package testlibvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrMissing says that a program that the package needs is not installed.
var ErrMissing = errors.New("not installed")

const (
	startLimit = 20 * time.Second // for libvirtd to answer
	stopLimit  = 5 * time.Second  // for it to end by itself
	virshLimit = 60 * time.Second // for one command; the first guest waits for the probe
	poll       = 10 * time.Millisecond
	nobody     = 65534
)

// Daemon is one libvirtd with directories of its own. Its methods are for one
// goroutine.
type Daemon struct {
	dir    string
	cmd    *exec.Cmd  // nil while it does not run
	end    chan error // gets cmd's end
	reaper *reaper    // nil before the first start
}

// New prepares a daemon below dir, which must exist and, under root, be open
// to nobody on all its way down. Keep dir short: a socket's path has at most
// 107 bytes. The daemon is started by Restart and stopped by Close.
func New(dir string) (*Daemon, error) {
	for _, p := range []string{"libvirtd", "virsh", "qemu-system-x86_64"} {
		if _, err := find(p); err != nil {
			return nil, err
		}
	}
	d := &Daemon{dir: dir}
	for _, sub := range []string{"", "run", "cfg", "cfg/libvirt", "cache", "cache/libvirt", "cache/libvirt/qemu", "data"} {
		path := filepath.Join(dir, sub)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
		if err := own(path); err != nil {
			return nil, err
		}
	}
	// Without virtlogd, which would be left behind, and without security labels.
	conf := "stdio_handler = \"file\"\nsecurity_driver = \"none\"\n"
	if err := os.WriteFile(filepath.Join(dir, "cfg/libvirt/qemu.conf"), []byte(conf), 0o644); err != nil {
		return nil, err
	}
	conf = "log_outputs = \"2:stderr\"\n"
	if err := os.WriteFile(filepath.Join(dir, "cfg/libvirt/libvirtd.conf"), []byte(conf), 0o644); err != nil {
		return nil, err
	}
	return d, nil
}

// Socket is where the daemon listens.
func (d *Daemon) Socket() string { return filepath.Join(d.dir, "run/libvirt/libvirt-sock") }

// Dir is the directory that New was given.
func (d *Daemon) Dir() string { return d.dir }

// PID is the daemon's process, 0 while it does not run.
func (d *Daemon) PID() int {
	if d.cmd == nil {
		return 0
	}
	return d.cmd.Process.Pid
}

// Restart starts the daemon, after killing the running one if there is one,
// and returns when it answers. Guests go on.
func (d *Daemon) Restart() error {
	d.Kill()
	libvirtd, err := find("libvirtd")
	if err != nil {
		return err
	}
	if d.reaper == nil {
		if d.reaper, err = reap(); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "libvirtd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(libvirtd, "--config", filepath.Join(d.dir, "cfg/libvirt/libvirtd.conf"))
	d.dress(cmd)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start libvirtd: %w", err)
	}
	d.cmd, d.end = cmd, make(chan error, 1)
	go func(end chan<- error) { end <- cmd.Wait() }(d.end)
	for until := time.Now().Add(startLimit); ; {
		if _, err = d.command(time.Until(until), "-c", d.uri("test", "/default"), "version"); err == nil {
			return nil
		}
		select {
		case err := <-d.end:
			d.cmd = nil
			return fmt.Errorf("libvirtd ended: %w: see %s", err, log.Name())
		case <-time.After(poll):
		}
		if time.Now().After(until) {
			d.Kill()
			return fmt.Errorf("libvirtd does not answer: %w: see %s", err, log.Name())
		}
	}
}

// Kill kills the daemon with SIGKILL, if it runs. Guests go on.
func (d *Daemon) Kill() {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Kill()
	<-d.end
	d.cmd = nil
}

// Stop makes the daemon hang (SIGSTOP) until Cont.
func (d *Daemon) Stop() error { return d.signal(syscall.SIGSTOP) }

// Cont ends Stop.
func (d *Daemon) Cont() error { return d.signal(syscall.SIGCONT) }

func (d *Daemon) signal(s syscall.Signal) error {
	if d.cmd == nil {
		return errors.New("libvirtd does not run")
	}
	return d.cmd.Process.Signal(s)
}

// Close ends all guests and the daemon. It does not remove the directory.
func (d *Daemon) Close() {
	for _, name := range d.guests() {
		_ = d.KillGuest(name)
	}
	if d.reaper != nil {
		defer d.reaper.close()
	}
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Signal(syscall.SIGCONT)
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.end:
		d.cmd = nil
	case <-time.After(stopLimit):
		d.Kill()
	}
}

// dress gives cmd the daemon's environment and user.
func (d *Daemon) dress(cmd *exec.Cmd) {
	cmd.Dir = d.dir
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
		"HOME=" + d.dir, "XDG_RUNTIME_DIR=" + filepath.Join(d.dir, "run"),
		"XDG_CONFIG_HOME=" + filepath.Join(d.dir, "cfg"), "XDG_CACHE_HOME=" + filepath.Join(d.dir, "cache"),
		"XDG_DATA_HOME=" + filepath.Join(d.dir, "data"),
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is for us
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
}

func (d *Daemon) uri(driver, path string) string {
	return driver + "+unix://" + path + "?socket=" + d.Socket()
}

func (d *Daemon) command(limit time.Duration, args ...string) (string, error) {
	virsh, err := find("virsh")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, virsh, args...)
	d.dress(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("virsh %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// find looks where daemons are, which a user's path may leave out.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", program, ErrMissing)
}

func own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, nobody, nobody)
}

// alive reports whether a process runs: a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return false
	}
	_, after, ok := strings.Cut(string(stat), ") ")
	return ok && !strings.HasPrefix(after, "Z")
}
