package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/netip"
	"slices"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Networks is the source of net.network: libvirt's virtual networks. It is to
// be polled.
type Networks struct{ conn *Conn }

// List implements plugin.Source.
func (n *Networks) List(ctx context.Context, emit func(plugin.Resource)) error {
	s, err := n.conn.session(ctx, roleNetworks)
	if err != nil {
		return err
	}
	all, err := listNetworks(ctx, s, 0)
	if hasCode(err, rpc.ErrNoSupport) {
		return nil // a driver without networks
	}
	if err != nil {
		return err
	}
	var sets [3]map[rpc.UUID]bool
	for i, flag := range []rpc.ConnectListAllNetworksFlags{
		rpc.ConnectListNetworksActive, rpc.ConnectListNetworksPersistent, rpc.ConnectListNetworksAutostart,
	} {
		some, err := listNetworks(ctx, s, flag)
		if err != nil {
			return err
		}
		sets[i] = make(map[rpc.UUID]bool)
		for _, net := range some {
			sets[i][net.UUID] = true
		}
	}
	for _, net := range all {
		var text string
		err := s.call(ctx, "read the definition of network "+net.Name, func() (err error) {
			text, err = s.lib.NetworkGetXMLDesc(net, 0)
			return err
		})
		if hasCode(err, rpc.ErrNoNetwork) {
			continue // gone since the list was made
		}
		if err != nil {
			return err
		}
		spec, err := parseNetwork([]byte(text))
		if err != nil {
			return fmt.Errorf("definition of network %s: %w", net.Name, err)
		}
		spec.Active, spec.Persistent, spec.Autostart = sets[0][net.UUID], sets[1][net.UUID], sets[2][net.UUID]
		emit(plugin.Resource{
			Key:  plugin.Key{Kind: inventory.KindNetwork, ID: uuidText(net.UUID)},
			Name: clip(net.Name, maxID),
			Spec: spec,
		})
	}
	return nil
}

func listNetworks(ctx context.Context, s *session, flags rpc.ConnectListAllNetworksFlags) (nets []rpc.Network, err error) {
	err = s.call(ctx, "list networks", func() (err error) {
		nets, _, err = s.lib.ConnectListAllNetworks(1, flags)
		return err
	})
	return nets, err
}

// The parts of a network's XML that are shown, https://libvirt.org/formatnetwork.html.
type networkXML struct {
	XMLName xml.Name `xml:"network"`
	Forward *struct {
		Mode string `xml:"mode,attr"`
	} `xml:"forward"`
	Bridge struct {
		Name string `xml:"name,attr"`
	} `xml:"bridge"`
	IPs []struct {
		Address string `xml:"address,attr"`
		Netmask string `xml:"netmask,attr"`
		Prefix  string `xml:"prefix,attr"`
	} `xml:"ip"`
}

// parseNetwork reads a network's XML. Whether it is active, persistent and
// started by itself is not in it.
func parseNetwork(text []byte) (inventory.Network, error) {
	var x networkXML
	if err := xml.Unmarshal(text, &x); err != nil {
		return inventory.Network{}, fmt.Errorf("parse network XML: %w", err)
	}
	n := inventory.Network{Bridge: x.Bridge.Name}
	if x.Forward != nil {
		n.Forward = first(x.Forward.Mode, "nat")
	}
	for _, ip := range x.IPs {
		if a := cidr(ip.Address, ip.Netmask, ip.Prefix); a != "" {
			n.Addresses = append(n.Addresses, a)
		}
	}
	slices.Sort(n.Addresses)
	return n, nil
}

// cidr joins an address with its prefix length, or a netmask that says it; ""
// if they make no sense.
func cidr(address, netmask, prefix string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	bits := a.BitLen()
	if prefix != "" {
		bits = atoi(prefix)
	} else if m, err := netip.ParseAddr(netmask); err == nil {
		bits = 0
		for _, b := range m.AsSlice() {
			for ; b&0x80 != 0; b <<= 1 {
				bits++
			}
		}
	}
	p := netip.PrefixFrom(a, bits)
	if !p.IsValid() {
		return ""
	}
	return p.String()
}
