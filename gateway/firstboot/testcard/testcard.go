// Package testcard makes the network card of an appliance for tests, in network
// name spaces of their own. It gives it no address: that is what is tested.
package testcard

import (
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/openpf9/openpf9/internal/namespaces"
)

const (
	Name = "pf9eth0"  // of the card
	Peer = "pf9peer0" // of the other end of its wire, which is down
)

// Make makes the card until the test ends. A test outside of name spaces is skipped.
func Make(t testing.TB) {
	t.Helper()
	namespaces.Need(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = Name
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: Peer}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(Name); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
}
