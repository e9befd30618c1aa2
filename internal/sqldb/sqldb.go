// Package sqldb opens the control plane's relational database, brings its
// tables up to date and counts what is asked of it. Statements use $1..$n and
// the part of SQL that SQLite and PostgreSQL share; SQLite is what is built in.
//
// It knows no tables: each package that keeps state brings its own [Schema].
package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"sync/atomic"

	"modernc.org/sqlite"
)

// DB is an open database. Its zero value is not usable; call Open.
//
// SQLite has one writer: Tx takes turns, reads go on beside it.
type DB struct {
	write, read *sql.DB
	statements  atomic.Uint64
}

// Open opens or makes the SQLite database at path, which is a file's name. A
// commit is on disk when it returns.
func Open(ctx context.Context, path string) (*DB, error) {
	db := &DB{}
	open := func(mode string, conns int) *sql.DB {
		v := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}, "_txlock": {mode}}
		d := sql.OpenDB(&connector{dsn: "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + v.Encode(), driver: &sqlite.Driver{}, count: &db.statements})
		d.SetMaxOpenConns(conns)
		d.SetMaxIdleConns(conns)
		return d
	}
	db.write, db.read = open("immediate", 1), open("deferred", 4)
	if err := db.write.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	return db, nil
}

// Close closes the database; what was committed is safe anyway.
func (db *DB) Close() error { return errors.Join(db.read.Close(), db.write.Close()) }

// Statements counts every statement since Open, whoever asked.
func (db *DB) Statements() uint64 { return db.statements.Load() }

// Read is for statements that change nothing.
func (db *DB) Read() *sql.DB { return db.read }

// Tx runs f in a transaction, which is rolled back if f fails. Writers wait
// for one another.
func (db *DB) Tx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := f(tx); err != nil {
		if undone := tx.Rollback(); undone != nil && !errors.Is(undone, sql.ErrTxDone) {
			return errors.Join(err, undone)
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Schema is one package's tables: files named 0001_what.sql and so on, each
// applied once, in order. A file that was applied must never change.
type Schema struct {
	Name  string // of the owner; part of the record of what was applied
	Files fs.FS
}

// Migrate brings the tables of the schemas up to date.
func (db *DB) Migrate(ctx context.Context, schemas ...Schema) error {
	return db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS migration (
			owner TEXT NOT NULL, file TEXT NOT NULL, sum TEXT NOT NULL, PRIMARY KEY (owner, file))`)
		if err != nil {
			return fmt.Errorf("make the table of migrations: %w", err)
		}
		for _, s := range schemas {
			if err := migrate(ctx, tx, s); err != nil {
				return fmt.Errorf("migrate %s: %w", s.Name, err)
			}
		}
		return nil
	})
}

func migrate(ctx context.Context, tx *sql.Tx, s Schema) error {
	files, err := fs.Glob(s.Files, "*.sql") // sorted
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("the schema has no files")
	}
	known := make(map[string]bool)
	for _, file := range files {
		text, err := fs.ReadFile(s.Files, file)
		if err != nil {
			return err
		}
		digest := sha256.Sum256(text)
		sum := hex.EncodeToString(digest[:])
		known[path.Base(file)] = true
		var applied string
		switch err := tx.QueryRowContext(ctx, `SELECT sum FROM migration WHERE owner = $1 AND file = $2`, s.Name, file).Scan(&applied); {
		case errors.Is(err, sql.ErrNoRows):
			if _, err := tx.ExecContext(ctx, string(text)); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO migration (owner, file, sum) VALUES ($1, $2, $3)`, s.Name, file, sum); err != nil {
				return err
			}
		case err != nil:
			return err
		case applied != sum:
			return fmt.Errorf("%s is not what was applied to this database", file)
		}
	}
	return newer(ctx, tx, s.Name, known)
}

// newer refuses a database that a newer program has changed.
func newer(ctx context.Context, tx *sql.Tx, owner string, known map[string]bool) error {
	rows, err := tx.QueryContext(ctx, `SELECT file FROM migration WHERE owner = $1`, owner)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var file string
		if err := rows.Scan(&file); err != nil {
			return err
		}
		if !known[file] {
			return fmt.Errorf("the database has %s, which this program does not know: it was used by a newer one", file)
		}
	}
	return rows.Err()
}
