package host

import (
	"bytes"
	"cmp"
	"os"
	"strings"
	"syscall"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// os describes the operating system.
func (t tree) os() inventory.OS {
	release, err := t.bytes("/etc/os-release")
	if err != nil {
		release, _ = t.bytes("/usr/lib/os-release")
	}
	f := parseOSRelease(release)
	return inventory.OS{
		ID:         cmp.Or(f["ID"], "linux"),
		Version:    f["VERSION_ID"],
		PrettyName: f["PRETTY_NAME"],
		Kernel:     t.text("/proc/sys/kernel/osrelease"),
		Arch:       t.arch(),
	}
}

// arch is uname's machine. Kernels before 6.1 have no file of it.
func (t tree) arch() string {
	if a := t.text("/proc/sys/kernel/arch"); a != "" || t != "" {
		return a
	}
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return ""
	}
	var b []byte
	for _, c := range u.Machine {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}

// parseOSRelease parses os-release(5): assignments whose values may be quoted
// as in a shell.
func parseOSRelease(b []byte) map[string]string {
	out := make(map[string]string)
	for line := range bytes.Lines(b) {
		k, v, ok := strings.Cut(strings.TrimSpace(string(line)), "=")
		if ok && k != "" && k[0] != '#' {
			out[k] = unquote(v)
		}
	}
	return out
}

func unquote(v string) string {
	if len(v) < 2 || v[0] != v[len(v)-1] {
		return v
	}
	switch v[0] {
	case '\'':
		return v[1 : len(v)-1]
	case '"':
		return strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\$`, `$`, "\\`", "`").Replace(v[1 : len(v)-1])
	}
	return v
}

// hardware is what the firmware says, from DMI or, on boards without it, from
// the device tree. The serial number can normally be read by root only.
func (t tree) hardware() inventory.Hardware {
	dmi := func(name string) string {
		v := strings.Join(strings.Fields(t.text("/sys/class/dmi/id/"+name)), " ")
		if placeholder(v) {
			return ""
		}
		return v
	}
	h := inventory.Hardware{
		Vendor:  dmi("sys_vendor"),
		Product: dmi("product_name"),
		Serial:  dmi("product_serial"),
		BIOS:    strings.TrimSpace(dmi("bios_vendor") + " " + dmi("bios_version")),
	}
	const deviceTree = "/sys/firmware/devicetree/base/"
	h.Product = cmp.Or(h.Product, t.text(deviceTree+"model"))
	h.Serial = cmp.Or(h.Serial, t.text(deviceTree+"serial-number"))
	return h
}

// placeholder knows what board makers leave in when they forget to fill in.
func placeholder(v string) bool {
	switch strings.ToLower(strings.Trim(v, ". ")) {
	case "to be filled by o.e.m", "default string", "system manufacturer", "system product name", "system serial number",
		"not specified", "none", "0123456789", "empty", "unknown", "n/a", "o.e.m":
		return true
	}
	return false
}

// virtualization says what the host offers to guests, and whose guest it is.
func (t tree) virtualization(flags map[string]bool, hw inventory.Hardware) inventory.Virtualization {
	v := inventory.Virtualization{
		KVM:   t.has("/dev/kvm") || t.has("/sys/class/misc/kvm"), // a sandbox hides the first
		Guest: t.guestOf(flags, hw),
	}
	for _, e := range []string{"vmx", "svm"} {
		if flags[e] {
			v.Extension = e
		}
	}
	for _, module := range []string{"kvm_intel", "kvm_amd", "kvm"} {
		switch t.text("/sys/module/" + module + "/parameters/nested") {
		case "Y", "y", "1":
			v.Nested = true
		}
	}
	groups, err := os.ReadDir(t.path("/sys/kernel/iommu_groups"))
	v.IOMMU = err == nil && len(groups) != 0
	return v
}

// guestOf names the hypervisor under this host, or returns nothing on hardware.
// The processor says on x86 that there is one; which one is told by firmware,
// by Xen's own folder, or by the clock that the kernel was offered.
func (t tree) guestOf(flags map[string]bool, hw inventory.Hardware) string {
	if x := t.text("/sys/hypervisor/type"); x != "" {
		return x
	}
	if flags["fpu"] && !flags["hypervisor"] {
		return "" // an x86 processor that knows of none
	}
	firmware := strings.ToLower(hw.Vendor + "\n" + hw.Product + "\n" + hw.BIOS)
	for _, known := range []struct{ text, name string }{
		{"vmware", "vmware"},
		{"virtualbox", "virtualbox"},
		{"innotek", "virtualbox"},
		{"microsoft corporation\nvirtual machine", "hyperv"},
		{"xen", "xen"},
		{"parallels", "parallels"},
		{"bhyve", "bhyve"},
		{"nutanix", "kvm"},
		{"openstack", "kvm"},
		{"kubevirt", "kvm"},
		{"google compute engine", "kvm"},
		{"amazon ec2", "kvm"},
		{"kvm", "kvm"},
		{"qemu", "qemu"},
	} {
		if strings.Contains(firmware, known.text) && !strings.Contains(firmware, ".metal") {
			return t.accelerated(known.name, flags)
		}
	}
	if compatible := t.text("/sys/firmware/devicetree/base/hypervisor/compatible"); compatible != "" {
		_, name, _ := strings.Cut(compatible, ",")
		return cmp.Or(name, compatible)
	}
	if !flags["hypervisor"] {
		return "" // an Arm board
	}
	return t.accelerated("unknown", flags)
}

// accelerated tells KVM from bare QEMU, and names a hypervisor that the
// firmware does not name.
func (t tree) accelerated(name string, flags map[string]bool) string {
	if name != "unknown" && name != "qemu" {
		return name
	}
	clocks := t.text("/sys/devices/system/clocksource/clocksource0/available_clocksource")
	switch {
	case strings.Contains(clocks, "kvm-clock"):
		return "kvm"
	case strings.Contains(clocks, "hyperv"):
		return "hyperv"
	case strings.Contains(clocks, "xen"):
		return "xen"
	}
	return name
}
