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

// measure brings the disk sizes up to date: of one domain, or of all if that is
// due. It waits only a little for guests, and not for earlier questions. An answer about all that comes late makes watchers
// ask for a new list.
func (v *VMs) measure(ctx context.Context, s *session, one ...rpc.Domain) {
	if s.busy() || len(one) == 0 && !v.sizesDue() {
		return
	}
	limit := sizeLimit
	if len(one) == 0 {
		limit = sizesLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var late atomic.Bool
	_, err := ask(ctx, s, "read disk sizes", func() (struct{}, error) {
		records, err := s.guestStats(one, rpc.DomainStatsBlock)
		if err == nil {
			v.apply(records, len(one) == 0)
		}
		if err == nil && late.Load() {
			v.touchAll()
		}
		return struct{}{}, err
	})
	if err != nil {
		late.Store(true)
		v.conn.log.Debug("libvirt disk sizes not read in time", "err", err)
	}
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

// sized returns vm with the sizes known of its disks.
func (v *VMs) sized(id rpc.UUID, vm inventory.VM) inventory.VM {
	v.mu.Lock()
	sizes := v.sizes[id]
	v.mu.Unlock()
	if len(sizes) == 0 || len(vm.Disks) == 0 {
		return vm
	}
	vm.Disks = slices.Clone(vm.Disks) // what was emitted before is not ours to change
	for i := range vm.Disks {
		for _, z := range sizes {
			if z.target == vm.Disks[i].Target {
				vm.Disks[i].CapacityBytes, vm.Disks[i].AllocationBytes = z.capacity, z.allocation
			}
		}
	}
	return vm
}
