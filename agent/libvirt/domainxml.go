package libvirt

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// The parts of a domain's XML that are shown, https://libvirt.org/formatdomain.html.
type domainXML struct {
	XMLName       xml.Name `xml:"domain"`
	Type          string   `xml:"type,attr"`
	Title         string   `xml:"title"`
	Description   string   `xml:"description"`
	Memory        sizeXML  `xml:"memory"`
	CurrentMemory *sizeXML `xml:"currentMemory"`
	VCPU          struct {
		Current string `xml:"current,attr"`
		Max     string `xml:",chardata"`
	} `xml:"vcpu"`
	OS struct {
		Type struct {
			Arch    string `xml:"arch,attr"`
			Machine string `xml:"machine,attr"`
			Type    string `xml:",chardata"`
		} `xml:"type"`
	} `xml:"os"`
	Metadata struct {
		Nova10 *novaXML `xml:"http://openstack.org/xmlns/libvirt/nova/1.0 instance"`
		Nova11 *novaXML `xml:"http://openstack.org/xmlns/libvirt/nova/1.1 instance"`
	} `xml:"metadata"`
	Disks    []diskXML     `xml:"devices>disk"`
	NICs     []nicXML      `xml:"devices>interface"`
	Graphics []graphicsXML `xml:"devices>graphics"`
	Serials  []serialXML   `xml:"devices>serial"`
}

type sizeXML struct {
	Unit  string `xml:"unit,attr"`
	Value string `xml:",chardata"`
}

type diskXML struct {
	Type   string `xml:"type,attr"`
	Device string `xml:"device,attr"`
	Driver struct {
		Type string `xml:"type,attr"`
	} `xml:"driver"`
	Source struct {
		File   string `xml:"file,attr"`
		Dev    string `xml:"dev,attr"`
		Dir    string `xml:"dir,attr"`
		Name   string `xml:"name,attr"`
		Path   string `xml:"path,attr"`
		Pool   string `xml:"pool,attr"`
		Volume string `xml:"volume,attr"`
	} `xml:"source"`
	Target struct {
		Dev string `xml:"dev,attr"`
		Bus string `xml:"bus,attr"`
	} `xml:"target"`
	ReadOnly *struct{} `xml:"readonly"`
}

type nicXML struct {
	Type string `xml:"type,attr"`
	MAC  struct {
		Address string `xml:"address,attr"`
	} `xml:"mac"`
	Source struct {
		Network string `xml:"network,attr"`
		Bridge  string `xml:"bridge,attr"`
		Dev     string `xml:"dev,attr"`
		Path    string `xml:"path,attr"`
	} `xml:"source"`
	Target struct {
		Dev string `xml:"dev,attr"`
	} `xml:"target"`
	Model struct {
		Type string `xml:"type,attr"`
	} `xml:"model"`
	VLAN struct {
		Tags []struct {
			ID string `xml:"id,attr"`
		} `xml:"tag"`
	} `xml:"vlan"`
}

type graphicsXML struct {
	Type   string `xml:"type,attr"`
	Port   string `xml:"port,attr"`
	Listen string `xml:"listen,attr"`
	Socket string `xml:"socket,attr"`
	On     []struct {
		Type    string `xml:"type,attr"`
		Address string `xml:"address,attr"`
		Socket  string `xml:"socket,attr"`
	} `xml:"listen"`
}

type serialXML struct {
	Source struct {
		Path    string `xml:"path,attr"`
		Host    string `xml:"host,attr"`
		Service string `xml:"service,attr"`
	} `xml:"source"`
}

type novaXML struct {
	Package struct {
		Version string `xml:"version,attr"`
	} `xml:"package"`
	Name    string `xml:"name"`
	Created string `xml:"creationTime"`
	Flavor  struct {
		Name string `xml:"name,attr"`
	} `xml:"flavor"`
	User    idXML `xml:"owner>user"`
	Project idXML `xml:"owner>project"`
	Root    struct {
		Type string `xml:"type,attr"`
		UUID string `xml:"uuid,attr"`
	} `xml:"root"`
}

type idXML struct {
	UUID string `xml:"uuid,attr"`
}

