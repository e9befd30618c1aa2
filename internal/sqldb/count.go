package sqldb

import (
	"context"
	"database/sql/driver"
	"sync/atomic"
)

// connector opens connections that count their statements.
type connector struct {
	dsn    string
	driver driver.Driver
	count  *atomic.Uint64
}

func (c *connector) Driver() driver.Driver { return c.driver }

func (c *connector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return &counted{conn, c.count}, nil
}

// counted passes everything on to the driver's connection.
type counted struct {
	driver.Conn
	count *atomic.Uint64
}

func (c *counted) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.count.Add(1)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *counted) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.count.Add(1)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *counted) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.count.Add(1) // a prepared statement counts when it is prepared
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *counted) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.count.Add(1)
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
}

func (c *counted) ResetSession(ctx context.Context) error {
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *counted) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

func (c *counted) Ping(ctx context.Context) error {
	if p, ok := c.Conn.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}
