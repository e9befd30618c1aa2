package testvcenter

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// As many VMs stay, whatever Mutate takes away.
const fewVMs = 50

// Mutate makes one random change of the inventory, as people and vMotion do. VMs
// come as often as they go, so a long run does not end with another inventory
// than it began with.
func (s *Server) Mutate(r *rand.Rand) {
	vms := s.IDs("VirtualMachine")
	if len(vms) < fewVMs {
		s.AddVM()
		return
	}
	id := vms[r.IntN(len(vms))]
	switch r.IntN(12) {
	case 0:
		s.AddVM()
	case 1:
		s.Remove(id)
	case 2:
		s.Set(id, "name", fmt.Sprintf("renamed%d", r.IntN(1000)))
	case 3:
		hosts := s.IDs("HostSystem")
		s.Set(id, "runtime.host", types.ManagedObjectReference{Type: "HostSystem", Value: hosts[r.IntN(len(hosts))]})
	case 4:
		stores := s.IDs("Datastore")
		s.Set(stores[r.IntN(len(stores))], "name", fmt.Sprintf("store%d", r.IntN(1000)))
	case 5:
		folders := s.IDs("Folder")
		s.Set(folders[len(folders)-1], "name", fmt.Sprintf("folder%d", r.IntN(1000)))
	case 6:
		s.Set(id, "config.hardware.numCPU", 1+r.Int32N(64))
	default:
		s.SetPower(id, r.IntN(2) == 0)
	}
}

// SetPower turns a VM on or off.
func (s *Server) SetPower(id string, on bool) {
	state := types.VirtualMachinePowerStatePoweredOff
	if on {
		state = types.VirtualMachinePowerStatePoweredOn
	}
	s.Set(id, "runtime.powerState", state)
}

// Stamp writes a time into a VM's annotation, by which whoever sees it learns how
// long that took.
func (s *Server) Stamp(id string, at time.Time) {
	s.Set(id, "config.annotation", fmt.Sprint(at.UnixNano()))
}
