package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"strings"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// ledger remembers what the agent was told, by hashes, and finds what differs
// from it in what a List or Get finds. The goroutine of a call fills it; the
// session touches it only between calls.
type ledger struct {
	kinds map[string]string // declared; the value is the name to keep
	seed  maphash.Seed
	told  map[Key]*entry // nil: nothing was told yet

	// Of the call under way or just ended.
	turn    uint32
	whole   bool           // keep everything, for a snapshot
	fresh   map[Key]uint64 // hashes of what is new
	changed []change
	upserts []protocol.Resource
	deletes []protocol.Key
	err     error // the first resource that cannot be told

	spec, ext bytes.Buffer // scratch
}

// entry is a resource that was told.
type entry struct {
	hash uint64
	turn uint32 // that found it last
}

// change is a resource that was told and now has another hash.
type change struct {
	entry *entry
	hash  uint64
}

func newLedger(kinds []protocol.Kind) *ledger {
	l := &ledger{kinds: make(map[string]string), seed: maphash.MakeSeed()}
	for _, k := range kinds {
		l.kinds[k.Name] = k.Name
	}
	return l
}

// begin prepares for a call.
func (l *ledger) begin(whole bool) {
	l.turn++
	l.whole, l.err = whole, nil
	l.fresh, l.changed, l.upserts, l.deletes = nil, nil, nil, nil
	const kept = 64 << 10
	if l.spec.Cap() > kept {
		l.spec = bytes.Buffer{}
	}
}

// commit makes what the call found what was told.
func (l *ledger) commit() (upserts []protocol.Resource, deletes []protocol.Key) {
	if l.told == nil {
		l.told = make(map[Key]*entry, len(l.fresh))
	}
	for _, c := range l.changed {
		c.entry.hash = c.hash
	}
	for k, hash := range l.fresh {
		l.told[k] = &entry{hash, l.turn}
	}
	for _, k := range l.deletes {
		delete(l.told, Key(k))
	}
	upserts, deletes = l.upserts, l.deletes
	l.fresh, l.changed, l.upserts, l.deletes = nil, nil, nil, nil
	return upserts, deletes
}

// emit takes one resource in.
func (l *ledger) emit(r Resource) {
	if l.err == nil {
		l.err = l.take(r)
	}
}

// take keeps r if it is new or has changed.
func (l *ledger) take(r Resource) error {
	kind, declared := l.kinds[r.Kind]
	if !declared {
		return fmt.Errorf("%s %s: the plugin does not declare the kind", r.Kind, r.ID)
	}
	if err := encode(&l.spec, r.Spec); err != nil {
		return fmt.Errorf("%s %s: encode the spec: %w", r.Kind, r.ID, err)
	}
	l.ext.Reset()
	if len(r.Ext) > 0 {
		if err := encode(&l.ext, r.Ext); err != nil {
			return fmt.Errorf("%s %s: encode ext: %w", r.Kind, r.ID, err)
		}
	}
	out := protocol.Resource{
		Key: protocol.Key{Kind: kind, ID: r.ID}, Name: r.Name, Parent: protocol.Key(r.Parent),
		Spec: l.spec.Bytes(), Ext: l.ext.Bytes(),
	}
	if err := out.Validate(); err != nil {
		v, _ := errors.AsType[*protocol.Violation](err)
		return errors.New(v.Text)
	}
	return l.note(out)
}

// note compares an encoded resource with what was told of it. Its strings are
// copied if they are kept: an author's id is often a part of a large text.
func (l *ledger) note(out protocol.Resource) error {
	hash := l.hash(&out)
	key := Key(out.Key)
	_, twice := l.fresh[key]
	e := l.told[key]
	if twice || e != nil && e.turn == l.turn {
		return fmt.Errorf("%s %s is listed twice", key.Kind, key.ID)
	}
	if e != nil {
		e.turn = l.turn
		if e.hash == hash && !l.whole {
			return nil
		}
		l.changed = append(l.changed, change{e, hash})
	} else {
		if l.fresh == nil {
			l.fresh = make(map[Key]uint64)
		}
		key.ID = strings.Clone(key.ID)
		out.ID = key.ID
		l.fresh[key] = hash
	}
	out.Spec = bytes.Clone(out.Spec)
	out.Ext = append(json.RawMessage(nil), out.Ext...)
	l.upserts = append(l.upserts, out)
	return nil
}

// encode puts v's JSON into b, in place of what was there.
func encode(b *bytes.Buffer, v any) error {
	b.Reset()
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the newline
	return nil
}

// hash is of everything that the agent would be told of r.
func (l *ledger) hash(r *protocol.Resource) uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	for _, s := range [...]string{r.Name, r.Parent.Kind, r.Parent.ID} {
		_, _ = h.WriteString(s) // never fails
		_ = h.WriteByte(0)
	}
	_, _ = h.Write(r.Spec)
	_ = h.WriteByte(0)
	_, _ = h.Write(r.Ext)
	return h.Sum64()
}

// list takes in everything that source lists.
func (l *ledger) list(ctx context.Context, source Source) error {
	err := safely(func() error { return source.List(ctx, l.emit) })
	if err == nil {
		err = l.err
	}
	if err != nil || l.whole && l.told == nil {
		return err
	}
	for k, e := range l.told {
		if e.turn != l.turn {
			l.deletes = append(l.deletes, protocol.Key(k))
		}
	}
	return nil
}

// get takes in single resources.
func (l *ledger) get(ctx context.Context, getter Getter, keys map[Key]struct{}) error {
	for k := range keys {
		var r Resource
		var found bool
		err := safely(func() (err error) {
			r, found, err = getter.Get(ctx, k)
			return err
		})
		if err == nil && found && r.Key != k {
			err = fmt.Errorf("get %s %s: the source returned %s %s", k.Kind, k.ID, r.Kind, r.ID)
		}
		if err != nil {
			return err
		}
		if found {
			if l.emit(r); l.err != nil {
				return l.err
			}
		} else if l.told[k] != nil {
			l.deletes = append(l.deletes, protocol.Key(k))
		}
	}
	return nil
}

// panicked is a panic of the author's code as an error.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// safely makes a panic an error.
func safely(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v, debug.Stack()}
		}
	}()
	return f()
}