// parseDomain reads a domain's XML. State, autostart and sizes are not in it.
func parseDomain(text []byte) (inventory.VM, error) {
	var x domainXML
	if err := xml.Unmarshal(text, &x); err != nil {
		return inventory.VM{}, fmt.Errorf("parse domain XML: %w", err)
	}
	vm := inventory.VM{
		Hypervisor:     x.Type,
		MaxVCPUs:       atoi(x.VCPU.Max),
		MaxMemoryBytes: x.Memory.bytes(),
		Arch:           x.OS.Type.Arch,
		Machine:        x.OS.Type.Machine,
		OSType:         strings.TrimSpace(x.OS.Type.Type),
		Title:          clip(strings.TrimSpace(x.Title), maxText),
		Description:    clip(strings.TrimSpace(x.Description), maxText),
	}
	vm.VCPUs, vm.MemoryBytes = vm.MaxVCPUs, vm.MaxMemoryBytes
	if n := atoi(x.VCPU.Current); n > 0 {
		vm.VCPUs = n
	}
	if x.CurrentMemory != nil {
		vm.MemoryBytes = x.CurrentMemory.bytes()
	}
	for _, d := range x.Disks {
		vm.Disks = append(vm.Disks, d.disk())
	}
	for _, n := range x.NICs {
		vm.NICs = append(vm.NICs, n.nic())
	}
	for _, g := range x.Graphics {
		vm.Console = append(vm.Console, g.console())
	}
	for _, s := range x.Serials {
		vm.Console = append(vm.Console, inventory.Console{
			Type: "serial", Listen: first(s.Source.Path, s.Source.Host), Port: atoi(s.Source.Service),
		})
	}
	if n := x.Metadata.Nova11; n != nil {
		vm.Nova = n.nova()
	} else if n := x.Metadata.Nova10; n != nil {
		vm.Nova = n.nova()
	}
	return vm, nil
}

func (d diskXML) disk() inventory.Disk {
	source := first(d.Source.File, d.Source.Dev, d.Source.Dir, d.Source.Name, d.Source.Path)
	if d.Source.Pool != "" {
		source = d.Source.Pool + "/" + d.Source.Volume
	}
	return inventory.Disk{
		Target:   d.Target.Dev,
		Bus:      d.Target.Bus,
		Device:   first(d.Device, "disk"),
		Type:     d.Type,
		Source:   source,
		Format:   d.Driver.Type,
		ReadOnly: d.ReadOnly != nil,
	}
}

func (n nicXML) nic() inventory.NIC {
	nic := inventory.NIC{
		MAC:    strings.ToLower(n.MAC.Address),
		Model:  n.Model.Type,
		Type:   n.Type,
		Source: first(n.Source.Network, n.Source.Bridge, n.Source.Dev, n.Source.Path),
		Target: n.Target.Dev,
	}
	if len(n.VLAN.Tags) == 1 { // more are a trunk
		nic.VLAN = atoi(n.VLAN.Tags[0].ID)
	}
	return nic
}

func (g graphicsXML) console() inventory.Console {
	c := inventory.Console{Type: g.Type, Listen: first(g.Listen, g.Socket), Port: atoi(g.Port)}
	for _, l := range g.On {
		c.Listen = first(c.Listen, l.Address, l.Socket)
	}
	return c
}

func (n *novaXML) nova() *inventory.Nova {
	nova := &inventory.Nova{
		Name:    strings.TrimSpace(n.Name),
		Flavor:  n.Flavor.Name,
		User:    n.User.UUID,
		Project: n.Project.UUID,
		Created: strings.TrimSpace(n.Created),
		Package: n.Package.Version,
	}
	if n.Root.Type == "image" {
		nova.Image = n.Root.UUID
	}
	return nova
}

// bytes returns a scaled size in bytes, 0 if it makes no sense. Without a unit
// libvirt means KiB.
func (z sizeXML) bytes() uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(z.Value), 10, 64)
	scale := scaleOf(z.Unit, 1<<10)
	if err != nil || scale == 0 || n > math.MaxUint64/scale {
		return 0
	}
	return n * scale
}

// scaleOf returns how many bytes a unit of libvirt's is, 0 for an unknown one.
func scaleOf(unit string, none uint64) uint64 {
	switch strings.ToLower(unit) {
	case "":
		return none
	case "b", "byte", "bytes":
		return 1
	}
	for i, letter := range []string{"k", "m", "g", "t", "p", "e"} {
		switch strings.ToLower(unit) {
		case letter, letter + "ib":
			return 1 << (10 * (i + 1))
		case letter + "b":
			return uint64(math.Pow10(3 * (i + 1)))
		}
	}
	return 0
}

// atoi returns a number that is not negative, else 0: libvirt says -1 for none.
func atoi(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return 0
	}
	return max(n, 0)
}

func first(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
