package libvirt

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// readers is how many definitions a list reads at a time, so that the daemon
// has the next call while we take the last answer. It takes 5 calls of a client
// at a time; what is more waits in the socket, and a definition takes no time
// that a ping could miss.
const readers = 4

// looked is what a look at a domain found; the zero value: it is gone.
type looked struct {
	domain *domain
	state  state
}

// lookAtAll looks at each domain of l, at some of them at once. The first error
// ends it when the calls under way have ended.
func (v *VMs) lookAtAll(ctx context.Context, s *session, l listing) ([]looked, error) {
	turn := v.turn()
	out := make([]looked, len(l.domains))
	var todo []int // takes calls
	for i, d := range l.domains {
		st := l.states[d.UUID]
		old, _ := v.take(d.UUID)
		if uint64(i)%refreshLists == turn || !st.known || !old.good(s, d) {
			todo = append(todo, i)
			continue
		}
		out[i] = looked{old, st}
	}
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range min(readers, len(todo)) {
		wg.Go(func() {
			for n := next.Add(1); int(n) <= len(todo) && failed.Load() == nil; n = next.Add(1) {
				i := todo[n-1]
				d := l.domains[i]
				var err error
				if out[i], err = v.look(ctx, s, d, l.states[d.UUID], uint64(i)%refreshLists == turn); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return out, nil
}

// good reports whether what is known of d need not be read again: it was read
// over this session and not named by an event since, and the guest neither
// started nor stopped.
func (d *domain) good(s *session, now rpc.Domain) bool {
	return d != nil && !d.dirty() && d.session == s && d.id == now.ID
}

// look returns the VM that d is in state st. The XML is read if what is known
// is not good, or again. A zero st is asked for.
func (v *VMs) look(ctx context.Context, s *session, d rpc.Domain, st state, again bool) (looked, error) {
	old, ticket := v.take(d.UUID)
	if again || !old.good(s, d) {
		if old != nil && old.dirty() {
			st = state{} // the list's may be from before the event
		}
		fresh, err := v.read(ctx, s, d, old)
		if hasCode(err, rpc.ErrNoDomain) {
			return looked{}, nil
		}
		if err != nil {
			return looked{}, err
		}
		fresh.ticket = ticket
		old = v.store(d.UUID, fresh)
	}
	if !st.known {
		var err error
		if st, err = askState(ctx, s, d); hasCode(err, rpc.ErrNoDomain) {
			return looked{}, nil
		} else if err != nil {
			return looked{}, err
		}
	}
	return looked{old, st}, nil
}

// read fetches a domain's XML, and parses it unless it is the text of old.
func (v *VMs) read(ctx context.Context, s *session, d rpc.Domain, old *domain) (*domain, error) {
	var text string
	err := s.call(ctx, "read the definition of VM "+d.Name, func() (err error) {
		text, err = s.lib.DomainGetXMLDesc(d, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	fresh := &domain{session: s, id: d.ID, text: maphash.String(v.seed, text)}
	if old != nil && old.text == fresh.text {
		fresh.vm = old.vm
		return fresh, nil
	}
	vm, err := parseDomain([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("definition of VM %s: %w", d.Name, err)
	}
	v.intern(&vm)
	fresh.vm = vm
	return fresh, nil
}

// show returns a VM with what its XML does not say. What was shown last is
// shown again if it is the same: nobody need then compare it.
func (v *VMs) show(d rpc.Domain, l looked, autostart, persistent bool) plugin.Resource {
	r := plugin.Resource{
		Key:  plugin.Key{Kind: inventory.KindVM, ID: uuidText(d.UUID)},
		Name: clip(d.Name, maxID),
		Spec: l.domain.vm,
	}
	vm := l.domain.vm.(inventory.VM)
	word, reason := stateWords(l.state.state, l.state.reason)
	v.mu.Lock()
	defer v.mu.Unlock()
	disks, resized := sized(vm.Disks, v.sizes[d.UUID])
	if !resized && vm.State == word && vm.StateReason == reason && vm.Autostart == autostart && vm.Persistent == persistent {
		return r
	}
	vm.Disks, vm.State, vm.StateReason, vm.Autostart, vm.Persistent = disks, word, reason, autostart, persistent
	r.Spec = vm
	if v.known[d.UUID] == l.domain {
		shown := *l.domain
		shown.vm = r.Spec
		v.known[d.UUID] = &shown
	}
	return r
}
