package ctl

import (
	"slices"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/turns"
	"github.com/openpf9/openpf9/internal/wire"
)

// sourceTurn is that what a source lists has turned stale or back, or the whole of
// what its host lists: then the name is empty.
type sourceTurn struct {
	Host     wire.HostID `json:"host"`
	Hostname string      `json:"hostname"`
	turns.Turn
}

func (t *sourceTurn) line() string {
	if t.Name != "" {
		return t.Line(t.Hostname)
	}
	whole := t.Turn
	whole.Name = t.Hostname
	return whole.Line("")
}

// turning finds what turns of a kind on all hosts. It keeps what it knows when a
// watch begins anew.
type turning struct {
	kind     string
	trackers map[wire.HostID]*turns.Tracker
}

// seen returns what has turned on a host. What a host lists is stale while it is not
// connected, whatever its sources said last.
func (t *turning) seen(h *api.Host) []sourceTurn {
	lists := func(s api.Source) bool { return slices.Contains(s.Kinds, t.kind) }
	if h.Counts[t.kind] == 0 && !slices.ContainsFunc(h.Sources, lists) {
		return nil
	}
	whole := wire.SourceStatus{State: "ok", Since: h.Since, Kinds: []string{t.kind}}
	statuses := []wire.SourceStatus{whole}
	if h.Connected {
		for _, s := range h.Sources {
			statuses = append(statuses, wire.SourceStatus(s))
		}
	} else {
		statuses[0].State, statuses[0].Reason = "disconnected", h.Reason
	}
	if t.trackers == nil {
		t.trackers = make(map[wire.HostID]*turns.Tracker)
	}
	if t.trackers[h.ID] == nil {
		t.trackers[h.ID] = &turns.Tracker{Kind: t.kind}
	}
	var turned []sourceTurn
	for _, turn := range t.trackers[h.ID].Take(statuses) {
		if turn.Name == "" && !turn.Stale {
			turn.State = "connected"
		}
		turned = append(turned, sourceTurn{h.ID, h.Hostname, turn})
	}
	return turned
}
