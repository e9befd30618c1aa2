package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/internal/testlibvirt"
)

// noLibvirt are the modules that need a libvirt.
var noLibvirt = sandbox.AgentOptions{Disabled: []string{"libvirt", "libvirt-networks", "libvirt-storage"}}

// chooseLibvirt says whose VMs are shown; guest: a private libvirtd's.
func chooseLibvirt(ctx context.Context, mode string) (o sandbox.AgentOptions, guest bool, err error) {
	switch mode {
	case "user":
		return o, true, nil
	case "none":
		return noLibvirt, false, nil
	case "":
	default:
		return o, false, fmt.Errorf("DEMO_LIBVIRT=%s: want user, none, or nothing for the system's", mode)
	}
	if sockets, err := filepath.Glob("/run/libvirt/*-sock*"); err == nil && len(sockets) > 0 {
		return o, false, nil
	}
	fmt.Println("No libvirt runs on this machine, so it has no VMs to show.")
	if !agrees("Install it from the distribution's packages and start it?") {
		fmt.Println("Going on without. DEMO_LIBVIRT=user shows a private libvirtd with an emulated guest.")
		return noLibvirt, false, nil
	}
	return o, false, install(ctx)
}

// agrees asks on the terminal; without one nobody agrees.
func agrees(question string) bool {
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err != nil {
		return false
	}
	fmt.Print(question, " [y/N] ")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err == nil && strings.HasPrefix(strings.ToLower(strings.TrimSpace(line)), "y")
}

func install(ctx context.Context) error {
	for _, line := range []string{
		"apt-get install -y --no-install-recommends libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86",
		"dnf install -y libvirt-daemon-kvm libvirt-client qemu-kvm",
	} {
		args := strings.Fields(line)
		if _, err := exec.LookPath(args[0]); err != nil {
			continue
		}
		if os.Geteuid() != 0 {
			args = append([]string{"sudo"}, args...)
		}
		for _, args := range [][]string{args, {"systemctl", "start", "libvirtd.socket"}} {
			cmd := exec.CommandContext(ctx, args[0], args[1:]...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%s: %w; DEMO_LIBVIRT=none goes on without", strings.Join(args, " "), err)
			}
		}
		return nil
	}
	return fmt.Errorf("neither apt-get nor dnf is here; install libvirt by hand, or set DEMO_LIBVIRT=none")
}

// startGuest starts a private libvirtd with one emulated guest.
func startGuest(box *sandbox.Box) (o sandbox.AgentOptions, err error) {
	d, err := box.Libvirt()
	if err != nil {
		return o, fmt.Errorf("start a private libvirtd (packaging/deps.sh installs what it needs): %w", err)
	}
	if err := d.Define(testlibvirt.GuestXML("demo", "")); err != nil {
		return o, err
	}
	o.LibvirtSocket, o.LibvirtURI = d.Socket(), "qemu:///session"
	return o, d.Start("demo")
}
