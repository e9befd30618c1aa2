package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/plugin"
)

// source lists the functions below a mounted sysfs. A function's id is its PCI
// address: that is how the kernel, libvirt and people name it, and it stays while
// the card stays in its slot.
type source struct{ sys string }

func (s source) List(ctx context.Context, emit func(plugin.Resource)) error {
	var l look
	if len(l.names(s.sys, "bus")) == 0 && l.err == nil {
		return fmt.Errorf("no bus in %s: is sysfs mounted there?", s.sys)
	}
	devices := filepath.Join(s.sys, "bus/pci/devices") // not there: a host without PCI
	for _, address := range l.names(devices) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if total := l.number(devices, address, "sriov_totalvfs"); total > 0 {
			list(&l, devices, address, total, emit)
		}
	}
	return l.err
}

// list emits one device and its virtual functions.
func list(l *look, devices, address string, total int64, emit func(plugin.Resource)) {
	dev := filepath.Join(devices, address)
	pf := plugin.Resource{Key: plugin.Key{Kind: kindPF, ID: address}}
	spec := physical{
		Driver: l.target(dev, "driver"), Vendor: l.text(dev, "vendor"), Device: l.text(dev, "device"),
		Interfaces: l.names(dev, "net"), Total: total, Enabled: l.number(dev, "sriov_numvfs"),
	}
	if node := l.number(dev, "numa_node"); node >= 0 && l.text(dev, "numa_node") != "" {
		spec.NUMANode = &node
	}
	if spec.Vendor == "" {
		return // it went while we looked
	}
	if len(spec.Interfaces) > 0 {
		pf.Name = spec.Interfaces[0]
	}
	pf.Spec = spec
	emit(pf)
	for _, name := range l.names(dev) {
		number, isLink := strings.CutPrefix(name, "virtfn")
		index, err := strconv.Atoi(number)
		if !isLink || err != nil {
			continue
		}
		if id := l.target(dev, name); l.text(devices, id, "vendor") != "" {
			vf := function(l, filepath.Join(devices, id), index)
			r := plugin.Resource{Key: plugin.Key{Kind: kindVF, ID: id}, Parent: pf.Key, Spec: vf}
			if len(vf.Interfaces) > 0 {
				r.Name = vf.Interfaces[0]
			}
			emit(r)
		}
	}
}

// function describes one virtual function.
func function(l *look, dev string, index int) virtual {
	vf := virtual{
		Index: index, State: "host", Driver: l.target(dev, "driver"),
		Interfaces: l.names(dev, "net"), IOMMUGroup: l.target(dev, "iommu_group"),
	}
	switch {
	case vf.Driver == "":
		vf.State = "unbound"
	case strings.Contains(vf.Driver, "vfio"):
		vf.State = "passthrough"
	}
	if len(vf.Interfaces) > 0 {
		vf.MAC = l.text(dev, "net", vf.Interfaces[0], "address")
	}
	return vf
}
