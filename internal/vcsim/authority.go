package vcsim

import (
	"slices"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// authority says who may do what. The simulator's own grants everything.
type authority struct {
	*simulator.AuthorizationManager

	mu     sync.Mutex // guards the field below
	denied []string   // privileges, on all objects
}

// HasPrivilegeOnEntities answers for all users alike.
func (a *authority) HasPrivilegeOnEntities(req *types.HasPrivilegeOnEntities) soap.HasFault {
	a.mu.Lock()
	defer a.mu.Unlock()
	res := &types.HasPrivilegeOnEntitiesResponse{}
	for _, e := range req.Entity {
		said := types.EntityPrivilege{Entity: e}
		for _, id := range req.PrivId {
			said.PrivAvailability = append(said.PrivAvailability, types.PrivilegeAvailability{PrivId: id, IsGranted: !slices.Contains(a.denied, id)})
		}
		res.Returnval = append(res.Returnval, said)
	}
	return &methods.HasPrivilegeOnEntitiesBody{Res: res}
}

// Deny says that users lack these privileges, and no others. What they ask for is
// done all the same.
func (s *Server) Deny(privileges ...string) {
	s.authority.mu.Lock()
	defer s.authority.mu.Unlock()
	s.authority.denied = privileges
}
