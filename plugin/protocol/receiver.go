package protocol

import (
	"hash/maphash"
)

// Limits bound what one plugin may cost its host. Zero fields have the default.
type Limits struct {
	// MaxLine bounds a line in bytes; 0 means the protocol's MaxLine, 4 MiB.
	MaxLine int
	// MaxResources bounds how many resources are in force; 0 means 10,000.
	MaxResources int
	// MaxBytes bounds the bytes of all resources in force, each counted with
	// its text plus ResourceOverhead; 0 means 2 MiB: about 2,000 VMs, or 5,000
	// smaller things. While a new snapshot comes in, a host holds as much once
	// more; with the collector's share a hostile plugin costs it some 8 MiB. A
	// host raises the limit for a plugin that has more to say.
	MaxBytes int
}

// ResourceOverhead is what a resource counts against MaxBytes beyond its text:
// roughly what it costs in memory, so that many tiny ones are not free.
const ResourceOverhead = 192

func (l Limits) withDefaults() Limits {
	if l.MaxLine <= 0 {
		l.MaxLine = MaxLine
	}
	if l.MaxResources <= 0 {
		l.MaxResources = 10_000
	}
	if l.MaxBytes <= 0 {
		l.MaxBytes = 2 << 20
	}
	return l
}

// A Batch is what a plugin's deltas come to.
type Batch struct {
	// Whole: Upserts is a complete list, and what is not in it is gone.
	Whole   bool
	Upserts []Resource
	Deletes []Key // when not Whole
	// InForce is how many resources are in force when it is applied.
	InForce int
}

// Receiver takes deltas in and holds them to the rules. It does no I/O and
// keeps no resources beyond an unfinished snapshot, only what it needs to count.
type Receiver struct {
	kinds  map[string]string // declared; the value is the name to keep
	limits Limits
	seed   maphash.Seed

	seq     uint64
	inForce *tally    // nil: no snapshot yet
	coming  *snapshot // nil: none under way
}

// snapshot is one under way.
type snapshot struct {
	tally
	resources []Resource
}

// tally counts resources by the hash of their keys, to their sizes. The seed is
// secret and fresh, so a plugin cannot make keys collide.
type tally struct {
	sizes map[uint64]int32
	bytes int
}

// NewReceiver returns a receiver for a new connection.
func NewReceiver(kinds []Kind, l Limits) *Receiver {
	r := &Receiver{kinds: make(map[string]string), limits: l.withDefaults(), seed: maphash.MakeSeed()}
	for _, k := range kinds {
		r.kinds[k.Name] = k.Name
	}
	return r
}

// Seq is that of the last delta taken in.
func (r *Receiver) Seq() uint64 { return r.seq }

// Delta takes one delta in. It returns false while a snapshot is unfinished:
// there is nothing to apply yet. After an error the receiver is of no use.
func (r *Receiver) Delta(d *Delta) (Batch, bool, error) {
	if n := len(d.Upserts) + len(d.Deletes); n > MaxElements {
		return Batch{}, false, violation(RuleSize, "delta %d has %d resources and keys, more than %d", d.Seq, n, MaxElements)
	}
	if d.Seq != r.seq+1 {
		return Batch{}, false, violation(RuleSeq, "delta.seq is %d after %d", d.Seq, r.seq)
	}
	r.seq = d.Seq
	if d.Begin {
		r.coming = &snapshot{tally: newTally()} // what was unfinished is void
	}
	if r.coming == nil {
		return r.changes(d)
	}
	return r.part(d)
}

// part takes in a part of a snapshot.
func (r *Receiver) part(d *Delta) (Batch, bool, error) {
	if len(d.Deletes) > 0 {
		return Batch{}, false, violation(RuleSnapshot, "delta %d is part of a snapshot and has deletes", d.Seq)
	}
	s := r.coming
	for i := range d.Upserts {
		key, size, err := r.check(&d.Upserts[i])
		if err != nil {
			return Batch{}, false, err
		}
		if _, twice := s.sizes[key]; twice {
			return Batch{}, false, violation(RuleUnique, "%s %s is in the snapshot twice", d.Upserts[i].Kind, d.Upserts[i].ID)
		}
		s.set(key, size)
	}
	if err := r.fits(&s.tally); err != nil {
		return Batch{}, false, err
	}
	if s.resources == nil {
		s.resources = d.Upserts // most snapshots are small, and these are nobody else's
	} else {
		s.resources = append(s.resources, d.Upserts...)
	}
	if !d.End {
		return Batch{}, false, nil
	}
	if d.Count != len(s.resources) {
		return Batch{}, false, violation(RuleCount, "delta.count is %d, the snapshot has %d resources", d.Count, len(s.resources))
	}
	r.inForce, r.coming = &s.tally, nil
	return Batch{Whole: true, Upserts: s.resources, InForce: len(s.resources)}, true, nil
}

