package sqldb_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/openpf9/openpf9/internal/sqldb"
)

func files(pairs ...string) fstest.MapFS {
	m := make(fstest.MapFS)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

func open(t *testing.T, path string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

const table = `CREATE TABLE pet (name TEXT PRIMARY KEY, legs INTEGER NOT NULL)`

func TestMigrateAppliesEachFileOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%c.db")
	for range 2 {
		db := open(t, path)
		if err := db.Migrate(t.Context(), sqldb.Schema{Name: "pets", Files: files("0001_pet.sql", table)}); err != nil {
			t.Fatal(err)
		}
	}
	db := open(t, path)
	more := files("0001_pet.sql", table, "0002_cat.sql", `INSERT INTO pet VALUES ('cat', 4)`)
	for range 2 {
		if err := db.Migrate(t.Context(), sqldb.Schema{Name: "pets", Files: more}); err != nil {
			t.Fatal(err)
		}
	}
	var legs int
	if err := db.Read().QueryRowContext(t.Context(), `SELECT legs FROM pet WHERE name = $1`, "cat").Scan(&legs); err != nil || legs != 4 {
		t.Errorf("legs = %d, %v, want 4", legs, err)
	}
}

func TestMigrateRefuses(t *testing.T) {
	tests := []struct {
		name string
		then fstest.MapFS
		want string
	}{
		{"a changed file", files("0001_pet.sql", table+";"), "not what was applied"},
		{"a newer database", files("0000_other.sql", `CREATE TABLE other (a TEXT)`), "used by a newer one"},
		{"a bad statement", files("0001_pet.sql", table, "0002_bad.sql", `CREATE NONSENSE`), "0002_bad.sql"},
		{"no files", files(), "no files"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			db := open(t, filepath.Join(t.TempDir(), "db"))
			if err := db.Migrate(t.Context(), sqldb.Schema{Name: "pets", Files: files("0001_pet.sql", table)}); err != nil {
				t.Fatal(err)
			}
			err := db.Migrate(t.Context(), sqldb.Schema{Name: "pets", Files: test.then})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Migrate = %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestTxTakesTurnsAndRollsBack(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "db"))
	if err := db.Migrate(t.Context(), sqldb.Schema{Name: "pets", Files: files("0001_pet.sql", table)}); err != nil {
		t.Fatal(err)
	}
	err := db.Tx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO pet VALUES ('dog', 0)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				err := db.Tx(t.Context(), func(tx *sql.Tx) error {
					_, err := tx.ExecContext(t.Context(), `UPDATE pet SET legs = legs + 1`)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	stop := errors.New("stop")
	err = db.Tx(t.Context(), func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(t.Context(), `DELETE FROM pet`); err != nil {
			return err
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("Tx = %v, want the function's error", err)
	}
	before := db.Statements()
	var legs int
	if err := db.Read().QueryRowContext(t.Context(), `SELECT legs FROM pet`).Scan(&legs); err != nil || legs != 80 {
		t.Errorf("legs = %d, %v, want 80", legs, err)
	}
	if n := db.Statements() - before; n != 1 {
		t.Errorf("one query counted as %d statements", n)
	}
}
