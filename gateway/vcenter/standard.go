package vcenter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// A portgroup is one of a host's standard switches. What vCenter calls a standard
// network is all of one name together, and itself knows neither switch nor VLAN.
type portgroup struct {
	name, vswitch string
	vlan          int32
}

// standardNetwork is the kind of network that is of hosts' own switches.
const standardNetwork = "standard"

// taggedByGuest is the VLAN of port groups whose guests tag what they send.
const taggedByGuest = 4095

// vlanOf writes the VLAN of a standard port group.
func vlanOf(vlan int32) string {
	switch vlan {
	case 0:
		return ""
	case taggedByGuest:
		return "1-4094"
	}
	return fmt.Sprint(vlan)
}

func (f *hostFact) setPortgroups(list []types.HostPortGroup) {
	f.portgroups = nil
	for i := range list {
		s := &list[i].Spec
		f.portgroups = append(f.portgroups, portgroup{intern(unescape(s.Name)), intern(s.VswitchName), s.VlanId})
	}
}

// standard adds to a standard network what the hosts say of their port groups.
func (f *networkFact) standard(v *view, name string, n *inventory.PortGroup) {
	var switches []string
	var vlans []int32
	for _, id := range f.hosts {
		h, ok := factOf[*hostFact](v.get(id))
		if !ok {
			continue
		}
		for _, p := range h.portgroups {
			if p.name == name {
				switches, vlans = append(switches, p.vswitch), append(vlans, p.vlan)
			}
		}
	}
	slices.Sort(switches)
	slices.Sort(vlans)
	n.Switch = strings.Join(slices.Compact(switches), ",")
	if vlans = slices.Compact(vlans); len(vlans) == 1 {
		n.VLAN = vlanOf(vlans[0])
		return
	}
	all := make([]string, len(vlans))
	for i, vlan := range vlans {
		all[i] = strconv.Itoa(int(vlan)) // 0 too, for it differs
	}
	if n.VLAN = strings.Join(all, ","); n.VLAN != "" {
		n.Warnings = append(n.Warnings, fmt.Sprintf("the hosts' port groups of this name have different VLANs (%s): make them one, or VMs lose their network when they move", n.VLAN))
	}
}
