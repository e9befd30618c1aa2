package vcenter

import (
	"net/netip"
	"slices"
	"strings"
)

// Marks are what a machine is known by, wherever it runs. A VM that has one of them
// is taken for it.
type Marks struct {
	Of        string   // the machine, for people: "this gateway"
	UUIDs     []string // of its firmware
	MACs      []string // of its interfaces
	Addresses []string // that its guest has
	Names     []string // whole ones that its guest has
}

// Bearer is a VM that has marks.
type Bearer struct {
	Moref, Path string
	Of          string // of the marks
}

// Bears says of whose marks a VM has one; empty: it has none, or there is no such VM.
func (s *Source) Bears(moref string, marks []Marks) (of string) {
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	f, ok := factOf[*vmFact](s.store.objects[moref])
	if !ok {
		return ""
	}
	return f.bears(marks)
}

// Bearers returns the VMs of the chosen clusters that have marks, by their paths.
func (s *Source) Bearers(marks []Marks) []Bearer {
	s.store.mu.Lock() // the view remembers paths
	defer s.store.mu.Unlock()
	var found []Bearer
	for _, o := range s.store.objects {
		if f, ok := factOf[*vmFact](o); ok && o.shown != nil {
			if of := f.bears(marks); of != "" {
				found = append(found, Bearer{Moref: o.id, Path: s.store.view.path(o), Of: of})
			}
		}
	}
	slices.SortFunc(found, func(a, b Bearer) int { return strings.Compare(a.Path, b.Path) })
	return found
}

func (f *vmFact) bears(marks []Marks) string {
	vm := f.spec()
	for i := range marks {
		m := &marks[i]
		has := containsFold(m.UUIDs, vm.UUID) || containsFold(m.Names, strings.TrimSuffix(f.guest.Hostname, ".")) ||
			containsAddress(m.Addresses, f.address) || slices.ContainsFunc(f.addresses, func(a string) bool { return containsAddress(m.Addresses, a) })
		for k := range vm.NICs {
			has = has || containsFold(m.MACs, vm.NICs[k].MAC)
		}
		if has {
			return m.Of
		}
	}
	return ""
}

func containsFold(list []string, s string) bool {
	return s != "" && slices.ContainsFunc(list, func(one string) bool { return strings.EqualFold(one, s) })
}

// containsAddress compares addresses, of which those of IPv6 have several spellings.
func containsAddress(list []string, s string) bool {
	if s == "" || !strings.Contains(s, ":") {
		return s != "" && slices.Contains(list, s)
	}
	a, err := netip.ParseAddr(s)
	return err == nil && slices.ContainsFunc(list, func(one string) bool {
		b, err := netip.ParseAddr(one)
		return err == nil && a.WithZone("") == b.WithZone("")
	})
}

// Obeyed returns the addresses of vCenter itself, as its hosts know it.
func (s *Source) Obeyed() []string {
	s.store.mu.Lock() // the view remembers them
	defer s.store.mu.Unlock()
	return slices.Clone(s.store.view.obeyed())
}

// obeyed returns the addresses of the vCenters that the hosts obey.
func (v *view) obeyed() []string {
	if v.managers == nil {
		v.managers = []string{}
		for _, o := range v.s.objects {
			if f, ok := factOf[*hostFact](o); ok && f.manager != "" && !slices.Contains(v.managers, f.manager) {
				v.managers = append(v.managers, f.manager)
			}
		}
	}
	return v.managers
}
