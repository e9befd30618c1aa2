package spool_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/openpf9/openpf9/agent/spool"
)

func open(t testing.TB, dir string, o spool.Options) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func fill(t testing.TB, s *spool.Spool, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if seq, err := s.Append(fmt.Appendf(nil, "record %d", i)); err != nil || seq != uint64(i) {
			t.Fatalf("record %d got number %d, %v", i, seq, err)
		}
	}
}

// check reads everything after a number and expects records from..to.
func check(t testing.TB, s *spool.Spool, after, from, to int) {
	t.Helper()
	rs, err := s.Read(uint64(after), 1<<20)
	if err != nil || len(rs) != max(0, to-from+1) {
		t.Fatalf("read %d records, %v, want %d to %d", len(rs), err, from, to)
	}
	for i, r := range rs {
		if want := from + i; r.Seq != uint64(want) || string(r.Payload) != fmt.Sprintf("record %d", want) {
			t.Fatalf("record %d is %d %q", want, r.Seq, r.Payload)
		}
		lost := uint64(0)
		if i == 0 {
			lost = uint64(from - after - 1)
		}
		if r.Lost != lost {
			t.Fatalf("record %d says %d were lost before it, want %d", r.Seq, r.Lost, lost)
		}
	}
}

func TestRecordsSurviveAReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, spool.Options{SegmentBytes: 256})
	fill(t, s, 1, 100)
	check(t, s, 0, 1, 100)
	if err := s.Ack(40); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, spool.Options{SegmentBytes: 256})
	if s.Acked() != 40 || s.Last() != 100 {
		t.Errorf("acked %d, last %d", s.Acked(), s.Last())
	}
	check(t, s, 40, 41, 100)
	fill(t, s, 101, 110)
	check(t, s, 40, 41, 110)
}

func TestAckRemovesSegments(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, spool.Options{SegmentBytes: 256})
	fill(t, s, 1, 100)
	if err := s.Ack(100); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(files) > 1 {
		t.Errorf("%d segments left, %v", len(files), err)
	}
	if err := s.Ack(101); err == nil {
		t.Error("a record that does not exist was acknowledged")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, spool.Options{})
	fill(t, s, 101, 101) // numbers go on
}

func TestFullSpoolDropsTheOldestAndSaysSo(t *testing.T) {
	s := open(t, t.TempDir(), spool.Options{MaxBytes: 2048, SegmentBytes: 512})
	fill(t, s, 1, 1000)
	rs, err := s.Read(0, 1)
	if err != nil || len(rs) != 1 || rs[0].Lost != rs[0].Seq-1 || rs[0].Lost < 800 {
		t.Fatalf("first record left: %+v, %v", rs, err)
	}
	check(t, s, 0, int(rs[0].Seq), 1000)
}

// A crash may cut the last segment anywhere, or leave rubbish there.
func TestTornTailIsCut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, spool.Options{})
	fill(t, s, 1, 5)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	record := len(whole) / 5
	for cut := range len(whole) + 1 {
		for name, tail := range map[string][]byte{"cut": nil, "zeros": make([]byte, 40), "noise": bytes.Repeat([]byte{0xa5}, 40)} {
			again := t.TempDir()
			if err := os.WriteFile(filepath.Join(again, filepath.Base(files[0])), append(bytes.Clone(whole[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := spool.Open(again, spool.Options{})
			if err != nil {
				t.Fatalf("%s at %d: %v", name, cut, err)
			}
			n := cut / record
			check(t, s, 0, 1, n)
			fill(t, s, n+1, n+2)
			check(t, s, 0, 1, n+2)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestFullDiskIsAGapNotTheEnd(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("no small file system to be had:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := open(t, filepath.Join(dir, "s"), spool.Options{})
	fill(t, s, 1, 3)
	ballast := filepath.Join(dir, "ballast")
	_ = os.WriteFile(ballast, make([]byte, 1<<20), 0o600) // as much as fits
	missed := uint64(0)
	for range 40 {
		if _, err := s.Append(make([]byte, 4096)); err != nil {
			missed++
		}
	}
	if missed == 0 {
		t.Fatal("the disk was not full")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	seq, err := s.Append([]byte("after"))
	if err != nil {
		t.Fatalf("with room again: %v", err)
	}
	rs, err := s.Read(3, 100)
	if err != nil || len(rs) == 0 {
		t.Fatal(rs, err)
	}
	last, lost := rs[len(rs)-1], uint64(0)
	for _, r := range rs {
		lost += r.Lost
	}
	if last.Seq != seq || string(last.Payload) != "after" || lost != missed {
		t.Errorf("last record %d %q, %d lost, want %d and %d", last.Seq, last.Payload, lost, seq, missed)
	}
}

func FuzzRecovery(f *testing.F) {
	dir := f.TempDir()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		f.Fatal(err)
	}
	fill(f, s, 1, 3)
	_ = s.Close()
	b, err := os.ReadFile(filepath.Join(dir, "00000000000000000001.log"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "00000000000000000001.log"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := spool.Open(dir, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		before, err := s.Read(0, 100)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append([]byte("more")); err != nil {
			t.Fatal(err)
		}
		after, err := s.Read(0, 101)
		if err != nil || len(before) < 100 && len(after) != len(before)+1 {
			t.Fatalf("%d records, one appended, %d records, %v", len(before), len(after), err)
		}
		_ = s.Close()
	})
}

func BenchmarkAppend(b *testing.B) {
	s := open(b, b.TempDir(), spool.Options{})
	payload := make([]byte, 300)
	for b.Loop() {
		if _, err := s.Append(payload); err != nil {
			b.Fatal(err)
		}
	}
}
