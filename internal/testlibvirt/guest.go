package testlibvirt

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// GuestXML is the definition of a guest without disks that runs on the
// emulator alone: 16 MiB, and a BIOS that finds nothing to boot. An empty uuid
// lets libvirt choose.
func GuestXML(name, uuid string) string {
	if uuid != "" {
		uuid = "<uuid>" + uuid + "</uuid>"
	}
	return "<domain type='qemu'><name>" + name + "</name>" + uuid +
		"<memory unit='MiB'>16</memory><vcpu>1</vcpu>" +
		"<os><type arch='x86_64' machine='pc'>hvm</type></os>" +
		"<devices><memballoon model='none'/></devices></domain>"
}

// Virsh runs a virsh command on qemu:///session and returns what it prints.
func (d *Daemon) Virsh(args ...string) (string, error) {
	return d.command(virshLimit, append([]string{"-q", "-c", d.uri("qemu", "/session")}, args...)...)
}

// VirshTest runs a virsh command on test:///default.
func (d *Daemon) VirshTest(args ...string) (string, error) {
	return d.command(virshLimit, append([]string{"-q", "-c", d.uri("test", "/default")}, args...)...)
}

// Define makes a guest of a definition, such as GuestXML's.
func (d *Daemon) Define(xml string) error { return d.define(xml, d.Virsh) }

// DefineTest makes a VM on test:///default.
func (d *Daemon) DefineTest(xml string) error { return d.define(xml, d.VirshTest) }

func (d *Daemon) define(xml string, virsh func(...string) (string, error)) error {
	f, err := os.CreateTemp(d.dir, "define-*.xml")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(xml)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	_, err = virsh("define", f.Name())
	return err
}

// Start starts a guest.
func (d *Daemon) Start(name string) error { return d.one("start", name) }

// Suspend pauses a guest.
func (d *Daemon) Suspend(name string) error { return d.one("suspend", name) }

// Resume ends Suspend.
func (d *Daemon) Resume(name string) error { return d.one("resume", name) }

// Destroy switches a guest off.
func (d *Daemon) Destroy(name string) error { return d.one("destroy", name) }

// Undefine removes the definition of a guest that is off.
func (d *Daemon) Undefine(name string) error { return d.one("undefine", name) }

func (d *Daemon) one(command, name string) error {
	_, err := d.Virsh(command, name)
	return err
}

// State is a guest's state as virsh says it: "running", "paused", "shut off".
func (d *Daemon) State(name string) (string, error) {
	out, err := d.Virsh("domstate", name)
	return strings.TrimSpace(out), err
}

// UUID is a guest's.
func (d *Daemon) UUID(name string) (string, error) {
	out, err := d.Virsh("domuuid", name)
	return strings.TrimSpace(out), err
}

// GuestPID is the process of a running guest's QEMU. It does not ask libvirt.
func (d *Daemon) GuestPID(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(d.stateDir(), name+".pid"))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("pid of guest %s: %q", name, text)
	}
	if !d.ours(pid) {
		return 0, fmt.Errorf("guest %s: process %d is not its QEMU any more", name, pid)
	}
	return pid, nil
}

// KillGuest kills a guest's QEMU with SIGKILL, as a crash does, and returns
// when the process does not run any more.
func (d *Daemon) KillGuest(name string) error {
	pid, err := d.GuestPID(name)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill guest %s: %w", name, err)
	}
	for until := time.Now().Add(stopLimit); alive(pid); {
		if time.Now().After(until) {
			return fmt.Errorf("kill guest %s: process %d goes on", name, pid)
		}
		time.Sleep(poll)
	}
	return nil
}

func (d *Daemon) stateDir() string { return filepath.Join(d.dir, "run/libvirt/qemu/run") }

// ours reports whether a process is a QEMU of this daemon, lest a number that
// has found another owner is killed.
func (d *Daemon) ours(pid int) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && strings.Contains(string(line), d.dir)
}

// guests are the names of those that have a QEMU.
func (d *Daemon) guests() []string {
	files, _ := filepath.Glob(filepath.Join(d.stateDir(), "*.pid"))
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".pid"))
	}
	return names
}
