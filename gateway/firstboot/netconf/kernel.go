package netconf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/openpf9/openpf9/gateway/firstboot/settings"
)

const netlinkLimit = 5 * time.Second // for each answer of the kernel

// WaitForLink waits until there is a network card and it has its final name: at
// boot its driver may come late, and udev calls it something else. It gives up
// after half a minute; what comes then says what is missing.
func (s *System) WaitForLink(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, linkLimit)
	defer cancel()
	tick := time.NewTicker(linkEvery)
	defer tick.Stop()
	for !s.linkIsThere() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *System) linkIsThere() bool {
	name, err := s.FindLink()
	if err != nil {
		return false
	}
	l, err := net.InterfaceByName(name)
	return err == nil && (!s.runs(udevRuns) || s.runs(udevKnows+strconv.Itoa(l.Index)))
}

// FindLink is the name of the interface that is configured.
func (s *System) FindLink() (string, error) {
	if s.Link != "" {
		return s.Link, nil
	}
	links, err := netlink.LinkList()
	if err != nil {
		return "", fmt.Errorf("list network interfaces: %w", err)
	}
	slices.SortFunc(links, func(a, b netlink.Link) int { return a.Attrs().Index - b.Attrs().Index })
	for _, l := range links {
		a := l.Attrs()
		if _, err := os.Stat("/sys/class/net/" + a.Name + "/device"); err == nil && a.EncapType == "ether" {
			return a.Name, nil
		}
	}
	return "", errors.New("there is no network card; add a VMXNET3 adapter to the virtual machine")
}

// kernel is one conversation about one link.
type kernel struct {
	h    *netlink.Handle
	link netlink.Link
	did  []string
}

// setLink makes the kernel's addresses and default route what the settings say.
// The new address is there before the old one goes. With DHCP it only takes
// away what is static; networkd does the rest.
func (s *System) setLink(name string, want settings.Settings) ([]string, error) {
	h, err := netlink.NewHandle(syscall.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("talk to the kernel: %w", err)
	}
	defer h.Close()
	if err := h.SetSocketTimeout(netlinkLimit); err != nil {
		return nil, err
	}
	link, err := h.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("network interface %s: %w", name, err)
	}
	k := &kernel{h: h, link: link}
	if link.Attrs().RawFlags&syscall.IFF_UP == 0 {
		if err := h.LinkSetUp(link); err != nil {
			return nil, fmt.Errorf("turn %s on: %w", name, err)
		}
		k.done("%s on", name)
	}
	steps := []func(settings.Settings) error{k.addAddress, k.removeAddresses, k.addAddress, k.setGateway}
	for _, step := range steps { // an old address may take a new one of its network along, hence twice
		if err := step(want); err != nil {
			return k.did, err
		}
	}
	return k.did, nil
}

func (k *kernel) done(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(k.did, text) {
		k.did = append(k.did, text)
	}
}

func (k *kernel) name() string { return k.link.Attrs().Name }

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits)
}

func netOf(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func (k *kernel) addAddress(s settings.Settings) error {
	want := s.Address
	if s.DHCP() {
		return nil
	}
	have, err := k.h.AddrList(k.link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", k.name(), err)
	}
	for _, a := range have {
		if prefixOf(a.IPNet) == want && a.Flags&syscall.IFA_F_PERMANENT != 0 {
			return nil
		}
	}
	if err := k.h.AddrReplace(k.link, &netlink.Addr{IPNet: netOf(want)}); err != nil {
		return fmt.Errorf("give %s the address %s: %w", k.name(), want, err)
	}
	k.done("address %s", want)
	return nil
}

// removeAddresses takes all others away but those that come and go by
// themselves: a link's own, and what routers or a DHCP server gave for a while.
func (k *kernel) removeAddresses(s settings.Settings) error {
	want := s.Address
	have, err := k.h.AddrList(k.link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", k.name(), err)
	}
	for _, a := range have {
		p := prefixOf(a.IPNet)
		leased := a.Flags&syscall.IFA_F_PERMANENT == 0
		if p == want || p.Addr().IsLinkLocalUnicast() || leased && (p.Addr().Is6() || !want.IsValid()) {
			continue
		}
		err := k.h.AddrDel(k.link, &netlink.Addr{IPNet: a.IPNet})
		if err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) { // gone with its primary
			return fmt.Errorf("take the address %s from %s: %w", p, k.name(), err)
		}
		k.done("address %s away", p)
	}
	return nil
}

// Of <linux/rtnetlink.h>: who made a route.
const (
	byRouter = 9  // RTPROT_RA
	byDHCP   = 16 // RTPROT_DHCP
	byKernel = 2  // RTPROT_KERNEL
	byAdmin  = 4  // RTPROT_STATIC
)

// setGateway makes the default route of the address's family the wanted one,
// and takes others of this link away.
func (k *kernel) setGateway(want settings.Settings) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if err := k.defaultRoute(family, want); err != nil {
			return err
		}
	}
	return nil
}

func (k *kernel) defaultRoute(family int, want settings.Settings) error {
	routes, err := k.h.RouteListFiltered(family, &netlink.Route{LinkIndex: k.link.Attrs().Index}, netlink.RT_FILTER_OIF)
	if err != nil {
		if errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EOPNOTSUPP) {
			return nil // no IPv6 here
		}
		return fmt.Errorf("list the routes of %s: %w", k.name(), err)
	}
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return !isDefault(r) })
	var gateway netip.Addr
	if want.Gateway.IsValid() && want.Gateway.Is4() == (family == netlink.FAMILY_V4) {
		gateway = want.Gateway
	}
	static := !want.DHCP() && want.Address.Addr().Is4() == (family == netlink.FAMILY_V4)
	there := false
	for _, r := range routes {
		gw, _ := netip.AddrFromSlice(r.Gw)
		switch {
		case !there && gateway.IsValid() && gw.Unmap() == gateway && r.Priority <= routePriority(family):
			there = true
		case !static && (r.Protocol == byDHCP || r.Protocol == byRouter || r.Protocol == byKernel):
		default:
			if err := k.h.RouteDel(&r); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("take the default route via %s away: %w", gw, err)
			}
			k.done("default route via %s away", gw)
		}
	}
	if there || !gateway.IsValid() {
		return nil
	}
	if err := k.h.RouteAdd(&netlink.Route{LinkIndex: k.link.Attrs().Index, Gw: gateway.AsSlice(), Protocol: byAdmin}); err != nil {
		return fmt.Errorf("make the default route via %s: %w", gateway, err)
	}
	k.done("default route via %s", gateway)
	return nil
}

// routePriority is that of a route for which none was asked.
func routePriority(family int) int {
	if family == netlink.FAMILY_V6 {
		return 1024
	}
	return 0
}

func isDefault(r netlink.Route) bool {
	if r.Table != syscall.RT_TABLE_MAIN || r.Type != syscall.RTN_UNICAST {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}
