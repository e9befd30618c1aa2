package libvirt

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/openpf9/openpf9/plugin/inventory"
)

const usageStats = rpc.DomainStatsState | rpc.DomainStatsCPUTotal | rpc.DomainStatsBalloon |
	rpc.DomainStatsVCPU | rpc.DomainStatsInterface | rpc.DomainStatsBlock

// Stats samples all VMs in one call. A guest that begins to hang makes it wait
// until ctx ends; later calls leave out what only that guest can tell.
func (c *Conn) Stats(ctx context.Context) ([]inventory.VMStats, error) {
	s, err := c.session(ctx, roleVMs)
	if err != nil {
		return nil, err
	}
	return ask(ctx, s, "read VM statistics", func() ([]inventory.VMStats, error) {
		records, err := s.guestStats(nil, usageStats)
		all := make([]inventory.VMStats, 0, len(records))
		for _, r := range records {
			all = append(all, usage(r))
		}
		slices.SortFunc(all, func(a, b inventory.VMStats) int { return cmp.Compare(a.ID, b.ID) })
		return all, err
	})
}

// guestStats reads statistics of the domains, none meaning all. It is to be
// called through ask. What a guest cannot tell because another call waits for
// it is left out.
func (s *session) guestStats(of []rpc.Domain, what rpc.DomainStatsTypes) ([]rpc.DomainStatsRecord, error) {
	return s.lib.ConnectGetAllDomainStats(of, uint32(what), uint32(rpc.ConnectGetAllDomainsStatsNowait))
}

// usage turns libvirt's list of named numbers into one sample.
func usage(r rpc.DomainStatsRecord) inventory.VMStats {
	u := inventory.VMStats{ID: uuidText(r.Dom.UUID), Name: r.Dom.Name}
	disks := make(map[int]*inventory.DiskStats)
	nics := make(map[int]*inventory.NICStats)
	var st int32
	for _, p := range r.Params {
		n := number(p.Value)
		switch p.Field {
		case rpc.DomainStatsStateState:
			st = int32(n)
		case rpc.DomainStatsCPUTime:
			u.CPUTimeNanoseconds = n
		case "vcpu.current":
			u.VCPUs = int(n)
		case "balloon.current":
			u.MemoryBytes = n << 10
		case "balloon.rss":
			u.ResidentBytes = n << 10
		default:
			if i, field, ok := indexed(p.Field, "block."); ok {
				diskField(at(disks, i), field, p.Value)
			} else if i, field, ok := indexed(p.Field, "net."); ok {
				nicField(at(nics, i), field, p.Value)
			}
		}
	}
	u.State, _ = stateWords(st, 0)
	u.Disks = inOrder(disks)
	u.NICs = inOrder(nics)
	return u
}

func diskField(d *inventory.DiskStats, field string, v rpc.TypedParamValue) {
	switch field {
	case "name":
		d.Target = text(v)
	case "rd.bytes":
		d.ReadBytes = number(v)
	case "rd.reqs":
		d.ReadRequests = number(v)
	case "wr.bytes":
		d.WriteBytes = number(v)
	case "wr.reqs":
		d.WriteRequests = number(v)
	}
}

func nicField(n *inventory.NICStats, field string, v rpc.TypedParamValue) {
	switch field {
	case "name":
		n.Target = text(v)
	case "rx.bytes":
		n.ReceiveBytes = number(v)
	case "rx.pkts":
		n.ReceivePackets = number(v)
	case "tx.bytes":
		n.TransmitBytes = number(v)
	case "tx.pkts":
		n.TransmitPackets = number(v)
	}
}

// indexed splits "block.3.rd.bytes" into 3 and "rd.bytes".
func indexed(name, prefix string) (int, string, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, "", false
	}
	digits, field, ok := strings.Cut(rest, ".")
	if !ok {
		return 0, "", false
	}
	i, err := strconv.Atoi(digits)
	return i, field, err == nil
}

func at[T any](m map[int]*T, i int) *T {
	if m[i] == nil {
		m[i] = new(T)
	}
	return m[i]
}

func inOrder[T any](m map[int]*T) []T {
	var all []T
	for _, i := range slices.Sorted(func(yield func(int) bool) {
		for i := range m {
			if !yield(i) {
				return
			}
		}
	}) {
		all = append(all, *m[i])
	}
	return all
}

func text(v rpc.TypedParamValue) string {
	s, _ := v.I.(string)
	return s
}
