package vcproxy

import (
	"context"
	"net/http"
	"slices"
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
// right after it made it. Every parent must be delegated.
func (b *Broker) newborn(ctx context.Context, s *session, ref Ref) bool {
	return b.newbornAt(ctx, s, ref, newbornDepth)
}

func (b *Broker) newbornAt(ctx context.Context, s *session, ref Ref, depth int) bool {
	paths := ancestry[ref.Type]
	if paths == nil || depth == 0 {
		return false
	}
	above, ok := b.parents(ctx, s, ref, paths)
	if !ok || len(above) == 0 {
		return false
	}
	if ref.Type == vm {
		if above = placeAndPool(above); above == nil {
			return false
		}
	}
	for _, p := range above {
		if !b.opts.Scope.Contains(p) && !b.newbornAt(ctx, s, p, depth-1) {
			return false
		}
	}
	return true
}

// placeAndPool chooses what a machine must be in: its folder, and its pool or, of
// a template, which has none, its host; nil: vCenter does not say.
func placeAndPool(above []Ref) []Ref {
	pooled := slices.ContainsFunc(above, func(r Ref) bool { return r.Type == "ResourcePool" || r.Type == "VirtualApp" })
	chosen := slices.DeleteFunc(above, func(r Ref) bool { return pooled && r.Type == "HostSystem" })
	if len(chosen) < 2 {
		return nil
	}
	return chosen
}

// parents asks vCenter for the objects around one.
func (b *Broker) parents(ctx context.Context, s *session, ref Ref, paths []string) ([]Ref, bool) {
	pc, err := b.collector(ctx)
	if err != nil {
		return nil, false
	}
	propSet := &element{local: "propSet", children: []*element{{local: "type", text: ref.Type}}}
	for _, p := range paths {
		propSet.children = append(propSet.children, &element{local: "pathSet", text: p})
	}
	objectSet := &element{local: "objectSet", children: []*element{reference("obj", ref)}}
	root := &element{local: "RetrieveProperties", children: []*element{
		reference("_this", pc), {local: "specSet", children: []*element{propSet, objectSet}},
	}}
	resp, err := b.exchange(ctx, s, outgoing{call: &call{space: nsVim, root: root}, agent: "openpf9-gateway"})
	if err != nil {
		return nil, false
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := readSmall(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, false
	}
	return parents(answer)
}

// collector finds vCenter's property collector.
func (b *Broker) collector(ctx context.Context) (Ref, error) {
	root := &element{local: "RetrieveServiceContent", children: []*element{
		reference("_this", Ref{Type: "ServiceInstance", Value: "ServiceInstance"}),
	}}
	resp, err := b.exchange(ctx, nil, outgoing{call: &call{space: nsVim, root: root}, agent: "openpf9-gateway"})
	if err != nil {
		return Ref{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := readSmall(resp.Body)
	if err != nil {
		return Ref{}, err
	}
	return collector(answer), nil
}

func reference(local string, ref Ref) *element {
	return &element{local: local, isRef: true, refType: ref.Type, text: ref.Value}
}
