package network

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// route is one next hop of a default route of the main table.
type route struct {
	family   byte
	protocol byte
	link     int // index
	metric   int
	gateway  net.IP
	source   net.IP
}

// rtaVia is RTA_VIA: a gateway of another family than the route's.
const rtaVia = 18

// defaultRoutes dumps the main table of both families. The kernel cannot pick
// by destination, and a router of the Internet has a million routes: so all
// others are dropped by the second byte of the message, before they are parsed.
func defaultRoutes() ([]route, error) {
	var all []route
	for _, family := range []uint8{syscall.AF_INET, syscall.AF_INET6} {
		routes, err := dumpDefaults(family)
		switch {
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EAFNOSUPPORT):
			// No main table yet, or no IPv6 here: there are no routes.
		case err != nil:
			return nil, err
		default:
			all = append(all, routes...)
		}
	}
	return all, nil
}

func dumpDefaults(family uint8) ([]route, error) {
	msg := &nl.RtMsg{}
	msg.Family, msg.Table = family, syscall.RT_TABLE_MAIN
	var routes []route
	var bad error
	err := request(syscall.RTM_GETROUTE, syscall.RTM_NEWROUTE, func(m []byte) bool {
		if !isDefault(m, family) {
			return true
		}
		hops, err := parseRoute(m)
		routes, bad = append(routes, hops...), errors.Join(bad, err)
		return bad == nil
	}, msg)
	return routes, errors.Join(err, bad)
}

const (
	sizeofRtMsg   = 12
	sizeofNextHop = 8
)

// isDefault looks at a struct rtmsg: destination length at 1, table at 4, type
// at 7, flags at 8.
func isDefault(m []byte, family byte) bool {
	return len(m) >= sizeofRtMsg && m[0] == family && m[1] == 0 &&
		m[4] == syscall.RT_TABLE_MAIN && m[7] == syscall.RTN_UNICAST &&
		binary.NativeEndian.Uint32(m[8:])&syscall.RTM_F_CLONED == 0
}

// parseRoute parses an RTM_NEWROUTE message into its next hops.
func parseRoute(m []byte) ([]route, error) {
	if len(m) < sizeofRtMsg {
		return nil, fmt.Errorf("route message of %d bytes", len(m))
	}
	r := route{family: m[0], protocol: m[5]}
	var hops []byte
	err := eachAttr(m[sizeofRtMsg:], func(kind uint16, v []byte) {
		switch {
		case kind == syscall.RTA_MULTIPATH:
			hops = v
		case kind == syscall.RTA_OIF && len(v) >= 4:
			r.link = int(binary.NativeEndian.Uint32(v))
		case kind == syscall.RTA_PRIORITY && len(v) >= 4:
			r.metric = int(binary.NativeEndian.Uint32(v))
		case kind == syscall.RTA_PREFSRC:
			r.source = v
		default:
			r.setGateway(kind, v)
		}
	})
	if err != nil || hops == nil {
		return []route{r}, err
	}
	return r.nextHops(hops)
}

// eachAttr walks attributes: struct rtattr is its length and its type, and the
// next begins at a multiple of four. The library's own walk trusts the lengths.
func eachAttr(b []byte, see func(kind uint16, value []byte)) error {
	for len(b) >= syscall.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < syscall.SizeofRtAttr || n > len(b) {
			return fmt.Errorf("route attribute of %d bytes in %d", n, len(b))
		}
		see(binary.NativeEndian.Uint16(b[2:]), b[syscall.SizeofRtAttr:n])
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

func (r *route) setGateway(attr uint16, v []byte) {
	switch {
	case attr == syscall.RTA_GATEWAY:
		r.gateway = v
	case attr == rtaVia && len(v) > 2:
		r.gateway = v[2:]
	}
}

// nextHops parses RTA_MULTIPATH: struct rtnexthop is its length, flags, weight
// and link index, followed by attributes.
func (r route) nextHops(b []byte) ([]route, error) {
	var all []route
	for len(b) >= sizeofNextHop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < sizeofNextHop || n > len(b) {
			return nil, fmt.Errorf("next hop of %d bytes in %d", n, len(b))
		}
		hop := r
		hop.link = int(binary.NativeEndian.Uint32(b[4:]))
		if err := eachAttr(b[sizeofNextHop:n], hop.setGateway); err != nil {
			return nil, fmt.Errorf("next hop: %w", err)
		}
		all = append(all, hop)
		b = b[min((n+3)&^3, len(b)):]
	}
	return all, nil
}

// routes returns one resource for each next hop. Two that differ in nothing
// that their id is made of are one.
func (t *table) routes(all []route) []plugin.Resource {
	out := make([]plugin.Resource, 0, len(all))
	for _, r := range all {
		spec := inventory.Route{
			Family:   "ipv4",
			Gateway:  ip(r.gateway),
			Link:     t.names[r.link],
			Source:   ip(r.source),
			Metric:   r.metric,
			Protocol: netlink.RouteProtocol(r.protocol).String(),
		}
		if r.family == syscall.AF_INET6 {
			spec.Family = "ipv6"
		}
		out = append(out, plugin.Resource{
			Key: plugin.Key{
				Kind: inventory.KindRoute,
				ID:   fmt.Sprintf("%s/main/default/%s/%s/%d", spec.Family, spec.Gateway, spec.Link, spec.Metric),
			},
			Name: "default via " + cmp.Or(spec.Gateway, spec.Link),
			Spec: spec,
		})
	}
	slices.SortStableFunc(out, func(a, b plugin.Resource) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(out, func(a, b plugin.Resource) bool { return a.ID == b.ID })
}
