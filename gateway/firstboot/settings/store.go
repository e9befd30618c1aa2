package settings

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/internal/atomicfile"
)

const (
	stateVersion = 1
	maxChanges   = 20 // kept
	lockEvery    = 50 * time.Millisecond
	maxState     = 1 << 20
)

// State is what the appliance knows about itself between boots.
type State struct {
	Version  int      `json:"version"`
	Settings Settings `json:"settings"` // in force
	// Seen has the SHA-256 of each property as it was when it was last applied:
	// only one that differs is applied again.
	Seen map[string]string `json:"seen,omitempty"`
	// Source is where the OVF environment was last found.
	Source   string    `json:"source,omitempty"`
	Problems []string  `json:"problems,omitempty"` // of the last boot, for people
	Enrolled Enrolment `json:"enrolled,omitzero"`
	Changes  []Change  `json:"changes,omitempty"` // the newest last
	// Pending is a change that nobody has confirmed yet.
	Pending *Pending `json:"pending,omitempty"`
}

// Enrolment is how the last enrolment went.
type Enrolment struct {
	DU    string    `json:"du,omitempty"`
	Host  string    `json:"host,omitempty"`
	At    time.Time `json:"at,omitzero"`
	Token string    `json:"token_sha256,omitempty"` // of the token that was traded
	Error string    `json:"error,omitempty"`        // why the newest attempt failed
}

// Change is an entry of history.
type Change struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"`    // keys, for people
	Outcome string    `json:"outcome"` // "applied", "kept: ...", "rolled back: ..."
}

// Pending is a change in its window of confirmation. Who finds one that nobody
// holds puts Before back.
type Pending struct {
	Before Settings  `json:"before"`
	After  Settings  `json:"after"`
	What   string    `json:"what"`
	Began  time.Time `json:"began"`
}

// Record adds an entry of history.
func (s *State) Record(what, outcome string) {
	s.Changes = append(s.Changes, Change{time.Now().UTC().Truncate(time.Second), what, outcome})
	if extra := len(s.Changes) - maxChanges; extra > 0 {
		s.Changes = slices.Delete(s.Changes, 0, extra)
	}
}

// Hash is how State.Seen keeps a property.
func Hash(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// Store keeps the state in a directory, in a file that only root reads. What it
// reads it believes as little as what is typed: the directory is below the daemon's,
// and root writes the settings into files of the system.
type Store struct{ Dir string }

func (s Store) file() string { return filepath.Join(s.Dir, "appliance.json") }

// Load reads the state; before the first Save it is empty.
func (s Store) Load() (State, error) {
	st := State{Version: stateVersion}
	b, err := s.read()
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("read the appliance's state: %w", err)
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("%s: %w; remove the file to begin anew", s.file(), err)
	}
	if st.Version > stateVersion {
		return st, fmt.Errorf("%s has the version %d, which is newer than this program's %d", s.file(), st.Version, stateVersion)
	}
	all := []*Settings{&st.Settings}
	if st.Pending != nil {
		all = append(all, &st.Pending.Before, &st.Pending.After)
	}
	for _, one := range all {
		if err := one.typed(); err != nil {
			return State{Version: stateVersion}, fmt.Errorf("%s: %w; remove the file to begin anew", s.file(), err)
		}
	}
	st.Version = stateVersion
	return st, nil
}

// read reads the file, if it is one.
func (s Store) read() ([]byte, error) {
	f, err := os.OpenFile(s.file(), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() || info.Size() > maxState {
		return nil, fmt.Errorf("%s is no file, or too long; remove it to begin anew", s.file())
	}
	return io.ReadAll(io.LimitReader(f, maxState))
}

// typed is an error unless the settings are what somebody could have typed.
func (s *Settings) typed() error {
	var again Settings
	for _, k := range Keys() {
		v := k.get(s)
		p := printable(v)
		if p == nil {
			p = k.set(&again, v)
		}
		if p != nil {
			p.Key, p.Value, p.Secret = k.Name, v, p.Secret || k.Secret
			return p
		}
	}
	if !again.Equal(s) || !slices.Equal(again.NTP, s.NTP) {
		return errors.New("the settings are not as they are written")
	}
	return nil
}

// Save writes the state; if it is what the file has, nothing is written.
func (s Store) Save(st State) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if old, err := s.read(); err == nil && bytes.Equal(old, b) {
		return nil
	}
	if err := s.makeDir(); err != nil {
		return err
	}
	if err := atomicfile.Write(s.file(), b, 0o600); err != nil {
		return fmt.Errorf("write the appliance's state: %w", err)
	}
	return nil
}

// makeDir makes the directory, or finds one of ours that nobody else writes.
func (s Store) makeDir() error {
	if err := os.MkdirAll(s.Dir, 0o750); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	info, err := os.Lstat(s.Dir)
	if err != nil {
		return fmt.Errorf("look at the state directory: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is no directory, or others may write there: remove it", s.Dir)
	}
	return nil
}

// ErrBusy says that another process changes settings now.
var ErrBusy = errors.New("another process changes the settings now; wait until its change is confirmed or rolled back")

// Lock keeps other processes from changing settings until release is called or
// this process ends, however it ends. It does not wait: the error is ErrBusy.
func (s Store) Lock() (release func(), err error) {
	if err := s.makeDir(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the appliance's state: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrBusy
		}
		return nil, fmt.Errorf("lock the appliance's state: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// LockWithin is Lock for who can wait: until the other process has ended its
// change, or ctx has. Then the error is ErrBusy.
func (s Store) LockWithin(ctx context.Context) (release func(), err error) {
	again := time.NewTicker(lockEvery)
	defer again.Stop()
	for {
		release, err := s.Lock()
		if !errors.Is(err, ErrBusy) {
			return release, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}
