package testlibvirt

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// NodeURI returns the URI of a test driver that knows n VMs, each with two
// disks and two NICs, all running. Each connection gets VMs of its own: a
// change made over one does not show on another.
func (d *Daemon) NodeURI(n int) (string, error) {
	path := filepath.Join(d.dir, fmt.Sprintf("node-%d.xml", n))
	var b bytes.Buffer
	b.WriteString("<node>\n<cpu><mhz>2500</mhz><model>i686</model><active>8</active><sockets>1</sockets>" +
		"<cores>4</cores><threads>2</threads><nodes>1</nodes></cpu>\n<memory>1073741824</memory>\n")
	for i := range n {
		fmt.Fprintf(&b, `<domain type='test'><name>vm-%05[1]d</name><uuid>00000000-0000-4000-9000-%012[1]d</uuid>
<memory unit='MiB'>2048</memory><currentMemory unit='MiB'>1024</currentMemory><vcpu current='2'>4</vcpu>
<os><type arch='i686'>hvm</type></os>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/var/lib/libvirt/images/vm-%05[1]d.qcow2'/><target dev='vda' bus='virtio'/></disk>
<disk type='block' device='disk'><source dev='/dev/vg0/vm-%05[1]d'/><target dev='vdb' bus='virtio'/></disk>
<interface type='network'><mac address='52:54:00:00:%02[2]x:%02[3]x'/><source network='default'/><model type='virtio'/></interface>
<interface type='bridge'><mac address='52:54:01:00:%02[2]x:%02[3]x'/><source bridge='br0'/><model type='virtio'/></interface>
<graphics type='vnc' port='-1' autoport='yes'/>
</devices></domain>
`, i, i>>8&0xff, i&0xff)
	}
	b.WriteString("</node>\n")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return "", err
	}
	return "test://" + path, nil
}
