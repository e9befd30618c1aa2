package libvirt

import (
	"context"
	"slices"
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
// due. Guests may hang, so it waits only a little and otherwise leaves the
// sizes as they were.
func (v *VMs) measure(ctx context.Context, s *session, one ...rpc.Domain) {
	limit := sizeLimit
	if len(one) == 0 {
		v.mu.Lock()
		due := v.measured.IsZero() || time.Since(v.measured) >= sizesEvery
		v.mu.Unlock()
		if !due {
			return
		}
		limit = sizesLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	records, err := askGuests(ctx, s, one, rpc.DomainStatsBlock)
	if err != nil {
		v.conn.log.Debug("libvirt disk sizes not read", "err", err)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(one) == 0 {
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
