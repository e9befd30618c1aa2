package storage

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// volumeGroup is a volume group as its metadata describes it.
type volumeGroup struct {
	name  string
	uuid  string
	seqno uint64
	pvs   []physicalVolume
	spec  inventory.VolumeGroup // without PhysicalVolumes and Active
}

// physicalVolume is a member of a volume group.
type physicalVolume struct {
	uuid string
	hint string // device at the time of writing
}

const sectorBytes = 512

var errNoGroup = errors.New("no volume group in the metadata")

// parseVolumeGroup makes sense of metadata that describes one group.
func parseVolumeGroup(text string) (volumeGroup, error) {
	root, err := parseLVMText(text)
	if err != nil {
		return volumeGroup{}, err
	}
	for _, s := range root.sections {
		if s.text("id") != "" {
			return newVolumeGroup(s)
		}
	}
	return volumeGroup{}, errNoGroup
}

func newVolumeGroup(s *section) (volumeGroup, error) {
	extent := s.number("extent_size") * sectorBytes
	if extent == 0 || extent > 1<<50 {
		return volumeGroup{}, fmt.Errorf("volume group %s: extents of %d bytes", s.name, extent)
	}
	g := volumeGroup{name: s.name, uuid: s.text("id"), seqno: s.number("seqno")}
	pvNames := make(map[string]bool)
	var total, used uint64
	for _, pv := range s.child("physical_volumes").sections {
		pvNames[pv.name] = true
		total += min(pv.number("pe_count"), 1<<40)
		g.pvs = append(g.pvs, physicalVolume{uuid: pv.text("id"), hint: pv.text("device")})
	}
	for _, lv := range s.child("logical_volumes").sections {
		extents := uint64(0)
		thin := false
		for _, seg := range lv.sections {
			count := min(seg.number("extent_count"), 1<<40)
			extents += count
			used += allocated(seg, count, pvNames)
			thin = thin || seg.text("type") == "thin"
		}
		if lv.has("status", "VISIBLE") {
			g.spec.LogicalVolumes = append(g.spec.LogicalVolumes, inventory.LogicalVolume{
				Name: lv.name, UUID: lv.text("id"), SizeBytes: extents * extent, Thin: thin,
			})
		}
	}
	slices.SortFunc(g.spec.LogicalVolumes, func(a, b inventory.LogicalVolume) int { return cmp.Compare(a.Name, b.Name) })
	g.spec.ExtentBytes = extent
	g.spec.SizeBytes = total * extent
	g.spec.FreeBytes = (total - min(used, total)) * extent
	return g, nil
}

// allocated returns the extents that a segment takes from physical volumes:
// all, if it is striped over them, and none where it is made of other logical
// volumes, hidden ones that are counted themselves.
func allocated(seg *section, count uint64, pvs map[string]bool) uint64 {
	stripes := seg.list("stripes")
	n := uint64(len(stripes) / 2)
	if n == 0 {
		return 0
	}
	var used uint64
	for i := 0; i+1 < len(stripes); i += 2 {
		if name, ok := stripes[i].(string); ok && pvs[name] {
			used += count / n
		}
	}
	return used
}

// bare is a UUID without dashes, as labels and device-mapper write it.
func bare(uuid string) string { return strings.ReplaceAll(uuid, "-", "") }
