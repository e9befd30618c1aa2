package pluginhost

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	soon  = time.Second      // between two lists of the plugins after a change
	later = 30 * time.Second // if only the number of resources has changed
)

// board lists the plugins as resources of the kind agent.plugin, and not more
// often than is of use: a plugin's count may change all the time.
type board struct {
	sink    Sink
	since   time.Time
	changed chan struct{} // has one after each change

	mu        sync.Mutex // guards the fields below
	reports   map[string]inventory.Plugin
	published time.Time
	due       time.Duration // after published; 0: nothing has changed
}

func newBoard(s Sink) *board {
	return &board{sink: s, since: time.Now().UTC(), changed: make(chan struct{}, 1), reports: make(map[string]inventory.Plugin)}
}

func (b *board) post(name string, p inventory.Plugin) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, had := b.reports[name]
	if had && reflect.DeepEqual(old, p) {
		return
	}
	b.reports[name] = p
	quick := !had || old.Resources == 0 || p.Resources == 0
	old.Resources = p.Resources
	quick = quick || !reflect.DeepEqual(old, p)
	b.note(quick)
}

func (b *board) drop(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.reports, name)
	b.note(true)
}

// note plans the next list. Callers hold mu.
func (b *board) note(quick bool) {
	switch {
	case quick:
		b.due = soon
	case b.due == 0:
		b.due = later
	}
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// wait says how long to wait until the plugins are listed again.
func (b *board) wait() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.due == 0 {
		return time.Hour
	}
	return max(0, time.Until(b.published.Add(b.due)))
}

// publish lists the plugins, if something has changed, or for the first time.
func (b *board) publish() {
	b.mu.Lock()
	if b.due == 0 && !b.published.IsZero() {
		b.mu.Unlock()
		return
	}
	b.published, b.due = time.Now(), 0
	rs := make([]plugin.Resource, 0, len(b.reports))
	for _, name := range slices.Sorted(maps.Keys(b.reports)) {
		rs = append(rs, plugin.Resource{Key: plugin.Key{Kind: inventory.KindPlugin, ID: name}, Name: name, Spec: b.reports[name]})
	}
	b.mu.Unlock()
	kinds := []string{inventory.KindPlugin}
	b.sink.Listed(Module, kinds, rs)
	b.sink.Status(wire.SourceStatus{Name: Module, State: discovery.OK, Since: b.since, Listed: time.Now().UTC(), Kinds: kinds, Count: len(rs)})
	if b.sink.Doubts(Module) != "" { // of us it knows the next time
		b.mu.Lock()
		b.note(true)
		b.mu.Unlock()
	}
}

// sums remembers the hashes of programs. A crash loop costs no reading.
type sums struct {
	mu   sync.Mutex // guards known
	sums map[string]sum
}

type sum struct{ state, hash string }

// of returns the SHA-256 of a program; empty: it cannot be read.
func (s *sums) of(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	state := ""
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		state = fmt.Sprint(st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.sums[path]; ok && known.state == state {
		return known.hash
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	if s.sums == nil {
		s.sums = make(map[string]sum)
	}
	s.sums[path] = sum{state, hex.EncodeToString(h.Sum(nil))}
	return s.sums[path].hash
}
