package vcproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/openpf9/openpf9/internal/atomicfile"
)

// Mode is how much control the customer gives away.
type Mode string

const (
	// ModeOpen lets everything through that the policy allows.
	ModeOpen Mode = "open"
	// ModeReadOnly refuses what changes something, transfers to vCenter too.
	ModeReadOnly Mode = "read-only"
	// ModeOff refuses everything and ends all sessions.
	ModeOff Mode = "off"
)

// errSwitched is the cause of calls that a change of the mode cut.
var errSwitched = errors.New("control was switched off at the gateway")

// Switch holds the mode, in a file that survives a restart. A file that cannot
// be read or understood means off: the doubt is the customer's.
type Switch struct {
	path  string
	stale func() error // nil: never

	mu   sync.Mutex // guards the fields below
	mode Mode
	live map[*passage]bool
}

// passage is one call on its way.
type passage struct {
	changes bool
	cut     context.CancelCauseFunc
}

// OpenSwitch reads the mode; without a file it is ModeOpen.
func OpenSwitch(path string) (*Switch, error) {
	s := &Switch{path: path, mode: ModeOff, live: make(map[*passage]bool)}
	text, err := os.ReadFile(path)
	switch mode := Mode(strings.TrimSpace(string(text))); {
	case errors.Is(err, fs.ErrNotExist):
		s.mode = ModeOpen
	case err != nil:
		return s, fmt.Errorf("control is off, for its switch is not readable: %w", err)
	case !mode.valid():
		return s, fmt.Errorf("control is off, for %s says %.20q; set it to open, read-only or off", path, text)
	default:
		s.mode = mode
	}
	return s, nil
}

func (m Mode) valid() bool { return m == ModeOpen || m == ModeReadOnly || m == ModeOff }

// Mode returns the mode.
func (s *Switch) Mode() Mode {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mode
}

// set changes the mode at once, and cuts what it forbids. Less control is in
// force even if the file cannot be written, until the next start; more is not.
func (s *Switch) set(mode Mode) error {
	if !mode.valid() {
		return fmt.Errorf("no mode %q; there are open, read-only and off", mode)
	}
	s.mu.Lock()
	before := s.mode
	if mode.below(before) {
		s.force(mode)
	}
	s.mu.Unlock()
	if err := atomicfile.Write(s.path, []byte(mode+"\n"), 0o600); err != nil {
		if mode.below(before) {
			return fmt.Errorf("control is %s now, but not after a restart: %w", mode, err)
		}
		return fmt.Errorf("control stays %s: %w", before, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.force(mode)
	return nil
}

// below says whether a mode allows less than another.
func (m Mode) below(other Mode) bool { return m != other && (m == ModeOff || other == ModeOpen) }

// force sets the mode and cuts. The lock is held; a cut only closes a channel.
func (s *Switch) force(mode Mode) {
	s.mode = mode
	for p := range s.live {
		if mode == ModeOff || mode == ModeReadOnly && p.changes {
			p.cut(errSwitched)
		}
	}
}

// pass lets a call through, with a context that a change of the mode ends. The
// caller calls leave.
func (s *Switch) pass(ctx context.Context, changes bool) (inner context.Context, leave func(), err error) {
	if changes && s.stale != nil {
		if err := s.stale(); err != nil {
			return nil, nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mode == ModeOff:
		return nil, nil, errors.New("control is switched off at the gateway")
	case s.mode == ModeReadOnly && changes:
		return nil, nil, errors.New("control is switched to read-only at the gateway")
	}
	inner, cut := context.WithCancelCause(ctx)
	p := &passage{changes, cut}
	s.live[p] = true
	return inner, func() {
		s.mu.Lock()
		delete(s.live, p)
		s.mu.Unlock()
		cut(nil)
	}, nil
}
