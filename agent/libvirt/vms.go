package libvirt

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// VMs is the source of compute.vm: the domains of every state.
type VMs struct {
	conn *Conn

	mu       sync.Mutex // guards the fields below; not held over a call
	known    map[rpc.UUID]*domain
	watchers map[*watcher]struct{}
	ticket   uint64 // of the last reading of a domain's XML
	lists    uint64 // so far
	sizes    map[rpc.UUID][]diskSize
	measured time.Time         // when all sizes were last read
	words    map[string]string // see intern
	seed     maphash.Seed      // of domain.text; immutable
}

// A domain is what is kept of one. It is replaced, never changed.
type domain struct {
	session *session // that the XML came over; events since then are known
	id      int32    // libvirt's id of the running guest, -1 when it is off
	ticket  uint64   // drawn before the XML was read
	touched uint64   // drawn when an event last named it
	text    uint64   // hash of the XML
	vm      any      // an inventory.VM, as it was shown last; its slices are not changed
}

// dirty says that an event named the domain after its XML was read.
func (d *domain) dirty() bool { return d.touched > d.ticket }

func newVMs(c *Conn) *VMs {
	return &VMs{
		conn:     c,
		known:    make(map[rpc.UUID]*domain),
		watchers: make(map[*watcher]struct{}),
		sizes:    make(map[rpc.UUID][]diskSize),
		words:    make(map[string]string),
		seed:     maphash.MakeSeed(),
	}
}

const everyDomain = rpc.ConnectListDomainsActive | rpc.ConnectListDomainsInactive

// List implements plugin.Source.
func (v *VMs) List(ctx context.Context, emit func(plugin.Resource)) error {
	s, err := v.conn.session(ctx, roleVMs)
	if err != nil {
		return err
	}
	l, err := listDomains(ctx, s)
	if err != nil {
		return err
	}
	if l.states, err = v.census(ctx, s); err != nil {
		return err
	}
	read, err := v.lookAtAll(ctx, s, l)
	if err != nil {
		return err
	}
	here := make(map[rpc.UUID]bool, len(l.domains))
	for i, d := range l.domains {
		if read[i].domain == nil {
			continue // gone since the list was made
		}
		here[d.UUID] = true
		emit(v.show(d, read[i], l.autostart[d.UUID], !l.transient[d.UUID]))
	}
	v.forget(here)
	return nil
}

// Get implements plugin.Getter.
func (v *VMs) Get(ctx context.Context, k plugin.Key) (plugin.Resource, bool, error) {
	id, ok := parseUUID(k.ID)
	if !ok || k.Kind != inventory.KindVM {
		return plugin.Resource{}, false, nil
	}
	s, err := v.conn.session(ctx, roleVMs)
	if err != nil {
		return plugin.Resource{}, false, err
	}
	var d rpc.Domain
	var autostart, persistent int32
	var got looked
	for _, step := range []func() error{
		func() (err error) { d, err = s.lib.DomainLookupByUUID(id); return err },
		func() (err error) { autostart, err = s.lib.DomainGetAutostart(d); return err },
		func() (err error) { persistent, err = s.lib.DomainIsPersistent(d); return err },
	} {
		err = s.call(ctx, "look up VM "+k.ID, step)
		if hasCode(err, rpc.ErrNoSupport) {
			err = nil // no autostart in this driver
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		_, _ = v.measure(ctx, s, sizeLimit, d)
		got, err = v.look(ctx, s, d, state{}, true)
	}
	if hasCode(err, rpc.ErrNoDomain) {
		err = nil
	}
	if err != nil || got.domain == nil {
		return plugin.Resource{}, false, err
	}
	return v.show(d, got, autostart != 0, persistent != 0), true, nil
}

// take returns what is known of a domain and a ticket for reading it again.
func (v *VMs) take(id rpc.UUID) (*domain, uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ticket++
	return v.known[id], v.ticket
}

// store keeps the newer of two readings of a domain and returns it. An event
// that came after the reading began leaves it dirty.
func (v *VMs) store(id rpc.UUID, fresh *domain) *domain {
	v.mu.Lock()
	defer v.mu.Unlock()
	if old := v.known[id]; old != nil && old.session == fresh.session {
		if old.ticket > fresh.ticket {
			return old
		}
		fresh.touched = old.touched
	}
	v.known[id] = fresh
	return fresh
}

// touch notes that an event named a domain.
func (v *VMs) touch(id rpc.UUID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ticket++
	if old := v.known[id]; old != nil {
		marked := *old
		marked.touched = v.ticket
		v.known[id] = &marked
	}
	for w := range v.watchers {
		w.add(id)
	}
}

// touchAll makes every watcher ask for a list.
func (v *VMs) touchAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for w := range v.watchers {
		w.addAll()
	}
}

// turn returns which domains of this list to read again whatever is known.
func (v *VMs) turn() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lists++
	return v.lists % refreshLists
}

// forget drops every domain that is not here.
func (v *VMs) forget(here map[rpc.UUID]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id := range v.known {
		if !here[id] {
			delete(v.known, id)
		}
	}
	for id := range v.sizes {
		if !here[id] {
			delete(v.sizes, id)
		}
	}
}

// A listing is every domain with what costs one call for all of them.
type listing struct {
	domains   []rpc.Domain
	autostart map[rpc.UUID]bool
	transient map[rpc.UUID]bool
	states    map[rpc.UUID]state // see census
}

func listDomains(ctx context.Context, s *session) (listing, error) {
	var l listing
	list := func(flags rpc.ConnectListAllDomainsFlags) (ds []rpc.Domain, err error) {
		err = s.call(ctx, "list VMs", func() (err error) {
			ds, _, err = s.lib.ConnectListAllDomains(1, flags)
			return err
		})
		return ds, err
	}
	var err error
	if l.domains, err = list(everyDomain); err != nil {
		return l, err
	}
	some, err := list(everyDomain | rpc.ConnectListDomainsAutostart)
	if err != nil {
		return l, err
	}
	l.autostart = setOf(some)
	if some, err = list(everyDomain | rpc.ConnectListDomainsTransient); err != nil {
		return l, err
	}
	l.transient = setOf(some)
	return l, nil
}

func setOf(ds []rpc.Domain) map[rpc.UUID]bool {
	set := make(map[rpc.UUID]bool, len(ds))
	for _, d := range ds {
		set[d.UUID] = true
	}
	return set
}

func hasCode(err error, code rpc.ErrorNumber) bool {
	var e rpc.Error
	return errors.As(err, &e) && e.Code == uint32(code)
}
