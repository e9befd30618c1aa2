// Package spool is a bounded queue of records on disk. What was appended
// survives a crash of the process once it has been synced, records are read in
// order until they are acknowledged, and what a full spool had to drop leaves a
// gap that says how much it was.
//
// A spool is a directory of segments, each a file named by the number of its
// first record. A record is length, CRC-32C, number and payload (little-endian
// 4, 4 and 8 bytes, then the payload); the checksum covers number and payload.
package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/internal/atomicfile"
)

const (
	headLen         = 16
	maxPayload      = 1 << 20
	defaultMax      = 64 << 20
	defaultSegment  = 8 << 20
	syncEvery       = 100 * time.Millisecond
	suffix          = ".log"
	acknowledgement = "acked"
	birth           = "born"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Options bound a spool.
type Options struct {
	MaxBytes     int64 // on disk; beyond, the oldest segments are dropped. 0: 64 MiB
	SegmentBytes int64 // 0: 8 MiB
}

// Spool is the queue. Its methods may be called from several goroutines.
type Spool struct {
	dir  string
	o    Options
	born uint64        // immutable after Open
	c    chan struct{} // has one when records came, for the reader
	wet  chan struct{} // the same, for Run

	mu       sync.Mutex // guards the fields below
	segments []segment  // oldest first; the last is being written
	file     *os.File   // the last segment
	next     uint64     // number of the next record
	acked    uint64
	stored   uint64 // the acknowledgement on disk
	dirty    bool   // appended since the last sync
	missed   uint64 // records that could not be written since the last that was
	err      error  // fs.ErrClosed after Close
}

type segment struct {
	first uint64
	size  int64
}

// Record is one record.
type Record struct {
	Seq     uint64
	Payload []byte
	// Lost is how many records were dropped right before this one.
	Lost uint64
}

// Open opens the spool in dir, which it makes. A record that a crash cut short
// is cut off.
func Open(dir string, o Options) (*Spool, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMax
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = min(defaultSegment, max(o.MaxBytes/4, 4<<10))
	}
	s := &Spool{dir: dir, o: o, c: make(chan struct{}, 1), wet: make(chan struct{}, 1), next: 1}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open spool %s: %w", dir, err)
	}
	return s, nil
}

// Born tells this spool from one that was lost: numbers of records are only
// comparable where it is equal. It grows.
func (s *Spool) Born() uint64 { return s.born }

// number reads a number from a file of the spool; 0 if it is not there.
func (s *Spool) number(name string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, nil // as if it were lost
	}
	return n, nil
}

func (s *Spool) load() error {
	var err error
	if s.born, err = s.number(birth); err != nil {
		return err
	}
	if s.born == 0 {
		s.born = uint64(time.Now().Unix())
		if err := atomicfile.Write(filepath.Join(s.dir, birth), fmt.Appendf(nil, "%d\n", s.born), 0o600); err != nil {
			return err
		}
	}
	// Without the acknowledgement records are sent again; the far side knows
	// them by number.
	if s.acked, err = s.number(acknowledgement); err != nil {
		return err
	}
	s.stored = s.acked
	names, err := filepath.Glob(filepath.Join(s.dir, "*"+suffix))
	if err != nil {
		return err
	}
	for _, name := range names {
		first, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(name), suffix), 10, 64)
		if err != nil || first == 0 {
			continue // not ours
		}
		s.segments = append(s.segments, segment{first: first})
	}
	slices.SortFunc(s.segments, func(a, b segment) int { return int(int64(a.first) - int64(b.first)) })
	s.next = s.acked + 1
	for i := range s.segments {
		if err := s.recover(i); err != nil {
			return err
		}
	}
	return s.roll()
}

// recover finds where a segment's whole records end, and cuts off the rest.
func (s *Spool) recover(i int) error {
	name := s.name(s.segments[i].first)
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	whole, last := scan(b, s.segments[i].first)
	if whole < int64(len(b)) {
		if err := os.Truncate(name, whole); err != nil {
			return err
		}
	}
	s.segments[i].size = whole
	s.next = max(s.next, last+1)
	return nil
}

// scan returns the length of the whole records at the start of a segment, and
// the number of the last; first-1 if there is none.
func scan(b []byte, first uint64) (whole int64, last uint64) {
	last = first - 1
	for {
		seq, payload, ok := parse(b[whole:])
		if !ok || seq != last+1 {
			return whole, last
		}
		whole += int64(headLen + len(payload))
		last = seq
	}
}

