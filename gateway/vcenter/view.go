package vcenter

import (
	"slices"
	"strings"
	"unicode/utf8"
	"unique"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	maxName  = 255 // bytes of a resource's name
	maxDepth = 64  // of the inventory's tree
)

// view answers what an object's listing needs of others. It is used under the
// store's lock, and made anew when the topology changes.
type view struct {
	s       *store
	paths   map[string]string
	below   map[string][]*object // but VMs, by parent; nil: not asked for yet
	dangles bool                 // something that was asked for is not known

	managers []string // addresses of the vCenters that the hosts obey; nil: not asked for yet
}

func newView(s *store) *view { return &view{s: s, paths: make(map[string]string)} }

// get returns an object; nil: there is none.
func (v *view) get(id string) *object {
	if id == "" {
		return nil
	}
	o := v.s.objects[id]
	if o == nil {
		v.dangles = true
	}
	return o
}

// name returns an object's name.
func (v *view) name(id string) string {
	if o := v.get(id); o != nil {
		return o.name
	}
	return ""
}

// names returns the names of objects, sorted.
func (v *view) names(ids []string) []string {
	var out []string
	for _, id := range ids {
		if n := v.name(id); n != "" {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// above returns the object that one is in, as vCenter shows it: a VM of a vApp is
// in that.
func (v *view) above(o *object) *object {
	if f, ok := o.fact.(*vmFact); ok && f.vapp != "" {
		return v.get(f.vapp)
	}
	return v.get(o.parent)
}

// path is the object's place in the inventory. The root folder has none.
func (v *view) path(o *object) string {
	if p, ok := v.paths[o.id]; ok {
		return p
	}
	p := v.pathFrom(o, maxDepth)
	if o.typ != typeVM { // each VM's is asked for once
		v.paths[o.id] = p
	}
	return p
}

func (v *view) pathFrom(o *object, depth int) string {
	if p, ok := v.paths[o.id]; ok {
		return p
	}
	above := v.above(o)
	if above == nil && o.parent == "" && o.typ == typeFolder || depth == 0 {
		return ""
	}
	if above == nil {
		return "/" + escape(o.name)
	}
	return v.pathFrom(above, depth-1) + "/" + escape(o.name)
}

// within returns the nearest object of the type that o is in; nil: none.
func (v *view) within(o *object, typ string) *object {
	for range maxDepth {
		if o == nil || o.typ == typ {
			return o
		}
		o = v.above(o)
	}
	return nil
}

// datacenter is the name of the datacenter that o is in.
func (v *view) datacenter(o *object) string {
	if dc := v.within(o, "Datacenter"); dc != nil {
		return dc.name
	}
	return ""
}

// compute returns what a host or a resource pool gives its resources to: a
// cluster, or what stands for a host without one; nil: neither is known.
func (v *view) compute(o *object) *object {
	for range maxDepth {
		if o == nil {
			return nil
		}
		if _, ok := o.fact.(*clusterFact); ok {
			return o
		}
		o = v.get(o.parent)
	}
	return nil
}

// computeOf returns that of a VM.
func (v *view) computeOf(f *vmFact) *object {
	if o := v.compute(v.get(f.host)); o != nil {
		return o
	}
	if pool, ok := factOf[*poolFact](v.get(f.pool)); ok {
		return v.get(pool.owner)
	}
	return nil
}

// clusterOf returns a VM's cluster; nil: it has none.
func (v *view) clusterOf(f *vmFact) *object {
	o := v.computeOf(f)
	if c, ok := factOf[*clusterFact](o); ok && c.cluster {
		return o
	}
	return nil
}

func factOf[F fact](o *object) (f F, ok bool) {
	if o != nil {
		f, ok = o.fact.(F)
	}
	return f, ok
}

// id is a managed object's id among all vCenters.
func (v *view) id(moref string) string { return v.s.server.about.InstanceUuid + "/" + moref }

// resource makes what is listed of an object; nil: nothing is.
func (v *view) resource(o *object) *plugin.Resource {
	kind, spec := o.fact.show(v, o)
	if kind == "" {
		return nil
	}
	r := &plugin.Resource{Key: plugin.Key{Kind: kind, ID: v.id(o.id)}, Name: cut(o.name), Spec: spec}
	above := v.above(o)
	if f, ok := factOf[*clusterFact](above); ok && !f.cluster {
		above = v.above(above) // a host without a cluster is shown where it seems to be
	}
	switch {
	case above != nil:
		r.Parent = plugin.Key{Kind: kindOf(above), ID: v.id(above.id)}
	case o.parent == "":
		r.Parent = v.serverKey()
	}
	return r
}

func (v *view) serverKey() plugin.Key {
	return plugin.Key{Kind: inventory.KindVCenter, ID: v.s.server.about.InstanceUuid}
}

// kindOf is the kind of an object of the topology.
func kindOf(o *object) string {
	switch o.fact.(type) {
	case *folderFact:
		return inventory.KindFolder
	case *podFact:
		return inventory.KindDatastoreCluster
	case *datacenterFact:
		return inventory.KindDatacenter
	case *clusterFact:
		return inventory.KindCluster
	case *hostFact:
		return inventory.KindESXi
	case *poolFact:
		return inventory.KindResourcePool
	case *datastoreFact:
		return inventory.KindDatastore
	case *networkFact:
		return inventory.KindPortGroup
	case *switchFact:
		return inventory.KindSwitch
	}
	return ""
}

// vCenter writes three characters of names in another way.
var (
	unescaper = strings.NewReplacer("%2f", "/", "%2F", "/", "%5c", `\`, "%5C", `\`, "%25", "%")
	escaper   = strings.NewReplacer("%", "%25", "/", "%2f", `\`, "%5c")
)

func unescape(name string) string { return unescaper.Replace(name) }

func escape(name string) string { return escaper.Replace(name) }

// intern returns one copy of equal strings.
func intern(s string) string { return unique.Make(s).Value() }

// cut bounds a name.
func cut(name string) string {
	if len(name) <= maxName {
		return name
	}
	n := maxName
	for !utf8.RuneStart(name[n]) {
		n--
	}
	return name[:n]
}
