package network

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Links lists every link of the host with its addresses, taps of virtual
// machines included, and the default routes of the main table. The zero value
// works. It is a [plugin.Source] and a [plugin.Watcher].
type Links struct {
	// Root is prefixed to /sys; empty means the real one.
	Root string
	// ReceiveBuffer is the size in bytes of the watch socket's buffer; 0 means
	// 1 MiB. Without CAP_NET_ADMIN the kernel caps it at net.core.rmem_max.
	ReceiveBuffer int
	// Log receives lost notifications at debug level; nil discards.
	Log *slog.Logger

	// watching, if set, is called once the kernel notifies; for tests.
	watching func()
}

// Kinds are the kinds that Links emits.
func (*Links) Kinds() []string { return []string{inventory.KindLink, inventory.KindRoute} }

func (l *Links) log() *slog.Logger {
	if l.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.Log
}

// List emits links and default routes.
func (l *Links) List(ctx context.Context, emit func(plugin.Resource)) error {
	links, err := dump(ctx, "links", dumpLinks)
	if err != nil {
		return err
	}
	addrs, err := dump(ctx, "addresses", dumpAddrs)
	if err != nil {
		return err
	}
	routes, err := dump(ctx, "routes", defaultRoutes)
	if err != nil {
		return err
	}
	t := newTable(links, addrs, sysfs(filepath.Join("/", l.Root, "sys")))
	for _, r := range t.resources() {
		emit(r)
	}
	for _, r := range t.routes(routes) {
		emit(r)
	}
	return ctx.Err()
}

// table is one look at all links, by index and by name.
type table struct {
	links []netlink.Link // by name
	names map[int]string
	ports map[int][]string // names by master's index, sorted
	addrs map[int][]inventory.Address
	sys   sysfs
}

func newTable(links []netlink.Link, addrs []netlink.Addr, sys sysfs) *table {
	t := &table{
		links: slices.SortedFunc(slices.Values(links), func(a, b netlink.Link) int {
			return cmp.Compare(a.Attrs().Name, b.Attrs().Name)
		}),
		names: make(map[int]string, len(links)),
		ports: make(map[int][]string),
		addrs: make(map[int][]inventory.Address),
		sys:   sys,
	}
	for _, l := range t.links {
		a := l.Attrs()
		t.names[a.Index] = a.Name
		if a.MasterIndex != 0 {
			t.ports[a.MasterIndex] = append(t.ports[a.MasterIndex], a.Name)
		}
	}
	for _, a := range addrs {
		if a.IPNet != nil {
			t.addrs[a.LinkIndex] = append(t.addrs[a.LinkIndex], address(a))
		}
	}
	for i, as := range t.addrs {
		slices.SortFunc(as, func(a, b inventory.Address) int {
			return cmp.Or(cmp.Compare(a.CIDR, b.CIDR), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Scope, b.Scope))
		})
		t.addrs[i] = slices.Compact(as)
	}
	return t
}

func address(a netlink.Addr) inventory.Address {
	out := inventory.Address{CIDR: a.IPNet.String(), Scope: scope(a.Scope)}
	if a.Peer != nil {
		out.Peer = a.Peer.String()
	}
	return out
}

// scope uses iproute2's word for the widest scope, which the library calls by
// its RFC's.
func scope(n int) string {
	if s := netlink.Scope(n); s != netlink.SCOPE_UNIVERSE {
		return s.String()
	}
	return "global"
}

// resources returns the links. Two devices that claim one permanent address,
// such as a synthetic NIC and the virtual function under it, are told apart by
// their names.
func (t *table) resources() []plugin.Resource {
	ids := make([]string, len(t.links))
	used := make(map[string]int)
	for i, l := range t.links {
		ids[i] = t.id(l)
		used[ids[i]]++
	}
	out := make([]plugin.Resource, len(t.links))
	for i, l := range t.links {
		a := l.Attrs()
		if used[ids[i]] > 1 {
			ids[i] += "/" + a.Name
		}
		out[i] = plugin.Resource{
			Key:  plugin.Key{Kind: inventory.KindLink, ID: ids[i]},
			Name: a.Name,
			Spec: t.link(l),
		}
	}
	return out
}

func (t *table) id(l netlink.Link) string {
	a := l.Attrs()
	if t.sys.hardware(l) {
		if mac := t.sys.permanentMAC(a); len(mac) != 0 {
			return "mac/" + mac.String()
		}
	}
	return "name/" + a.Name
}

func (t *table) link(l netlink.Link) inventory.Link {
	a := l.Attrs()
	out := inventory.Link{
		Name:      a.Name,
		Index:     a.Index,
		Type:      l.Type(),
		State:     a.OperState.String(),
		AdminUp:   a.RawFlags&syscall.IFF_UP != 0,
		MAC:       mac(a.HardwareAddr),
		MTU:       a.MTU,
		Master:    t.names[a.MasterIndex],
		Addresses: t.addrs[a.Index],
	}
	hardware := t.sys.hardware(l)
	if hardware {
		out.Driver = t.sys.driver(a.Name)
	}
	if hardware || out.Type == "bond" {
		out.SpeedMbps = t.sys.speed(a.Name)
	}
	if a.NetNsID < 0 && out.Type != "veth" {
		out.Lower = t.names[a.ParentIndex]
	}
	switch l := l.(type) {
	case *netlink.Bridge:
		out.Bridge = &inventory.Bridge{
			STP:           t.sys.stp(a.Name),
			VLANFiltering: l.VlanFiltering != nil && *l.VlanFiltering,
			Ports:         t.ports[a.Index],
		}
	case *netlink.Vlan:
		out.VLAN = &inventory.VLAN{ID: l.VlanId, Protocol: l.VlanProtocol.String()}
	case *netlink.Bond:
		out.Bond = &inventory.Bond{Mode: l.Mode.String(), Ports: t.ports[a.Index]}
		if l.ActiveSlave > 0 {
			out.Bond.Active = t.names[l.ActiveSlave]
		}
	case *netlink.Vxlan:
		out.VXLAN = &inventory.VXLAN{VNI: l.VxlanId, Local: ip(l.SrcAddr), Remote: ip(l.Group), Port: l.Port}
		if l.VtepDevIndex > 0 {
			out.Lower = t.names[l.VtepDevIndex]
		}
	case *netlink.Tuntap:
		out.Type = "tun"
		if l.Mode == netlink.TUNTAP_MODE_TAP {
			out.Type = "tap"
		}
	}
	return out
}

// mac leaves out what is no link-layer address, such as a tunnel's end.
func mac(a net.HardwareAddr) string {
	switch len(a) {
	case 6, 8, 20: // Ethernet, EUI-64, InfiniBand
		return a.String()
	}
	return ""
}

func ip(a net.IP) string {
	if len(a) == 0 {
		return ""
	}
	return a.String()
}

// Watch calls changed when a link, an address or a default route changes. The
// kernel drops notifications when the socket's buffer is full and says so: that
// is a hint like any other, because every hint asks for a new list.
func (l *Links) Watch(ctx context.Context, changed func(...plugin.Key)) error {
	size := l.ReceiveBuffer
	if size == 0 {
		size = 1 << 20
	}
	s, err := newNotifier(size)
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	defer s.close()
	defer context.AfterFunc(ctx, s.wake)()
	if l.watching != nil {
		l.watching()
	}
	err = s.run(func(lost bool) {
		if lost {
			l.log().Debug("kernel dropped link notifications")
		}
		changed()
	})
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("watch links: %w", err)
}
