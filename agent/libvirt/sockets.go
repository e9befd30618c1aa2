package libvirt

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A role is a part of libvirt that may have a daemon of its own.
type role string

const (
	roleVMs      role = "qemu"
	roleNetworks role = "network"
	roleStorage  role = "storage"
)

// A target is one way to reach a driver.
type target struct{ socket, uri string }

// programs say that libvirt is installed though it does not run.
var programs = []string{"/usr/sbin/libvirtd", "/usr/sbin/virtqemud", "/usr/local/sbin/libvirtd"}

// findTargets returns where to find r, best first, and the role whose session
// serves it. A monolithic libvirtd serves networks over that of VMs; storage
// has one of its own, see Storage.
//
// A modular host has a daemon for each role. One without the daemon for
// networks or storage has no libvirt networks or pools: ErrAbsent.
func findTargets(o Options, r role) ([]target, role, error) {
	shared := r
	if r == roleNetworks {
		shared = roleVMs
	}
	if o.Socket != "" {
		return []target{{o.Socket, o.URI}}, shared, nil
	}
	monolithic := present(o.URI, filepath.Join(o.RunDir, "libvirt-sock-ro"), filepath.Join(o.RunDir, "libvirt-sock"))
	modular := present(o.URI, filepath.Join(o.RunDir, "virtqemud-sock-ro"), filepath.Join(o.RunDir, "virtqemud-sock"))
	if r == roleVMs || len(modular) == 0 {
		all := append(modular, monolithic...)
		if len(all) == 0 {
			return nil, r, noSocket(o, programs)
		}
		return all, shared, nil
	}
	daemon := "virt" + string(r) + "d"
	own := present(string(r)+":///system", filepath.Join(o.RunDir, daemon+"-sock-ro"), filepath.Join(o.RunDir, daemon+"-sock"))
	if len(own) == 0 {
		return nil, r, fmt.Errorf("%w: %s has no socket in %s: %w", ErrAbsent, daemon, o.RunDir, fs.ErrNotExist)
	}
	return own, r, nil
}

func present(uri string, sockets ...string) []target {
	var found []target
	for _, s := range sockets {
		if _, err := os.Stat(s); err == nil {
			found = append(found, target{s, uri})
		}
	}
	return found
}

func noSocket(o Options, programs []string) error {
	for _, p := range programs {
		if _, err := os.Stat(p); err == nil {
			return fmt.Errorf("libvirt is installed but does not run: no socket in %s: start libvirtd or virtqemud (systemctl start libvirtd.socket)", o.RunDir)
		}
	}
	return fmt.Errorf("%w: no socket in %s: %w", ErrAbsent, o.RunDir, fs.ErrNotExist)
}
