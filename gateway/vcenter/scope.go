package vcenter

import (
	"fmt"
	"maps"
	"slices"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// scope is what is listed of everything that is known. It is used under the
// store's lock.
type scope struct {
	wanted []string          // clusters by name, path or id; none: everything
	chosen map[string]string // id of a cluster by what it was wanted as
	parts  map[string]bool   // ids of what is not a VM and belongs to the chosen clusters
	lost   []string          // wanted, and not found
}

func newScope(wanted []string) scope {
	return scope{wanted: slices.Sorted(slices.Values(wanted)), chosen: make(map[string]string)}
}

// resolve finds the clusters and what belongs to them. One that was found by its
// name stays chosen by its id.
func (c *scope) resolve(v *view) {
	if len(c.wanted) == 0 {
		return
	}
	for _, o := range v.s.objects {
		if f, ok := factOf[*clusterFact](o); !ok || !f.cluster {
			continue
		}
		for _, w := range c.wanted {
			if held := c.chosen[w]; (held == "" || v.s.objects[held] == nil) && (w == o.id || w == o.name || w == v.path(o)) {
				c.chosen[w] = o.id
			}
		}
	}
	c.lost, c.parts = nil, make(map[string]bool)
	for _, w := range c.wanted {
		if o := v.s.objects[c.chosen[w]]; o != nil {
			c.addCluster(v, o)
		} else {
			c.lost = append(c.lost, w)
		}
	}
	c.addPlaces(v)
}

// addCluster adds a cluster, what it uses and what these are in.
func (c *scope) addCluster(v *view, o *object) {
	f, _ := factOf[*clusterFact](o)
	ids := append([]string{o.id}, f.datastores...)
	for _, id := range append(ids, f.networks...) {
		n := v.s.objects[id]
		if n == nil {
			continue
		}
		c.addUpward(v, n)
		if net, ok := factOf[*networkFact](n); ok {
			c.addUpward(v, v.s.objects[net.dvs])
		}
	}
}

func (c *scope) addUpward(v *view, o *object) {
	for depth := 0; o != nil && depth < maxDepth && !c.parts[o.id]; depth++ {
		c.parts[o.id] = true
		o = v.s.objects[o.parent]
	}
}

// addPlaces adds hosts and pools of the clusters, and the folders for VMs of
// their datacenters.
func (c *scope) addPlaces(v *view) {
	for _, o := range v.s.objects {
		switch f := o.fact.(type) {
		case *hostFact:
			c.parts[o.id] = c.parts[o.id] || c.isChosen(o.parent)
		case *poolFact:
			c.parts[o.id] = c.parts[o.id] || c.isChosen(f.owner)
		case *folderFact:
			dc := v.within(o, "Datacenter")
			c.parts[o.id] = c.parts[o.id] || f.holds == "vm" && dc != nil && c.parts[dc.id]
		}
	}
}

func (c *scope) isChosen(id string) bool {
	for _, k := range c.chosen {
		if k == id {
			return true
		}
	}
	return false
}

// has says whether an object is listed.
func (c *scope) has(v *view, o *object) bool {
	if len(c.wanted) == 0 {
		return true
	}
	f, ok := factOf[*vmFact](o)
	if !ok {
		return c.parts[o.id]
	}
	k := v.clusterOf(f)
	return k != nil && c.isChosen(k.id)
}

// warnings say which clusters are not found or have another name now.
func (c *scope) warnings(v *view) []string {
	var w []string
	for _, name := range c.lost {
		w = append(w, fmt.Sprintf("the chosen cluster %q is not there: correct the gateway's configuration", name))
	}
	for _, name := range slices.Sorted(maps.Keys(c.chosen)) {
		o := v.s.objects[c.chosen[name]]
		if o != nil && name != o.id && name != o.name && name != v.path(o) {
			w = append(w, fmt.Sprintf("the chosen cluster %q is called %q now: correct the gateway's configuration before its next start, best to %q, which never changes", name, o.name, o.id))
		}
	}
	return w
}

// server makes what is listed of the vCenter itself.
func (v *view) server() *plugin.Resource {
	s := &v.s.server
	spec := inventory.VCenter{
		State: "ok", URL: s.url, Product: s.about.Name, Version: s.about.Version, Build: s.about.Build,
		APIVersion: s.about.ApiVersion, OS: s.about.OsType, Fingerprint: s.fingerprint, Clusters: v.s.scope.wanted,
		Warnings: v.s.scope.warnings(v),
	}
	if w := supported("vCenter", s.about.Version); w != "" {
		spec.Warnings = append(spec.Warnings, w)
	}
	return &plugin.Resource{Key: v.serverKey(), Name: cut(s.url), Spec: spec}
}

// children returns the objects of a type that are in o.
func (v *view) children(o *object, typ string) []*object {
	if v.below == nil {
		v.below = make(map[string][]*object)
		for _, c := range v.s.objects {
			if c.typ != typeVM && c.parent != "" {
				v.below[c.parent] = append(v.below[c.parent], c)
			}
		}
	}
	var found []*object
	for _, c := range v.below[o.id] {
		if c.typ == typ {
			found = append(found, c)
		}
	}
	return found
}
