package libvirt

import (
	"context"
	"errors"
	"fmt"
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
}

// A domain is what is kept of one. It is replaced, never changed.
type domain struct {
	session *session // that the XML came over; events since then are known
	id      int32    // libvirt's id of the running guest, -1 when it is off
	ticket  uint64   // drawn before the XML was read
	touched uint64   // drawn when an event last named it
	vm      inventory.VM
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
	v.measure(ctx, s)
	turn := v.turn()
	here := make(map[rpc.UUID]bool, len(l.domains))
	for i, d := range l.domains {
		again := uint64(i)%refreshLists == turn
		vm, ok, err := v.look(ctx, s, d, l.states[d.UUID], again)
		if err != nil {
			return err
		}
		if !ok {
			continue // gone since the list was made
		}
		here[d.UUID] = true
		vm.Autostart = l.autostart[d.UUID]
		vm.Persistent = !l.transient[d.UUID]
		emit(resource(d, vm))
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
	var vm inventory.VM
	found := true
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
		v.measure(ctx, s, d)
		vm, found, err = v.look(ctx, s, d, state{}, true)
	}
	if hasCode(err, rpc.ErrNoDomain) {
		err, found = nil, false
	}
	if err != nil || !found {
		return plugin.Resource{}, false, err
	}
	vm.Autostart, vm.Persistent = autostart != 0, persistent != 0
	return resource(d, vm), true, nil
}

// look returns the VM that d is in state st. The XML is read unless what is
// known is good: read over this session, not named by an event since, and the
// guest neither started nor stopped. A zero st is asked for. It returns false
// if the domain is gone.
func (v *VMs) look(ctx context.Context, s *session, d rpc.Domain, st state, again bool) (inventory.VM, bool, error) {
	old, ticket := v.take(d.UUID)
	if again || old == nil || old.dirty() || old.session != s || old.id != d.ID {
		if old != nil && old.dirty() {
			st = state{} // the list's may be from before the event
		}
		fresh, err := v.read(ctx, s, d)
		if hasCode(err, rpc.ErrNoDomain) {
			return inventory.VM{}, false, nil
		}
		if err != nil {
			return inventory.VM{}, false, err
		}
		fresh.ticket = ticket
		old = v.store(d.UUID, fresh)
	}
	if !st.known {
		var err error
		if st, err = askState(ctx, s, d); hasCode(err, rpc.ErrNoDomain) {
			return inventory.VM{}, false, nil
		} else if err != nil {
			return inventory.VM{}, false, err
		}
	}
	vm := v.sized(d.UUID, old.vm)
	vm.State, vm.StateReason = stateWords(st.state, st.reason)
	return vm, true, nil
}

// read fetches and parses a domain's XML.
func (v *VMs) read(ctx context.Context, s *session, d rpc.Domain) (*domain, error) {
	var text string
	err := s.call(ctx, "read the definition of VM "+d.Name, func() (err error) {
		text, err = s.lib.DomainGetXMLDesc(d, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	vm, err := parseDomain([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("definition of VM %s: %w", d.Name, err)
	}
	return &domain{session: s, id: d.ID, vm: vm}, nil
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
	v.intern(&fresh.vm)
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
	states    map[rpc.UUID]state
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
	l.states, err = askStates(ctx, s)
	return l, err
}

func setOf(ds []rpc.Domain) map[rpc.UUID]bool {
	set := make(map[rpc.UUID]bool, len(ds))
	for _, d := range ds {
		set[d.UUID] = true
	}
	return set
}

func resource(d rpc.Domain, vm inventory.VM) plugin.Resource {
	return plugin.Resource{
		Key:  plugin.Key{Kind: inventory.KindVM, ID: uuidText(d.UUID)},
		Name: clip(d.Name, maxID),
		Spec: vm,
	}
}

func hasCode(err error, code rpc.ErrorNumber) bool {
	var e rpc.Error
	return errors.As(err, &e) && e.Code == uint32(code)
}