// parse reads the record at the start of b.
func parse(b []byte) (seq uint64, payload []byte, ok bool) {
	if len(b) < headLen {
		return 0, nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxPayload || len(b)-headLen < int(n) {
		return 0, nil, false
	}
	end := headLen + int(n)
	if crc32.Checksum(b[8:end], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return 0, nil, false
	}
	return binary.LittleEndian.Uint64(b[8:]), b[headLen:end], true
}

func (s *Spool) name(first uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d%s", first, suffix))
}

// roll begins a new segment, unless the last one is empty. If it fails, the
// spool is as it was.
func (s *Spool) roll() error {
	f, err := os.OpenFile(s.name(s.next), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return errors.Join(err, f.Close())
	}
	if s.file != nil {
		if err := s.file.Sync(); err != nil {
			return errors.Join(err, f.Close())
		}
		_ = s.file.Close() // synced
		s.dirty = false
	}
	if n := len(s.segments); n == 0 || s.segments[n-1].first != s.next {
		s.segments = append(s.segments, segment{first: s.next})
	}
	s.file = f
	return nil
}

// Append adds a record. It is safe from a crash of the machine after the next
// Sync, which Run does ten times a second.
func (s *Spool) Append(payload []byte) (uint64, error) {
	if len(payload) > maxPayload {
		return 0, fmt.Errorf("spool record of %d bytes: want at most %d", len(payload), maxPayload)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if s.missed > 0 { // the disk was full; a new segment begins behind the gap
		s.next += s.missed
		if err := s.roll(); err != nil {
			s.next -= s.missed
			s.missed++
			return 0, err
		}
		s.missed = 0
	}
	last := &s.segments[len(s.segments)-1]
	if last.size > 0 && last.size+int64(headLen+len(payload)) > s.o.SegmentBytes {
		if err := s.roll(); err != nil {
			s.missed++
			return 0, err
		}
		s.shrink()
		last = &s.segments[len(s.segments)-1]
	}
	b := make([]byte, headLen, headLen+len(payload))
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	binary.LittleEndian.PutUint64(b[8:], s.next)
	b = append(b, payload...)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	if _, err := s.file.Write(b); err != nil {
		// What is half written would hide all that follows.
		s.missed++
		return 0, errors.Join(fmt.Errorf("append to spool: %w", err), s.file.Truncate(last.size))
	}
	last.size += int64(len(b))
	seq := s.next
	s.next++
	s.dirty = true
	for _, c := range []chan struct{}{s.c, s.wet} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	return seq, nil
}

// shrink drops the oldest segments while there are too many bytes.
func (s *Spool) shrink() {
	total := int64(0)
	for _, g := range s.segments {
		total += g.size
	}
	for len(s.segments) > 1 && total > s.o.MaxBytes-s.o.SegmentBytes {
		total -= s.segments[0].size
		s.drop()
	}
}

// drop removes the oldest segment. A file that stays is found at the next open.
func (s *Spool) drop() {
	_ = os.Remove(s.name(s.segments[0].first))
	s.segments = s.segments[1:]
}

// Read returns records after a number, at most so many, oldest first.
func (s *Spool) Read(after uint64, most int) ([]Record, error) {
	s.mu.Lock()
	segments := slices.Clone(s.segments)
	s.mu.Unlock()
	var out []Record
	want := after + 1
	for i, g := range segments {
		if i+1 < len(segments) && segments[i+1].first <= want {
			continue
		}
		b, err := os.ReadFile(s.name(g.first))
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile: a gap
		} else if err != nil {
			return nil, fmt.Errorf("read spool: %w", err)
		}
		for b = b[:min(int64(len(b)), g.size)]; len(out) < most; {
			seq, payload, ok := parse(b)
			if !ok {
				break
			}
			b = b[headLen+len(payload):]
			if seq >= want {
				out = append(out, Record{Seq: seq, Payload: slices.Clone(payload), Lost: seq - want})
				want = seq + 1
			}
		}
		if len(out) == most {
			break
		}
	}
	return out, nil
}

// Ack says that records up to a number are safe elsewhere. Whole segments of
// them are removed.
func (s *Spool) Ack(seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq >= s.next {
		return fmt.Errorf("acknowledge record %d: the last is %d", seq, s.next-1)
	}
	if seq <= s.acked {
		return nil
	}
	s.acked = seq
	removed := false
	for len(s.segments) > 1 && s.segments[1].first <= seq+1 {
		s.drop()
		removed = true
	}
	if removed {
		return s.store()
	}
	return nil
}

// store keeps the acknowledgement. It may be older than acked after a crash:
// records are then read again.
func (s *Spool) store() error {
	if s.stored == s.acked {
		return nil
	}
	if err := atomicfile.Write(filepath.Join(s.dir, acknowledgement), fmt.Appendf(nil, "%d\n", s.acked), 0o600); err != nil {
		return fmt.Errorf("keep acknowledgement: %w", err)
	}
	s.stored = s.acked
	return nil
}

// Acked is the last acknowledged record, Last the last appended; 0: none.
func (s *Spool) Acked() uint64 { s.mu.Lock(); defer s.mu.Unlock(); return s.acked }

// Last is the number of the last record; 0: none.
func (s *Spool) Last() uint64 { s.mu.Lock(); defer s.mu.Unlock(); return s.next - 1 }

// Notify has one when records were appended since it was last taken.
func (s *Spool) Notify() <-chan struct{} { return s.c }

// Sync puts what was appended on disk. Append need not wait for it.
func (s *Spool) Sync() error {
	s.mu.Lock()
	file, dirty, err := s.file, s.dirty, s.err
	s.dirty = false
	s.mu.Unlock()
	if !dirty || err != nil {
		return err
	}
	err = file.Sync()
	if err == nil || errors.Is(err, fs.ErrClosed) { // roll synced it before it closed it
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty = true // the next Sync tries again
	return fmt.Errorf("sync spool: %w", err)
}

// Run syncs soon after each append until ctx ends. An idle spool costs nothing.
func (s *Spool) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.Sync())
		case <-s.wet:
		}
		pause := time.NewTimer(syncEvery) // for company
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
		_ = s.Sync() // a disk that fails must not end the agent; the next append tries again
	}
}

// Close syncs and closes. The spool cannot be used afterwards.
func (s *Spool) Close() error {
	err := s.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	err = errors.Join(err, s.store(), s.file.Close())
	s.err = fs.ErrClosed
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
