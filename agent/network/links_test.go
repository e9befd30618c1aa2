package network

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"github.com/openpf9/openpf9/internal/namespaces"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

// world makes a bridge with a veth port, addresses, default routes, a tap and a
// VXLAN link.
func world(t *testing.T) {
	t.Helper()
	namespaces.Need(t)
	attrs := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return a
	}
	add := func(l netlink.Link) {
		t.Helper()
		must(t, netlink.LinkAdd(l))
		t.Cleanup(func() { _ = netlink.LinkDel(l) })
	}
	br := &netlink.Bridge{LinkAttrs: attrs("br0")}
	add(br)
	veth := &netlink.Veth{LinkAttrs: attrs("port0"), PeerName: "up0"}
	add(veth)
	must(t, netlink.LinkSetMaster(veth, br))
	up, err := netlink.LinkByName("up0")
	must(t, err)
	for _, l := range []netlink.Link{br, veth, up} {
		must(t, netlink.LinkSetUp(l))
	}
	for _, a := range []string{"192.0.2.2/24", "198.51.100.7/32", "2001:db8::2/64"} {
		must(t, netlink.AddrAdd(up, &netlink.Addr{IPNet: cidr(t, a), Flags: 2 /* IFA_F_NODAD */}))
	}
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: up.Attrs().Index, Gw: net.ParseIP("192.0.2.1"), Priority: 50, Protocol: 4}))
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: up.Attrs().Index, Gw: net.ParseIP("2001:db8::1"), Protocol: 4}))
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: up.Attrs().Index, Gw: net.ParseIP("192.0.2.9"), Dst: cidr(t, "203.0.113.0/24")}))
	add(&netlink.Tuntap{LinkAttrs: attrs("vnet0"), Mode: netlink.TUNTAP_MODE_TAP})
	if err := netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs("vx42"), VxlanId: 42, Port: 4789, VtepDevIndex: up.Attrs().Index, Group: net.ParseIP("239.1.1.1")}); err != nil {
		t.Logf("no vxlan in this kernel: %v", err)
	} else {
		t.Cleanup(func() { l, _ := netlink.LinkByName("vx42"); _ = netlink.LinkDel(l) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func cidr(t *testing.T, s string) *net.IPNet {
	t.Helper()
	addr, n, err := net.ParseCIDR(s)
	must(t, err)
	n.IP = addr
	return n
}

func list(t *testing.T, s plugin.Source) map[plugin.Key]plugin.Resource {
	t.Helper()
	all := make(map[plugin.Key]plugin.Resource)
	must(t, s.List(t.Context(), func(r plugin.Resource) { all[r.Key] = r }))
	return all
}

func TestLinksConform(t *testing.T) {
	world(t)
	settled(t)
	plugintest.Run(t, plugintest.Options{
		New:   func(*testing.T) plugin.Source { return &Links{} },
		Kinds: (*Links)(nil).Kinds(),
	})
}

// settled waits until the bridge has brought its links up: that takes the
// kernel a moment.
func settled(t *testing.T) {
	t.Helper()
	eventually(t, "br0 is up", func() bool {
		l, err := netlink.LinkByName("br0")
		return err == nil && l.Attrs().OperState == netlink.OperUp
	})
	eventually(t, "every address is in use", func() bool {
		as, err := netlink.AddrList(nil, netlink.FAMILY_V6)
		own := 0
		for _, a := range as {
			if a.Flags&0x40 != 0 { // IFA_F_TENTATIVE
				return false
			}
			if a.IP.IsLinkLocalUnicast() {
				own++
			}
		}
		return err == nil && own == 3 // br0, port0, up0
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("never came true: %s", what)
		case <-tick.C:
		}
	}
}

func TestLinksOfAHost(t *testing.T) {
	world(t)
	all := list(t, &Links{})
	link := func(name string) inventory.Link {
		t.Helper()
		r, ok := all[plugin.Key{Kind: inventory.KindLink, ID: "name/" + name}]
		if !ok {
			t.Fatalf("link %s is not listed", name)
		}
		l := r.Spec.(inventory.Link)
		l.Addresses = slices.DeleteFunc(l.Addresses, func(a inventory.Address) bool { return a.Scope == "link" })
		return l
	}
	kernels := cmpopts.IgnoreFields(inventory.Link{}, "Index", "MAC", "State", "MTU")
	tests := []inventory.Link{
		{Name: "br0", Type: "bridge", AdminUp: true, Bridge: &inventory.Bridge{Ports: []string{"port0"}}},
		{Name: "port0", Type: "veth", AdminUp: true, Master: "br0"},
		{Name: "up0", Type: "veth", AdminUp: true, Addresses: []inventory.Address{
			{CIDR: "192.0.2.2/24", Scope: "global"},
			{CIDR: "198.51.100.7/32", Scope: "global"},
			{CIDR: "2001:db8::2/64", Scope: "global"},
		}},
		{Name: "vnet0", Type: "tap"},
	}
	if _, err := netlink.LinkByName("vx42"); err == nil {
		tests = append(tests, inventory.Link{
			Name: "vx42", Type: "vxlan", Lower: "up0",
			VXLAN: &inventory.VXLAN{VNI: 42, Remote: "239.1.1.1", Port: 4789},
		})
	}
	for _, want := range tests {
		if diff := cmp.Diff(want, link(want.Name), kernels, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Name, diff)
		}
	}
}

func TestOnlyDefaultRoutes(t *testing.T) {
	world(t)
	got := make(map[string]inventory.Route)
	for k, r := range list(t, &Links{}) {
		if k.Kind == inventory.KindRoute {
			got[k.ID] = r.Spec.(inventory.Route)
		}
	}
	want := map[string]inventory.Route{
		"ipv4/main/default/192.0.2.1/up0/50":     {Family: "ipv4", Gateway: "192.0.2.1", Link: "up0", Metric: 50, Protocol: "static"},
		"ipv6/main/default/2001:db8::1/up0/1024": {Family: "ipv6", Gateway: "2001:db8::1", Link: "up0", Metric: 1024, Protocol: "static"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestEachNextHopIsARoute(t *testing.T) {
	world(t)
	up, err := netlink.LinkByName("up0")
	must(t, err)
	hop := func(gw string) *netlink.NexthopInfo {
		return &netlink.NexthopInfo{LinkIndex: up.Attrs().Index, Gw: net.ParseIP(gw)}
	}
	must(t, netlink.RouteAdd(&netlink.Route{Dst: cidr(t, "0.0.0.0/0"), Priority: 7, MultiPath: []*netlink.NexthopInfo{hop("192.0.2.4"), hop("192.0.2.5")}}))
	all := list(t, &Links{})
	for _, id := range []string{"ipv4/main/default/192.0.2.4/up0/7", "ipv4/main/default/192.0.2.5/up0/7"} {
		if _, ok := all[plugin.Key{Kind: inventory.KindRoute, ID: id}]; !ok {
			t.Errorf("%s is not listed", id)
		}
	}
}

// watch runs w until the test ends and returns its hints; the channel holds
// one, and a hint that finds it full is lost as a runner would lose it.
func watch(t *testing.T, w plugin.Watcher) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	hints, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- w.Watch(ctx, func(...plugin.Key) {
			select {
			case hints <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch = %v after it was told to stop, want nil", err)
		}
	})
	return hints
}

// hinted returns how long a hint took after do, which must be under limit.
func hinted(t *testing.T, hints <-chan struct{}, limit time.Duration, do func()) time.Duration {
	t.Helper()
	select {
	case <-hints:
	default:
	}
	start := time.Now()
	do()
	select {
	case <-hints:
	case <-time.After(limit):
		t.Fatalf("no hint within %v", limit)
	}
	return time.Since(start)
}

// quiet fails if a hint comes within d. There is no condition to wait for when
// nothing may happen.
func quiet(t *testing.T, hints <-chan struct{}, d time.Duration) {
	t.Helper()
	select {
	case <-hints:
		t.Error("a hint where nothing of interest changed")
	case <-time.After(d):
	}
}

func TestChangesAreHinted(t *testing.T) {
	world(t)
	settled(t)
	up, err := netlink.LinkByName("up0")
	must(t, err)
	ready := make(chan struct{})
	hints := watch(t, &Links{watching: func() { close(ready) }})
	<-ready
	addr := &netlink.Addr{IPNet: cidr(t, "192.0.2.77/24")}
	def := &netlink.Route{LinkIndex: up.Attrs().Index, Gw: net.ParseIP("192.0.2.3"), Priority: 99}
	other := &netlink.Route{LinkIndex: up.Attrs().Index, Gw: net.ParseIP("192.0.2.3"), Dst: cidr(t, "203.0.113.128/25")}
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br1"}}
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"link added", func() error { return netlink.LinkAdd(br) }},
		{"link deleted", func() error { return netlink.LinkDel(br) }},
		{"address added", func() error { return netlink.AddrAdd(up, addr) }},
		{"address deleted", func() error { return netlink.AddrDel(up, addr) }},
		{"default route added", func() error { return netlink.RouteAdd(def) }},
		{"default route deleted", func() error { return netlink.RouteDel(def) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			took := hinted(t, hints, 250*time.Millisecond, func() { must(t, c.do()) })
			t.Logf("hint after %v", took)
		})
	}
	t.Run("other routes are not hinted", func(t *testing.T) {
		hinted(t, hints, 250*time.Millisecond, func() { must(t, netlink.RouteAdd(def)) })
		must(t, netlink.RouteAdd(other))
		must(t, netlink.RouteDel(other))
		quiet(t, hints, 50*time.Millisecond)
	})
}

func TestOverflowIsAHint(t *testing.T) {
	world(t)
	settled(t)
	hold, ready := make(chan struct{}), make(chan struct{})
	s, err := newNotifier(2048)
	must(t, err)
	defer s.close()
	var lost, hints int
	held := make(chan error, 1)
	go func() {
		held <- s.run(func(l bool) {
			hints++
			if hints == 1 {
				close(ready)
				<-hold
			}
			if l {
				lost++
			}
			if lost > 0 {
				s.wake()
			}
		})
	}()
	up, err := netlink.LinkByName("up0")
	must(t, err)
	flap := func() {
		must(t, netlink.LinkSetMTU(up, 1400))
		must(t, netlink.LinkSetMTU(up, 1500))
	}
	flap()
	<-ready
	for range 100 {
		flap()
	}
	close(hold)
	select {
	case <-held:
	case <-time.After(5 * time.Second):
		t.Fatal("no hint after the kernel dropped notifications")
	}
	if lost == 0 {
		t.Error("the overflow was not noticed")
	}
}

func TestWatchingGoesOnAfterAnOverflow(t *testing.T) {
	world(t)
	settled(t)
	up, err := netlink.LinkByName("up0")
	must(t, err)
	ready := make(chan struct{})
	hints := watch(t, &Links{ReceiveBuffer: 1, watching: func() { close(ready) }})
	<-ready
	for i := range 500 {
		must(t, netlink.LinkSetMTU(up, 1300+i%2))
	}
	eventually(t, "the flood is over", func() bool {
		select {
		case <-hints:
			return false
		default:
			return true
		}
	})
	hinted(t, hints, 250*time.Millisecond, func() { must(t, netlink.LinkSetMTU(up, 1500)) })
}

func TestHardwareIsKnownByItsPermanentAddress(t *testing.T) {
	nic := func(name, perm string, index int) netlink.Link {
		p, err := net.ParseMAC(perm)
		must(t, err)
		return &netlink.Device{LinkAttrs: netlink.LinkAttrs{
			Name: name, Index: index, PermHWAddr: p, ParentDev: "0000:01:00." + name[len(name)-1:], NetNsID: -1,
		}}
	}
	tab := newTable([]netlink.Link{
		nic("ens1", "52:54:00:00:00:01", 2),
		nic("eth2", "52:54:00:00:00:02", 3), // a synthetic NIC and
		nic("vf2", "52:54:00:00:00:02", 4),  // the function under it
		&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1, NetNsID: -1}},
	}, nil, sysfs(t.TempDir()))
	var got []string
	for _, r := range tab.resources() {
		got = append(got, r.ID)
	}
	want := []string{"mac/52:54:00:00:00:01", "mac/52:54:00:00:00:02/eth2", "name/lo", "mac/52:54:00:00:00:02/vf2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func TestSysfsOfANIC(t *testing.T) {
	root := t.TempDir()
	dir := root + "/class/net/ens1"
	must(t, os.MkdirAll(dir+"/device", 0o700))
	must(t, os.Symlink("../../../../bus/pci/drivers/ixgbe", dir+"/device/driver"))
	must(t, os.WriteFile(dir+"/speed", []byte("10000\n"), 0o600))
	must(t, os.WriteFile(dir+"/addr_assign_type", []byte("0\n"), 0o600))
	s := sysfs(root)
	l := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "ens1", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}}
	got := strings.Join([]string{s.driver("ens1"), s.permanentMAC(l.Attrs()).String()}, " ")
	if want := "ixgbe 02:00:00:00:00:01"; got != want || s.speed("ens1") != 10000 || !s.hardware(l) {
		t.Errorf("driver, address = %q, speed = %d, hardware = %v", got, s.speed("ens1"), s.hardware(l))
	}
}
