package libvirt

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// sizeStep is by how much a disk's allocation must move to be worth telling.
// A thin disk grows with every write of its guest; each step would make the
// VM a changed one.
const sizeStep = 64 << 20

type diskSize struct {
	target               string
	capacity, allocation uint64
}

// census returns the states of all domains. If disk sizes are due, guests tell
// both in one call; when that takes too long, states come from libvirt alone.
func (v *VMs) census(ctx context.Context, s *session) (map[rpc.UUID]state, error) {
	if v.sizesDue() {
		if records, ok := v.measure(ctx, s, sizesLimit); ok {
			return statesOf(records), nil
		}
	}
	return askStates(ctx, s)
}

// measure brings the disk sizes up to date: of one domain, or of all, whose
// states are then told too. It waits only a little for guests, and not for
// earlier questions; false: the answer did not come in time. One about all that
// comes late makes watchers ask for a new list.
func (v *VMs) measure(ctx context.Context, s *session, limit time.Duration, one ...rpc.Domain) ([]rpc.DomainStatsRecord, bool) {
	if s.busy() {
		return nil, false
	}
	what, all := rpc.DomainStatsBlock, len(one) == 0
	if all {
		what |= rpc.DomainStatsState
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var late atomic.Bool
	records, err := ask(ctx, s, "read disk sizes", func() ([]rpc.DomainStatsRecord, error) {
		records, err := s.guestStats(one, what)
		if err == nil {
			v.apply(records, all)
		}
		if err == nil && late.Load() {
			v.touchAll()
		}
		return records, err
	})
	if err != nil {
		late.Store(true)
		v.conn.log.Debug("libvirt disk sizes not read in time", "err", err)
	}
	return records, err == nil
}

func (v *VMs) sizesDue() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.measured.IsZero() || time.Since(v.measured) >= sizesEvery
}

// apply keeps the sizes that records tell, all of them if all.
func (v *VMs) apply(records []rpc.DomainStatsRecord, all bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if all {
		v.measured = time.Now()
	}
	for _, r := range records {
		if fresh := diskSizes(r.Params); fresh != nil { // a busy guest tells nothing
			v.sizes[r.Dom.UUID] = steady(v.sizes[r.Dom.UUID], fresh)
		}
	}
}

// steady returns fresh with the allocations of old that moved less than a step.
func steady(old, fresh []diskSize) []diskSize {
	for i := range fresh {
		f := &fresh[i]
		for _, o := range old {
			near := max(o.allocation, f.allocation)-min(o.allocation, f.allocation) < sizeStep
			if o.target == f.target && o.capacity == f.capacity && near {
				f.allocation = o.allocation
			}
		}
	}
	return fresh
}

// diskSizes picks the sizes from a domain's block statistics.
func diskSizes(params []rpc.TypedParam) []diskSize {
	disks := make(map[int]*diskSize)
	for _, p := range params {
		i, field, ok := indexed(p.Field, "block.")
		if !ok {
			continue
		}
		switch field {
		case "name":
			at(disks, i).target = text(p.Value)
		case "capacity":
			at(disks, i).capacity = number(p.Value)
		case "allocation":
			at(disks, i).allocation = number(p.Value)
		}
	}
	return inOrder(disks)
}

// sized returns disks with the sizes known of them, 0 where none is, and
// whether that changes any. What was shown before is not ours to change.
func sized(disks []inventory.Disk, sizes []diskSize) ([]inventory.Disk, bool) {
	resized := false
	for i := range disks {
		var z diskSize
		for _, known := range sizes {
			if known.target == disks[i].Target {
				z = known
			}
		}
		if disks[i].CapacityBytes == z.capacity && disks[i].AllocationBytes == z.allocation {
			continue
		}
		if !resized {
			disks, resized = slices.Clone(disks), true
		}
		disks[i].CapacityBytes, disks[i].AllocationBytes = z.capacity, z.allocation
	}
	return disks, resized
}
