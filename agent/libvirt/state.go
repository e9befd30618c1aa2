package libvirt

import (
	"context"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// A state is a domain's as libvirt counts it.
type state struct {
	known         bool
	state, reason int32
}

// askStates returns the states of all domains in one call that asks no guest.
func askStates(ctx context.Context, s *session) (map[rpc.UUID]state, error) {
	var records []rpc.DomainStatsRecord
	err := s.call(ctx, "read VM states", func() (err error) {
		records, err = s.lib.ConnectGetAllDomainStats(nil, uint32(rpc.DomainStatsState), 0)
		return err
	})
	if hasCode(err, rpc.ErrNoSupport) {
		return nil, nil // an old driver: each domain is asked
	}
	if err != nil {
		return nil, err
	}
	return statesOf(records), nil
}

func statesOf(records []rpc.DomainStatsRecord) map[rpc.UUID]state {
	states := make(map[rpc.UUID]state, len(records))
	for _, r := range records {
		st := state{known: true}
		for _, p := range r.Params {
			switch p.Field {
			case rpc.DomainStatsStateState:
				st.state = int32(number(p.Value))
			case rpc.DomainStatsStateReason:
				st.reason = int32(number(p.Value))
			}
		}
		states[r.Dom.UUID] = st
	}
	return states
}

func askState(ctx context.Context, s *session, d rpc.Domain) (state, error) {
	st := state{known: true}
	err := s.call(ctx, "read the state of VM "+d.Name, func() (err error) {
		st.state, st.reason, err = s.lib.DomainGetState(d, 0)
		return err
	})
	return st, err
}

// The words for libvirt's states and, by position, for the reasons of each.
// Reason 0 is "unknown" in all of them and has no word.
var states = []struct {
	word    string
	reasons []string
}{
	{inventory.VMUnknown, nil},
	{inventory.VMRunning, []string{
		"", "booted", "migrated", "restored", "from_snapshot", "unpaused", "migration_canceled",
		"save_canceled", "wakeup", "crashed", "postcopy", "postcopy_failed",
	}},
	{inventory.VMBlocked, nil},
	{inventory.VMPaused, []string{
		"", "user", "migration", "save", "dump", "io_error", "watchdog", "from_snapshot", "shutting_down",
		"snapshot", "crashed", "starting_up", "postcopy", "postcopy_failed", "api_error",
	}},
	{inventory.VMShuttingDown, []string{"", "user"}},
	{inventory.VMShutOff, []string{
		"", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from_snapshot", "daemon",
	}},
	{inventory.VMCrashed, []string{"", "panicked"}},
	{inventory.VMSuspended, nil},
}

func stateWords(state, reason int32) (word, why string) {
	if state < 0 || int(state) >= len(states) {
		return inventory.VMUnknown, ""
	}
	s := states[state]
	if reason > 0 && int(reason) < len(s.reasons) {
		why = s.reasons[reason]
	}
	return s.word, why
}

// number returns a typed parameter's value, 0 if it is no number.
func number(v rpc.TypedParamValue) uint64 {
	switch n := v.I.(type) {
	case int32:
		return uint64(max(n, 0))
	case uint32:
		return uint64(n)
	case int64:
		return uint64(max(n, 0))
	case uint64:
		return n
	}
	return 0
}
