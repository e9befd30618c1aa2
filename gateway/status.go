package gateway

import (
	"maps"
	"slices"

	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/vcenter"
	"github.com/openpf9/openpf9/internal/discovery"
)

// status tells how each vCenter is.
func (s *sites) status() []status.VCenter {
	all := []status.VCenter{}
	for _, st := range s.all() {
		all = append(all, st.status())
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(s.out)) {
		all = append(all, status.VCenter{Name: name, State: discovery.Failed, Problem: "it is left out: " + s.out[name].Error()})
	}
	return all
}

// status tells how the vCenter is.
func (s *site) status() status.VCenter {
	seen, link := s.source.State(), s.looks.State()
	v := status.VCenter{
		Name: s.name, Address: s.conf.URL.Address(), State: stateOf(seen), Counts: seen.Objects, Read: seen.Read, Changed: seen.Changed,
		Pinned: s.conf.Thumbprint.String(),
	}
	if seen.OK || seen.Reading {
		v.Since = link.Since // nobody knows of a session whose vCenter does not answer
	}
	if v.Pinned == "" && seen.OK {
		v.Pinned = link.Fingerprint // which an authority has vouched for
	}
	if s.broker != nil {
		v.Control, v.Broker, v.Kept = string(s.broker.Mode()), s.conf.Broker, s.scope.kept.in(s.source)
		if s.broker.problem != nil {
			v.Problem = s.broker.problem.Error()
		}
	}
	switch {
	case seen.OK, seen.Reading:
	case seen.Known:
		v.StaleSince = seen.Since
		fallthrough
	default:
		v.Problem = seen.Problem.Error()
	}
	v.Missing, v.Checked = s.rights.lacks()
	return v
}

// stateOf is the word for how the discovery is.
func stateOf(seen vcenter.State) string {
	switch {
	case seen.OK:
		return discovery.OK
	case seen.Reading:
		return status.Reading
	case seen.Known:
		return discovery.Degraded
	}
	return discovery.Failed
}
