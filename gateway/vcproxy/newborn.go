package vcproxy

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// ancestry are the properties that say where an object of a type is; the others
// do not appear by calls of clients.
var ancestry = map[string][]string{
	vm:             {"parent", "resourcePool", "runtime.host"},
	folder:         {"parent"},
	snapshot:       {"vm"},
	"ResourcePool": {"parent"},
}

// newbornDepth bounds how many steps upward are asked for. OpenStack's first
// machine is in three new folders, and its snapshot is in it.
const newbornDepth = 6

// newborn says whether an object that the inventory does not know yet is in the
// delegated scope, by asking vCenter where it is: a client changes a machine
// right after it made it. Every parent must be delegated; one that the inventory
// knows is returned.
func (b *Broker) newborn(ctx context.Context, s *session, ref Ref) (around Ref, ok bool) {
	return b.newbornAt(ctx, s, ref, newbornDepth)
}

func (b *Broker) newbornAt(ctx context.Context, s *session, ref Ref, depth int) (around Ref, ok bool) {
	paths := ancestry[ref.Type]
	if paths == nil || depth == 0 {
		return Ref{}, false
	}
	above, ok := b.references(ctx, s, ref, paths)
	if !ok || len(above) == 0 {
		return Ref{}, false
	}
	if ref.Type == vm {
		above = placeAndPool(above)
	}
	placed, computed := false, false
	for _, p := range above {
		placed, computed = placed || slices.Contains(places, p.Type), computed || slices.Contains(computes, p.Type)
		if around = p; b.opts.Scope.Contains(p) {
			continue
		}
		if b.opts.Scope.Knows(p) {
			return Ref{}, false
		}
		if around, ok = b.newbornAt(ctx, s, p, depth-1); !ok {
			return Ref{}, false
		}
	}
	return around, ref.Type != vm || placed && computed
}

// hasPort asks vCenter whether a port is one of a distributed port group.
func (b *Broker) hasPort(ctx context.Context, s *session, group Ref, key string) bool {
	answer, err := b.properties(ctx, s, group, []string{"portKeys"})
	return err == nil && slices.Contains(stringsIn(answer), key)
}

// browsed finds a delegated datastore that a browser, which the inventory does
// not have, is for; none: Ref{}.
func (b *Broker) browsed(ctx context.Context, s *session, ref Ref) Ref {
	stores, _ := b.references(ctx, s, ref, []string{"datastore"})
	if i := slices.IndexFunc(stores, b.opts.Scope.Contains); i >= 0 {
		return stores[i]
	}
	return Ref{}
}

// placeAndPool chooses what a machine must be in: its folder, and its pool or, of
// a template, which has none, its host.
func placeAndPool(above []Ref) []Ref {
	pooled := slices.ContainsFunc(above, func(r Ref) bool { return r.Type == "ResourcePool" || r.Type == "VirtualApp" })
	return slices.DeleteFunc(above, func(r Ref) bool { return pooled && r.Type == "HostSystem" })
}

// references asks vCenter for the objects that properties of one refer to.
func (b *Broker) references(ctx context.Context, s *session, ref Ref, paths []string) ([]Ref, bool) {
	answer, err := b.properties(ctx, s, ref, paths)
	if err != nil {
		return nil, false
	}
	return referred(answer)
}

// properties asks vCenter for properties of an object.
func (b *Broker) properties(ctx context.Context, s *session, ref Ref, paths []string) ([]byte, error) {
	pc, err := b.content(ctx, "propertyCollector")
	if err != nil {
		return nil, err
	}
	propSet := &element{local: "propSet", children: []*element{{local: "type", text: ref.Type}}}
	for _, p := range paths {
		propSet.children = append(propSet.children, &element{local: "pathSet", text: p})
	}
	objectSet := &element{local: "objectSet", children: []*element{reference("obj", ref)}}
	root := &element{local: "RetrieveProperties", children: []*element{
		reference("_this", pc), {local: "specSet", children: []*element{propSet, objectSet}},
	}}
	return b.ask(ctx, s, root)
}

// datacenter finds the datacenter of a path, as vCenter itself does; none: Ref{}.
func (b *Broker) datacenter(ctx context.Context, s *session, path string) Ref {
	index, err := b.content(ctx, "searchIndex")
	if err != nil {
		return Ref{}
	}
	answer, err := b.ask(ctx, s, &element{local: "FindByInventoryPath", children: []*element{
		reference("_this", index), {local: "inventoryPath", text: strings.TrimPrefix(path, "/")},
	}})
	if ref := returned(answer); err == nil && ref.Type == "Datacenter" {
		return ref
	}
	return Ref{}
}

// content finds one of vCenter's objects that serve all others.
func (b *Broker) content(ctx context.Context, name string) (Ref, error) {
	b.mu.Lock()
	ref, ok := b.contents[name]
	b.mu.Unlock()
	if ok {
		return ref, nil
	}
	root := &element{local: "RetrieveServiceContent", children: []*element{
		reference("_this", Ref{Type: "ServiceInstance", Value: "ServiceInstance"}),
	}}
	answer, err := b.ask(ctx, nil, root)
	if err != nil {
		return Ref{}, err
	}
	if ref = contentRef(answer, name); ref == (Ref{}) {
		return Ref{}, fmt.Errorf("vCenter has no %s", name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.contents[name] = ref
	return ref, nil
}

// ask sends a call of our own and returns a small answer that is no fault.
func (b *Broker) ask(ctx context.Context, s *session, root *element) ([]byte, error) {
	resp, err := b.exchange(ctx, s, outgoing{call: &call{space: nsVim, root: root}, agent: "openpf9-gateway"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("vCenter answers %s with %d", root.local, resp.StatusCode)
	}
	return readSmall(resp.Body)
}

func reference(local string, ref Ref) *element {
	return &element{local: local, isRef: true, refType: ref.Type, text: ref.Value}
}
