package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

const (
	// dumpTimeout bounds the wait for each part of the kernel's answer.
	dumpTimeout = 5 * time.Second
	// dumpTries is how often a dump is repeated that changes kept interrupting.
	dumpTries = 5
)

// dump repeats ask while changes interrupt it: the kernel then says that what
// it returned may have holes.
func dump[T any](ctx context.Context, what string, ask func() ([]T, error)) ([]T, error) {
	var err error
	for range dumpTries {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var all []T
		if all, err = ask(); err == nil {
			return all, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return nil, fmt.Errorf("list %s: %w", what, err)
}

// Of <linux/netlink.h>.
const (
	solNetlink          = 270
	netlinkGetStrictChk = 12
)

// request dumps by a request of our own where the library's would ask for, or
// parse, much that nobody needs.
func request(kind int, answer uint16, see func(m []byte) bool, data ...nl.NetlinkRequestData) error {
	s, err := nl.GetNetlinkSocketAt(-1, -1, syscall.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer s.Close()
	limit := nl.SocketTimeoutTv
	limit.Sec, limit.Usec = int64(dumpTimeout.Seconds()), 0
	if err := errors.Join(s.SetSendTimeout(&limit), s.SetReceiveTimeout(&limit)); err != nil {
		return err
	}
	// With strict checking the kernel itself leaves other tables' routes out;
	// one that is too old to know the option sends them all.
	_ = syscall.SetsockoptInt(s.GetFd(), solNetlink, netlinkGetStrictChk, 1)
	req := nl.NewNetlinkRequest(kind, syscall.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{syscall.NETLINK_ROUTE: {Socket: s}}
	for _, d := range data {
		req.AddData(d)
	}
	return req.ExecuteIter(syscall.NETLINK_ROUTE, answer, see)
}

// dumpLinks asks for all links without their counters, which are half of the
// answer.
func dumpLinks() ([]netlink.Link, error) {
	const (
		iflaExtMask         = 29
		rtextFilterSkipStat = 1 << 3
	)
	var links []netlink.Link
	var bad error
	err := request(syscall.RTM_GETLINK, syscall.RTM_NEWLINK, func(m []byte) bool {
		l, err := netlink.LinkDeserialize(nil, m)
		links, bad = append(links, l), err
		return bad == nil
	}, nl.NewIfInfomsg(syscall.AF_UNSPEC), nl.NewRtAttr(iflaExtMask, u32(rtextFilterSkipStat)))
	return links, errors.Join(err, bad)
}

// dumpAddrs asks for the addresses of all links, of both families.
func dumpAddrs() ([]netlink.Addr, error) {
	h, err := netlink.NewHandle(syscall.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := h.SetSocketTimeout(dumpTimeout); err != nil {
		return nil, err
	}
	return h.AddrList(nil, netlink.FAMILY_ALL)
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
