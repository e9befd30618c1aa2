package actions

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
)

func rec(n int, state string) *record {
	id := fmt.Sprintf("action-%04d", n)
	return &record{Request: wire.ActionRequest{ID: id}, Outcome: wire.ActionOutcome{ID: id, State: state, Ended: time.Unix(int64(n), 0).UTC()}}
}

func TestATornLineIsCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, _, _, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if err := j.add(rec(n, wire.ActionRunning)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = append([]byte("not ours\n"), text[:len(text)-10]...)
	text = append(text, bytes.Repeat([]byte("x"), 4096)...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	j, all, damaged, err := openJournal(path)
	if err != nil || len(all) != 2 || damaged != 1 {
		t.Fatalf("read %d records, %d damaged, %v", len(all), damaged, err)
	}
	if err := j.add(rec(7, wire.ActionFailed)); err != nil {
		t.Fatal(err)
	}
	_ = j.close()
	if _, all, damaged, err = openJournal(path); err != nil || len(all) != 3 || damaged != 1 || all[2].Request.ID != "action-0007" {
		t.Errorf("then read %d records, %d damaged, %v", len(all), damaged, err)
	}
}

func TestTheJournalStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	x, err := New(Options{Journal: path, Limits: Limits{Kept: 10}, Control: func() error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	open := &Action{x: x, record: *rec(0, wire.ActionRunning), changed: make(chan struct{})}
	open.Outcome.Ended = time.Time{}
	x.entries[open.Request.ID] = open
	if err := x.journal.add(&open.record); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 500; n++ {
		e := &Action{x: x, record: *rec(n, wire.ActionAccepted), changed: make(chan struct{})}
		x.entries[e.Request.ID] = e
		e.Succeed("")
	}
	if len(x.entries) != 11 || x.journal.lines > 4*11+101 {
		t.Errorf("%d entries, %d lines", len(x.entries), x.journal.lines)
	}
	_ = x.journal.close()
	x, err = New(Options{Journal: path, Control: func() error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.journal.close() }()
	if e := x.entries["action-0000"]; e == nil || e.Outcome.Done() {
		t.Error("what has not ended was forgotten")
	}
	if x.entries["action-0500"] == nil {
		t.Error("the newest was forgotten")
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"request":{"id":"action-1"},"outcome":{"id":"action-1","state":"running"}}` + "\n"))
	f.Add([]byte("{}\n\n\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		j, before, _, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.add(rec(1, wire.ActionFailed)); err != nil {
			t.Fatal(err)
		}
		_ = j.close()
		if _, after, _, err := openJournal(path); err != nil || len(after) != len(before)+1 {
			t.Errorf("%d records became %d, %v", len(before), len(after), err)
		}
	})
}
