package resmgr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

// An entry is a resource at rest: 56 bytes and one string that holds all text,
// because a catalogue has millions of them. Facets that lists filter by come
// first, so that a filter reads the first line of the string only. An entry
// is immutable but for rev and gen.
type entry struct {
	text string // state, cluster, name, id, source, parent kind, parent id, spec, ext
	hash wire.Hash
	rev  uint64 // of the catalogue, when it last changed
	gen  uint64
	spec uint32 // bytes of spec
	n    [facets]uint8
	// The marks of state and cluster, so that most others need not be read. They
	// and one more facet fill the 56 bytes: the next field costs every resource 8.
	mark, place uint16
}

// The facets in the order of entry.text.
const (
	state = iota
	cluster
	name
	id
	source
	parentKind
	parentID
	facets
)

// entryBytes is what an entry costs beyond its text.
const entryBytes = 64

func (e *entry) facet(f int) string {
	from := 0
	for i := range f {
		from += int(e.n[i])
	}
	return e.text[from : from+int(e.n[f])]
}

func (e *entry) state() string   { return e.text[:e.n[state]] }
func (e *entry) cluster() string { return e.text[e.n[state]:][:e.n[cluster]] }
func (e *entry) name() string    { return e.text[int(e.n[state])+int(e.n[cluster]):][:e.n[name]] }
func (e *entry) id() string {
	return e.text[int(e.n[state])+int(e.n[cluster])+int(e.n[name]):][:e.n[id]]
}

// bodies returns spec and ext.
func (e *entry) bodies() (spec, ext string) {
	from := 0
	for _, n := range e.n {
		from += int(n)
	}
	return e.text[from : from+int(e.spec)], e.text[from+int(e.spec):]
}

func (e *entry) bytes() int { return entryBytes + len(e.text) }

// resource is the entry as it came.
func (e *entry) resource(kind string) wire.Resource {
	spec, ext := e.bodies()
	r := wire.Resource{
		Key:        plugin.Key{Kind: kind, ID: e.id()},
		Name:       e.name(),
		Parent:     plugin.Key{Kind: e.facet(parentKind), ID: e.facet(parentID)},
		Spec:       json.RawMessage(spec),
		Generation: e.gen,
		Source:     e.facet(source),
	}
	if ext != "" {
		r.Ext = json.RawMessage(ext)
	}
	return r
}

// pack checks a resource and makes an entry of it. The JSON is made compact,
// for that is what the hash is taken over.
func pack(r *wire.Resource) (entry, error) {
	if err := r.Validate(); err != nil {
		return entry{}, err
	}
	switch {
	case len(r.Parent.Kind) > 64 || len(r.Parent.ID) > 255:
		return entry{}, fmt.Errorf("%s %s: parent has a kind of more than 64 or an id of more than 255 bytes", r.Kind, r.ID)
	case len(r.Source) > 255:
		return entry{}, fmt.Errorf("%s %s: source has more than 255 bytes", r.Kind, r.ID)
	}
	spec, err := compact(r.Spec)
	if err != nil {
		return entry{}, fmt.Errorf("%s %s: spec: %w", r.Kind, r.ID, err)
	}
	ext, err := compact(r.Ext)
	if err != nil {
		return entry{}, fmt.Errorf("%s %s: ext: %w", r.Kind, r.ID, err)
	}
	r.Spec, r.Ext = spec, ext
	var lifted struct {
		State   string `json:"state"`
		Cluster string `json:"cluster"`
	}
	_ = json.Unmarshal(spec, &lifted) // what is no object has neither, and what is no text stays empty
	if len(lifted.State) > 64 {
		lifted.State = "" // not one word
	}
	if len(lifted.Cluster) > 255 {
		lifted.Cluster = "" // no name
	}
	text := [facets]string{lifted.State, lifted.Cluster, r.Name, r.ID, r.Source, r.Parent.Kind, r.Parent.ID}
	e := entry{hash: r.Hash(), gen: r.Generation, spec: uint32(len(spec)), mark: mark(lifted.State), place: mark(lifted.Cluster)}
	size := len(spec) + len(ext)
	for i, s := range text {
		e.n[i] = uint8(len(s))
		size += len(s)
	}
	var b strings.Builder
	b.Grow(size)
	for _, s := range text {
		b.WriteString(s)
	}
	b.Write(spec)
	b.Write(ext)
	e.text = b.String()
	return e, nil
}

// mark folds a word into 16 bits.
func mark(s string) uint16 {
	h := uint32(2166136261) // FNV-1a
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return uint16(h>>16) ^ uint16(h)
}

// bit is a mark's bit in list.states and list.clusters.
func bit(mark uint16) uint64 { return 1 << (mark & 63) }

// compact returns b itself when it has no white space to lose.
func compact(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var c bytes.Buffer
	c.Grow(len(b))
	if err := json.Compact(&c, b); err != nil {
		return nil, err
	}
	if c.Len() == len(b) {
		return b, nil
	}
	return c.Bytes(), nil
}
