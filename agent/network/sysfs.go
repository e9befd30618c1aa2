package network

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// sysfs is the folder /sys. Interface names are safe as path elements: the
// kernel refuses "/", "." and "..".
type sysfs string

func (s sysfs) path(name string, rest ...string) string {
	return filepath.Join(append([]string{string(s), "class/net", name}, rest...)...)
}

func (s sysfs) read(name string, rest ...string) string {
	b, err := os.ReadFile(s.path(name, rest...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// hardware tells a device that sits on a bus from a virtual one. Kernels before
// 5.14 do not say it over rtnetlink; drivers of virtual links name their kind.
func (s sysfs) hardware(l netlink.Link) bool {
	a := l.Attrs()
	if a.ParentDev != "" || l.Type() != "device" {
		return a.ParentDev != ""
	}
	_, err := os.Lstat(s.path(a.Name, "device"))
	return err == nil
}

// permanentMAC is the address that the hardware was made with, or nil. A port
// of a bond wears the bond's address, hence never the current one if it was set.
func (s sysfs) permanentMAC(a *netlink.LinkAttrs) net.HardwareAddr {
	if len(a.PermHWAddr) != 0 {
		return a.PermHWAddr
	}
	if b, ok := a.Slave.(*netlink.BondSlave); ok && len(b.PermHardwareAddr) != 0 {
		return b.PermHardwareAddr
	}
	if s.read(a.Name, "addr_assign_type") == "0" {
		return a.HardwareAddr
	}
	return nil
}

func (s sysfs) driver(name string) string {
	to, err := os.Readlink(s.path(name, "device", "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// speed is 0 while the link is down and where the driver does not know.
func (s sysfs) speed(name string) int {
	n, err := strconv.Atoi(s.read(name, "speed"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (s sysfs) stp(bridge string) bool {
	v := s.read(bridge, "bridge", "stp_state")
	return v != "" && v != "0"
}
