package privilege

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/session"
)

const (
	batch     = 100 // objects of one call
	callLimit = 30 * time.Second
)

// Object is one that privileges are looked for on.
type Object struct {
	Place Place
	Ref   types.ManagedObjectReference
	Path  string // "/DC0/vm", for people
}

// Missing is a privilege that an account lacks.
type Missing struct {
	Function  string
	Privilege string // by vCenter's id
	Without   string // what does not work without it
	Object    Object
}

// Check asks which privileges the user of a session lacks on the objects of
// their places, sorted as needs and on are. key is the session's, as vCenter told
// it at the login. A privilege that the vCenter does not know is not missed, nor
// one on an object that is gone. The list is complete, or there is an error.
func Check(ctx context.Context, c *vim25.Client, key string, needs []Need, on []Object) ([]Missing, error) {
	if c.ServiceContent.AuthorizationManager == nil {
		return nil, errors.New("check privileges: the server has no authorization manager: is it a vCenter?")
	}
	known, err := privilegeList(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("read the list of privileges: %w", err)
	}
	needs = only(needs, known)
	has := make(map[types.ManagedObjectReference]answer)
	for _, p := range []Place{Root, Folder, Cluster, Datastore, Network} {
		var ids []string
		for _, n := range needs {
			if n.Place == p {
				ids = append(ids, n.Privileges...)
			}
		}
		slices.Sort(ids)
		ids = slices.Compact(ids)
		var refs []types.ManagedObjectReference
		for _, o := range on {
			if o.Place == p {
				refs = append(refs, o.Ref)
			}
		}
		if len(ids) == 0 {
			continue
		}
		for some := range slices.Chunk(refs, batch) {
			if err := ask(ctx, c, key, ids, some, has); err != nil {
				return nil, fmt.Errorf("check privileges: %w", err)
			}
		}
	}
	return missing(needs, on, has), nil
}

// only leaves out the privileges that the vCenter does not know.
func only(needs []Need, known map[string]bool) []Need {
	if len(known) == 0 {
		return needs
	}
	needs = slices.Clone(needs)
	for i, n := range needs {
		needs[i].Privileges = slices.DeleteFunc(slices.Clone(n.Privileges), func(id string) bool { return !known[id] })
	}
	return needs
}

// answer is what vCenter said of one object.
type answer struct {
	gone    bool
	granted map[string]bool // nil: the user may not even see it
}

func missing(needs []Need, on []Object, has map[types.ManagedObjectReference]answer) []Missing {
	var out []Missing
	for _, n := range needs {
		for _, o := range on {
			a := has[o.Ref]
			if n.Place != o.Place || a.gone {
				continue
			}
			for _, id := range n.Privileges {
				if !a.granted[id] {
					out = append(out, Missing{Function: n.Function, Privilege: id, Without: n.Without, Object: o})
				}
			}
		}
	}
	return out
}

// ask asks for one batch. An object that is gone or hidden fails a whole call, so
// that it is left out of the next.
func ask(ctx context.Context, c *vim25.Client, key string, ids []string, refs []types.ManagedObjectReference, has map[types.ManagedObjectReference]answer) error {
	refs = slices.Clone(refs)
	for len(refs) > 0 {
		res, err := call(ctx, c, &types.HasPrivilegeOnEntities{
			This: *c.ServiceContent.AuthorizationManager, Entity: refs, SessionId: key, PrivId: ids,
		})
		if err == nil {
			return note(res.Returnval, ids, refs, has)
		}
		bad, a := culprit(err)
		i := slices.Index(refs, bad)
		if i < 0 {
			return err
		}
		has[bad] = a
		refs = slices.Delete(refs, i, i+1)
	}
	return nil
}

// privilegeList returns the ids that the vCenter knows; empty: it does not say.
func privilegeList(ctx context.Context, c *vim25.Client) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var m mo.AuthorizationManager
	if err := property.DefaultCollector(c).RetrieveOne(ctx, *c.ServiceContent.AuthorizationManager, []string{"privilegeList"}, &m); err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(m.PrivilegeList))
	for _, p := range m.PrivilegeList {
		known[p.PrivId] = true
	}
	return known, nil
}

func call(ctx context.Context, c *vim25.Client, req *types.HasPrivilegeOnEntities) (*types.HasPrivilegeOnEntitiesResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return methods.HasPrivilegeOnEntities(ctx, c, req)
}

// culprit is the object that a call failed for, if it was one.
func culprit(err error) (types.ManagedObjectReference, answer) {
	switch f := session.Fault(err).(type) {
	case types.ManagedObjectNotFound:
		return f.Obj, answer{gone: true}
	case types.NoPermission:
		if f.Object != nil {
			return *f.Object, answer{}
		}
	}
	return types.ManagedObjectReference{}, answer{}
}

// note keeps an answer, which has to be complete.
func note(got []types.EntityPrivilege, ids []string, refs []types.ManagedObjectReference, has map[types.ManagedObjectReference]answer) error {
	for _, e := range got {
		a := answer{granted: make(map[string]bool)}
		said := 0
		for _, p := range e.PrivAvailability {
			if slices.Contains(ids, p.PrivId) {
				a.granted[p.PrivId], said = p.IsGranted, said+1
			}
		}
		if said != len(ids) {
			return fmt.Errorf("vCenter answers for %d of %d privileges on %s", said, len(ids), e.Entity.Value)
		}
		has[e.Entity] = a
	}
	for _, r := range refs {
		if has[r].granted == nil {
			return fmt.Errorf("vCenter does not answer for %s", r.Value)
		}
	}
	return nil
}
