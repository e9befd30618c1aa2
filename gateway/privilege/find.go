package privilege

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	findLimit = time.Minute
	pageSize  = 500
	maxDepth  = 64 // of folders in folders; more is a circle
	uplinkTag = "SYSTEM/DVS.UPLINKPG"
)

// entity is what is read of an object.
type entity struct {
	ref      types.ManagedObjectReference
	name     string
	parent   *types.ManagedObjectReference
	vmFolder types.ManagedObjectReference   // of a datacenter
	uses     []types.ManagedObjectReference // datastores and networks of a cluster
	uplink   bool                           // a port group of a switch's own
}

// entities are all that the account sees, in the server's order.
type entities struct {
	order []*entity
	byRef map[types.ManagedObjectReference]*entity
}

// Find returns the objects on which privileges count: the root, and of the
// clusters, by name, path or id, themselves and what they use. None chosen means
// all. A chosen cluster that the account does not see is an error.
func Find(ctx context.Context, c *vim25.Client, clusters []string) ([]Object, error) {
	if c.ServiceContent.ViewManager == nil {
		return nil, errors.New("look at the inventory: the server has no view manager: is it a vCenter?")
	}
	ctx, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	all, err := look(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("look at the inventory: %w", err)
	}
	chosen, lost := all.choose(clusters)
	if len(lost) > 0 {
		return nil, fmt.Errorf("the account sees no cluster %q: correct the name, or let the account read it", lost)
	}
	wanted := make(map[types.ManagedObjectReference]Place)
	for _, k := range chosen {
		wanted[k.ref] = Cluster
		for _, r := range k.uses {
			wanted[r] = Network
			if r.Type == "Datastore" {
				wanted[r] = Datastore
			}
		}
		if dc := all.above(k, "Datacenter"); dc != nil {
			all.add(&entity{ref: dc.vmFolder, name: "vm", parent: &dc.ref}) // though the account does not see it
			wanted[dc.vmFolder] = Folder
		}
	}
	found := []Object{{Place: Root, Ref: c.ServiceContent.RootFolder, Path: "/"}}
	for _, e := range all.order {
		if p, ok := wanted[e.ref]; ok && !e.uplink {
			found = append(found, Object{Place: p, Ref: e.ref, Path: all.path(e)})
		}
	}
	slices.SortStableFunc(found[1:], func(a, b Object) int { return strings.Compare(a.Path, b.Path) })
	return found, nil
}

// look reads everything through a view, which ends with the session at the latest.
func look(ctx context.Context, c *vim25.Client) (*entities, error) {
	kinds := []string{"Folder", "Datacenter", "ComputeResource", "Datastore", "Network"}
	v, err := view.NewManager(c).CreateContainerView(ctx, c.ServiceContent.RootFolder, kinds, true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.Destroy(ctx) }()
	spec := types.PropertyFilterSpec{ObjectSet: []types.ObjectSpec{{
		Obj: v.Reference(), Skip: types.NewBool(true), SelectSet: []types.BaseSelectionSpec{&types.TraversalSpec{Type: v.Reference().Type, Path: "view"}},
	}}}
	for _, k := range kinds {
		paths := []string{"name", "parent"}
		switch k {
		case "Datacenter":
			paths = append(paths, "vmFolder")
		case "ComputeResource":
			paths = append(paths, "datastore", "network")
		case "Network":
			paths = append(paths, "tag")
		}
		spec.PropSet = append(spec.PropSet, types.PropertySpec{Type: k, PathSet: paths})
	}
	res, err := property.DefaultCollector(c).RetrieveProperties(ctx, types.RetrieveProperties{SpecSet: []types.PropertyFilterSpec{spec}}, pageSize)
	if err != nil {
		return nil, err
	}
	all := &entities{byRef: make(map[types.ManagedObjectReference]*entity)}
	for _, o := range res.Returnval {
		all.add(read(o))
	}
	return all, nil
}

// add adds an object, unless it is there.
func (all *entities) add(e *entity) {
	if all.byRef[e.ref] == nil {
		all.order, all.byRef[e.ref] = append(all.order, e), e
	}
}

func read(o types.ObjectContent) *entity {
	e := &entity{ref: o.Obj}
	for _, p := range o.PropSet {
		switch v := p.Val.(type) {
		case string:
			e.name = v
		case types.ManagedObjectReference:
			if p.Name == "vmFolder" {
				e.vmFolder = v
			} else {
				e.parent = &v
			}
		case types.ArrayOfManagedObjectReference:
			e.uses = append(e.uses, v.ManagedObjectReference...)
		case types.ArrayOfTag:
			e.uplink = slices.ContainsFunc(v.Tag, func(t types.Tag) bool { return t.Key == uplinkTag })
		}
	}
	return e
}

// choose returns the clusters that are meant, and names that none has.
func (all *entities) choose(clusters []string) (chosen []*entity, lost []string) {
	met := make(map[string]bool)
	for _, e := range all.order {
		if e.ref.Type != "ClusterComputeResource" && (e.ref.Type != "ComputeResource" || len(clusters) > 0) {
			continue
		}
		mine := len(clusters) == 0
		for _, name := range clusters {
			if name == e.name || name == e.ref.Value || name == all.path(e) {
				mine, met[name] = true, true
			}
		}
		if mine {
			chosen = append(chosen, e)
		}
	}
	for _, name := range clusters {
		if !met[name] {
			lost = append(lost, name)
		}
	}
	return chosen, lost
}

// above returns what of a type the object is in; nil: nothing.
func (all *entities) above(e *entity, typ string) *entity {
	for range maxDepth {
		if e == nil || e.ref.Type == typ {
			return e
		}
		if e.parent == nil {
			return nil
		}
		e = all.byRef[*e.parent]
	}
	return nil
}

// path is the object's in the inventory, without the root's name.
func (all *entities) path(e *entity) string {
	path := ""
	for range maxDepth {
		path = "/" + e.name + path
		if e.parent == nil || all.byRef[*e.parent] == nil {
			break
		}
		e = all.byRef[*e.parent]
	}
	return path
}
