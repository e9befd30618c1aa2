package network

import (
	"encoding/binary"
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// Many a kernel that tests run on has no VLANs and no bonds. Their messages are
// put together here as <linux/if_link.h> lays them out.

func u16(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }

func zeroEnded(s string) []byte { return append([]byte(s), 0) }

// newLink is the body of an RTM_NEWLINK message.
func newLink(t *testing.T, index int, name string, add func(*message)) netlink.Link {
	t.Helper()
	msg := nl.NewIfInfomsg(syscall.AF_UNSPEC)
	msg.Index, msg.Flags = int32(index), syscall.IFF_UP
	m := &message{bytes: msg.Serialize()}
	m.attr(syscall.IFLA_IFNAME, zeroEnded(name))
	m.attr(syscall.IFLA_MTU, u32(1500))
	m.attr(syscall.IFLA_ADDRESS, []byte{2, 0, 0, 0, 0, byte(index)})
	m.attr(16 /* IFLA_OPERSTATE */, []byte{6})
	add(m)
	l, err := netlink.LinkDeserialize(nil, m.bytes)
	must(t, err)
	return l
}

type message struct{ bytes []byte }

func (m *message) attr(kind int, value []byte) {
	m.bytes = append(m.bytes, nl.NewRtAttr(kind, value).Serialize()...)
}

// info adds IFLA_LINKINFO with a kind and its data, or those of a port.
func (m *message) info(port bool, kind string, data func(*nl.RtAttr)) {
	kindAttr, dataAttr := nl.IFLA_INFO_KIND, nl.IFLA_INFO_DATA
	if port {
		kindAttr, dataAttr = nl.IFLA_INFO_SLAVE_KIND, nl.IFLA_INFO_SLAVE_DATA
	}
	info := nl.NewRtAttr(syscall.IFLA_LINKINFO, nil)
	info.AddRtAttr(kindAttr, zeroEnded(kind))
	data(info.AddRtAttr(dataAttr, nil))
	m.bytes = append(m.bytes, info.Serialize()...)
}

func TestBondsAndVLANs(t *testing.T) {
	port := func(index int, name, perm string) netlink.Link {
		mac, err := net.ParseMAC(perm)
		must(t, err)
		return newLink(t, index, name, func(m *message) {
			m.attr(syscall.IFLA_MASTER, u32(4))
			m.attr(56 /* IFLA_PARENT_DEV_NAME */, zeroEnded("0000:01:00.0"))
			m.info(true, "bond", func(d *nl.RtAttr) { d.AddRtAttr(nl.IFLA_BOND_SLAVE_PERM_HWADDR, mac) })
		})
	}
	links := []netlink.Link{
		port(2, "eth0", "52:54:00:00:00:aa"),
		port(3, "eth1", "52:54:00:00:00:bb"),
		newLink(t, 4, "bond0", func(m *message) {
			m.info(false, "bond", func(d *nl.RtAttr) {
				d.AddRtAttr(nl.IFLA_BOND_MODE, []byte{1})
				d.AddRtAttr(nl.IFLA_BOND_ACTIVE_SLAVE, u32(3))
			})
		}),
		newLink(t, 5, "bond0.7", func(m *message) {
			m.attr(syscall.IFLA_LINK, u32(4))
			m.info(false, "vlan", func(d *nl.RtAttr) {
				d.AddRtAttr(nl.IFLA_VLAN_ID, u16(7))
				d.AddRtAttr(nl.IFLA_VLAN_PROTOCOL, []byte{0x88, 0xa8})
			})
		}),
		newLink(t, 6, "dummy0", func(m *message) { m.info(false, "dummy", func(*nl.RtAttr) {}) }),
	}
	want := map[string]inventory.Link{
		"mac/52:54:00:00:00:aa": {Name: "eth0", Index: 2, Type: "device", Master: "bond0"},
		"mac/52:54:00:00:00:bb": {Name: "eth1", Index: 3, Type: "device", Master: "bond0"},
		"name/bond0": {
			Name: "bond0", Index: 4, Type: "bond",
			Bond: &inventory.Bond{Mode: "active-backup", Active: "eth1", Ports: []string{"eth0", "eth1"}},
		},
		"name/bond0.7": {Name: "bond0.7", Index: 5, Type: "vlan", Lower: "bond0", VLAN: &inventory.VLAN{ID: 7, Protocol: "802.1ad"}},
		"name/dummy0":  {Name: "dummy0", Index: 6, Type: "dummy"},
	}
	got := make(map[string]inventory.Link)
	for _, r := range newTable(links, nil, sysfs(t.TempDir())).resources() {
		l := r.Spec.(inventory.Link)
		if l.MAC == "" || l.MTU != 1500 || l.State != "up" || !l.AdminUp {
			t.Errorf("%s: MAC, MTU or state is missing: %+v", r.ID, l)
		}
		got[r.ID] = l
	}
	common := cmpopts.IgnoreFields(inventory.Link{}, "MAC", "MTU", "State", "AdminUp")
	if diff := cmp.Diff(want, got, common); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
}

func TestRoutesOfOtherKindsAreNotDefault(t *testing.T) {
	def := []byte{syscall.AF_INET, 0, 0, 0, syscall.RT_TABLE_MAIN, 3, 0, syscall.RTN_UNICAST, 0, 0, 0, 0}
	if !isDefault(def, syscall.AF_INET) {
		t.Fatal("a default route is not known as one")
	}
	for name, at := range map[string]struct {
		index int
		value byte
	}{
		"other family":  {0, syscall.AF_INET6},
		"destination":   {1, 24},
		"local table":   {4, 255},
		"unreachable":   {7, syscall.RTN_UNREACHABLE},
		"cached clone":  {9, 2}, // RTM_F_CLONED, little-endian
		"a short":       {-1, 0},
		"another table": {4, 100},
	} {
		m := append([]byte(nil), def...)
		if at.index < 0 {
			m = m[:11]
		} else {
			m[at.index] = at.value
		}
		if isDefault(m, syscall.AF_INET) {
			t.Errorf("%s counts as a default route", name)
		}
	}
}

func FuzzParseRoute(f *testing.F) {
	seed := []byte{2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0}
	seed = append(seed, nl.NewRtAttr(syscall.RTA_GATEWAY, []byte{192, 0, 2, 1}).Serialize()...)
	hop := append(append(u16(16), 0, 0), u32(3)...)
	hop = append(hop, nl.NewRtAttr(syscall.RTA_GATEWAY, []byte{192, 0, 2, 1}).Serialize()...)
	f.Add(seed)
	f.Add(append(seed, nl.NewRtAttr(syscall.RTA_MULTIPATH, hop).Serialize()...))
	f.Fuzz(func(_ *testing.T, b []byte) {
		routes, err := parseRoute(b)
		if err == nil {
			newTable(nil, nil, "").routes(routes)
		}
	})
}

func TestAnInterruptedDumpIsRepeated(t *testing.T) {
	asked := 0
	got, err := dump(t.Context(), "links", func() ([]int, error) {
		if asked++; asked < 3 {
			return []int{1}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	if err != nil || len(got) != 2 {
		t.Errorf("dump = %v, %v, want the whole of the third try", got, err)
	}
	_, err = dump(t.Context(), "links", func() ([]int, error) { return nil, netlink.ErrDumpInterrupted })
	if !errors.Is(err, netlink.ErrDumpInterrupted) {
		t.Errorf("dump that is always interrupted = %v, want the error, never a part", err)
	}
}
