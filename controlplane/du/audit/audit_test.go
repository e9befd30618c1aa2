package audit_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/openpf9/openpf9/controlplane/du/audit"
	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/sqldb"
)

// written runs a log, records through f, and returns what is stored after it
// has ended.
func written(t *testing.T, f func(*audit.Log)) (*audit.Log, []api.AuditEntry) {
	t.Helper()
	db, err := sqldb.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), audit.Schema()); err != nil {
		t.Fatal(err)
	}
	l := audit.New(db, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	f(l)
	cancel()
	wg.Wait()
	list, err := l.List(t.Context(), audit.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return l, list.Entries
}

func TestEntriesAreKeptNewestFirst(t *testing.T) {
	l, got := written(t, func(l *audit.Log) {
		for _, action := range []string{"a", "b", "c"} {
			l.Record(t.Context(), api.AuditEntry{Actor: "admin", Action: action, Object: "x", Outcome: audit.Done})
		}
	})
	if len(got) != 3 || got[0].Action != "c" || got[2].Action != "a" || got[0].Time.IsZero() {
		t.Fatalf("entries = %v, want c b a", got)
	}
	page, err := l.List(t.Context(), audit.Query{Limit: 2})
	if err != nil || len(page.Entries) != 2 || page.Before != got[1].ID {
		t.Fatalf("first page = %v, %v", page, err)
	}
	page, err = l.List(t.Context(), audit.Query{Limit: 2, Before: page.Before})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Action != "a" || page.Before != 0 {
		t.Errorf("second page = %v, %v", page, err)
	}
	page, err = l.List(t.Context(), audit.Query{Action: "b"})
	if err != nil || len(page.Entries) != 1 {
		t.Errorf("by action = %v, %v", page, err)
	}
}

func TestFloodOfRefusalsIsCountedNotMultiplied(t *testing.T) {
	const n = 5000
	_, got := written(t, func(l *audit.Log) {
		for range n {
			l.Record(t.Context(), api.AuditEntry{Actor: "anonymous", Action: "tunnel.refused", Outcome: audit.Refused, Reason: "foreign", Remote: "192.0.2.1"})
		}
	})
	times := 0
	for _, e := range got {
		times += e.Times
	}
	if times != n || len(got) > n/100 {
		t.Errorf("%d refusals became %d entries that count %d", n, len(got), times)
	}
}

func TestDeedsAreNeverFolded(t *testing.T) {
	_, got := written(t, func(l *audit.Log) {
		for range 3 {
			l.Record(t.Context(), api.AuditEntry{Actor: "admin", Action: "host.revoke", Object: "h", Outcome: audit.Done})
		}
	})
	if len(got) != 3 {
		t.Errorf("3 deeds became %d entries", len(got))
	}
}