// changes takes in what differs from the list in force.
func (r *Receiver) changes(d *Delta) (Batch, bool, error) {
	if d.End {
		return Batch{}, false, violation(RuleSnapshot, "delta %d ends a snapshot that did not begin", d.Seq)
	}
	if r.inForce == nil {
		return Batch{}, false, violation(RuleSnapshot, "delta %d comes before the first snapshot", d.Seq)
	}
	seen := make(map[uint64]bool)
	once := func(key uint64, k Key) error {
		if seen[key] {
			return violation(RuleUnique, "%s %s is in delta %d twice", k.Kind, k.ID, d.Seq)
		}
		seen[key] = true
		return nil
	}
	for i := range d.Upserts {
		key, size, err := r.check(&d.Upserts[i])
		if err != nil {
			return Batch{}, false, err
		}
		if err := once(key, d.Upserts[i].Key); err != nil {
			return Batch{}, false, err
		}
		r.inForce.set(key, size)
	}
	for i := range d.Deletes {
		k := &d.Deletes[i]
		if err := r.kind(&k.Kind, k.ID); err != nil {
			return Batch{}, false, err
		}
		if !k.valid() {
			return Batch{}, false, violation(RuleResource, "%s: deleted id %.80q: want 1 to %d bytes", k.Kind, k.ID, maxName)
		}
		key := r.hash(*k)
		if err := once(key, *k); err != nil {
			return Batch{}, false, err
		}
		r.inForce.drop(key)
	}
	if err := r.fits(r.inForce); err != nil {
		return Batch{}, false, err
	}
	return Batch{Upserts: d.Upserts, Deletes: d.Deletes, InForce: len(r.inForce.sizes)}, true, nil
}

// check holds one resource to the rules and returns its key's hash and size.
func (r *Receiver) check(res *Resource) (uint64, int32, error) {
	if err := r.kind(&res.Kind, res.ID); err != nil {
		return 0, 0, err
	}
	if err := res.Validate(); err != nil {
		return 0, 0, err
	}
	size := ResourceOverhead + len(res.Kind) + len(res.ID) + len(res.Name) +
		len(res.Parent.Kind) + len(res.Parent.ID) + len(res.Spec) + len(res.Ext)
	return r.hash(res.Key), int32(size), nil
}

// kind refuses undeclared kinds, and makes all resources of one share its name.
func (r *Receiver) kind(kind *string, id string) error {
	name, declared := r.kinds[*kind]
	if !declared {
		return violation(RuleKinds, "%.64q of %.64q is not a kind that the hello declares", *kind, id)
	}
	*kind = name
	return nil
}

func (r *Receiver) hash(k Key) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	_, _ = h.WriteString(k.Kind) // never fails
	_ = h.WriteByte(0)
	_, _ = h.WriteString(k.ID)
	return h.Sum64()
}

func (r *Receiver) fits(t *tally) error {
	if n := len(t.sizes); n > r.limits.MaxResources {
		return violation(RuleSize, "it lists more than the %d resources that its host allows", r.limits.MaxResources)
	}
	if t.bytes > r.limits.MaxBytes {
		return violation(RuleSize, "its %d resources count more than the %d bytes that its host allows", len(t.sizes), r.limits.MaxBytes)
	}
	return nil
}

func newTally() tally { return tally{sizes: make(map[uint64]int32)} }

func (t *tally) set(key uint64, size int32) {
	t.bytes += int(size - t.sizes[key])
	t.sizes[key] = size
}

func (t *tally) drop(key uint64) {
	t.bytes -= int(t.sizes[key])
	delete(t.sizes, key)
}
