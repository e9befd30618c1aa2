package vcsim

import (
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// markUplinks marks the port groups that a distributed switch made for its own
// uplinks, as vCenter does and the simulator does not.
func markUplinks(m *simulator.Model) {
	for _, e := range m.Map().All("DistributedVirtualPortgroup") {
		if pg, ok := e.(*simulator.DistributedVirtualPortgroup); ok && strings.Contains(pg.Name, "-DVUplinks-") {
			pg.Tag = []types.Tag{{Key: "SYSTEM/DVS.UPLINKPG"}}
		}
	}
}
