package network

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/openpf9/openpf9/internal/namespaces"
	"github.com/openpf9/openpf9/plugin"
)

// BenchmarkListLinks lists a hypervisor's thousand veths.
func BenchmarkListLinks(b *testing.B) {
	namespaces.Need(b)
	for i := range 500 {
		l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("v%d", i)}, PeerName: fmt.Sprintf("p%d", i)}
		if err := netlink.LinkAdd(l); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = netlink.LinkDel(l) })
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := new(Links).List(b.Context(), func(plugin.Resource) {}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRouter is a host that speaks BGP: it reports what a list costs among
// 100,000 routes, and what their flood costs while a watch runs.
func BenchmarkRouter(b *testing.B) {
	namespaces.Need(b)
	const routes = 100_000
	l := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	if err := netlink.LinkAdd(l); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = netlink.LinkDel(l) })
	if err := netlink.LinkSetUp(l); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	hints := 0
	done := make(chan error, 1)
	go func() { done <- new(Links).Watch(ctx, func(...plugin.Key) { hints++ }) }()
	h, err := netlink.NewHandle(syscall.NETLINK_ROUTE)
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	for i := range routes {
		dst := &net.IPNet{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)), Mask: net.CIDRMask(32, 32)}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: l.Index, Dst: dst}); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := new(Links).List(b.Context(), func(plugin.Resource) {}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(hints), "hints")
}
