package main

import (
	"path/filepath"
	"strings"

	"github.com/openpf9/openpf9/plugin"
)

// deviceMap is the spec of a multipath map: one LUN, by several paths.
type deviceMap struct {
	State     string `json:"state" enum:"ok,degraded,failed,suspended" help:"of its paths all, some or none work; or its input and output are held"`
	Device    string `json:"device" help:"its name in /dev, such as dm-0"`
	SizeBytes int64  `json:"size_bytes"`
	Working   int    `json:"paths_working"`
	Total     int    `json:"paths_total"`
	Paths     []path `json:"paths" help:"by their device names"`
}

type path struct {
	Device  string `json:"device" help:"its name in /dev, such as sdb"`
	Address string `json:"address" help:"host:channel:target:lun"`
	State   string `json:"state" help:"what the SCSI layer says: running, offline, blocked, transport-offline; of NVMe: live"`
	Access  string `json:"access,omitempty" help:"what the array says (ALUA): optimized, non-optimized, standby, unavailable"`
}

// multipathPrefix marks the device mapper's UUIDs of multipath maps; the WWID
// of the LUN follows. A partition's has another prefix before it.
const multipathPrefix = "mpath-"

const sector = 512 // bytes, in sysfs always

func listMaps(l *look, sys string, emit func(plugin.Resource)) {
	blocks := filepath.Join(sys, "block")
	for _, device := range l.names(blocks) {
		if !strings.HasPrefix(device, "dm-") {
			continue
		}
		block := filepath.Join(blocks, device)
		wwid, ok := strings.CutPrefix(l.text(block, "dm/uuid"), multipathPrefix)
		if !ok {
			continue // another map, or it has just gone
		}
		m := deviceMap{Device: device, SizeBytes: sector * l.number(block, "size"), Paths: []path{}}
		for _, slave := range l.names(block, "slaves") {
			p := pathOf(l, filepath.Join(blocks, slave), slave)
			m.Paths = append(m.Paths, p)
			if p.works() {
				m.Working++
			}
		}
		m.Total = len(m.Paths)
		m.State = health(m.Working, m.Total)
		if l.number(block, "dm/suspended") != 0 {
			m.State = stateSuspended
		}
		emit(plugin.Resource{Key: plugin.Key{Kind: kindMap, ID: wwid}, Name: l.text(block, "dm/name"), Spec: m})
	}
}

func pathOf(l *look, block, device string) path {
	return path{
		Device:  device,
		Address: l.target(block, "device"),
		State:   l.text(block, "device/state"),
		Access:  strings.TrimPrefix(l.text(block, "device/access_state"), "active/"),
	}
}

// works says whether the path is whole. One that the array keeps in standby is.
func (p path) works() bool {
	return (p.State == "running" || p.State == "live") && p.Access != "unavailable" && p.Access != "offline"
}
