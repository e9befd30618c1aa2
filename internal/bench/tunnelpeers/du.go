package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// DU is what the parent asks of the control plane's process, over net/rpc. All
// streams are opened here.
type DU struct {
	Clocks
	stack Stack
	tls   *tls.Config

	mu       sync.Mutex
	sessions []Opener
	changed  chan struct{} // closed and replaced when sessions changes
	streams  []net.Conn    // open until CloseAll
	server   io.Closer
}

// Listen listens on host and replies the address.
func (d *DU) Listen(host string, addr *string) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	*addr = l.Addr().String()
	d.changed = make(chan struct{})
	d.server, err = d.stack.Listen(l, d.tls, func(o Opener) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.sessions = append(d.sessions, o)
		close(d.changed)
		d.changed = make(chan struct{})
	})
	return err
}

// Wait returns when n sessions are up.
func (d *DU) Wait(n int, _ *int) error {
	for deadline := time.After(60 * time.Second); ; {
		d.mu.Lock()
		got, changed := len(d.sessions), d.changed
		d.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-changed:
		case <-deadline:
			return fmt.Errorf("only %d of %d sessions after a minute", got, n)
		}
	}
}

// CloseStreams ends all streams but no session. It does not wait: some peers'
// Close waits for a frozen session.
func (d *DU) CloseStreams(int, *int) error {
	d.mu.Lock()
	streams := d.streams
	d.streams = nil
	d.mu.Unlock()
	for _, c := range streams {
		go c.Close()
	}
	return nil
}

// CloseAll ends all sessions and their streams.
func (d *DU) CloseAll(int, *int) error {
	_ = d.CloseStreams(0, nil)
	d.mu.Lock()
	sessions := d.sessions
	d.sessions = nil
	d.mu.Unlock()
	for _, s := range sessions {
		go s.Close()
	}
	return nil
}

func (d *DU) session() (Opener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.sessions) == 0 {
		return nil, errors.New("no session")
	}
	return d.sessions[len(d.sessions)-1], nil
}

// open opens a stream that lives until CloseAll.
func (d *DU) open(use Use, op byte) (net.Conn, error) {
	s, err := d.session()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := openOp(ctx, s, use, op, nil)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.streams = append(d.streams, c)
	d.mu.Unlock()
	return c, nil
}

// BulkArgs asks for N streams that are full until CloseAll.
type BulkArgs struct {
	N  int
	Up bool // from the agent to the DU
}

// Bulk starts them.
func (d *DU) Bulk(args BulkArgs, _ *int) error {
	for range args.N {
		op := byte(opSink)
		if args.Up {
			op = opSource
		}
		c, err := d.open(UseBulk, op)
		if err != nil {
			return err
		}
		if args.Up {
			go drain(c, d.read)
		} else {
			go fill(c, nil)
		}
	}
	return nil
}

// Stall starts n streams whose far end never reads and fills them for as long
// as asked, then replies how many bytes they took in. The writers stay blocked.
func (d *DU) Stall(args StallArgs, taken *int64) error {
	var count atomic.Int64
	for range args.N {
		c, err := d.open(UseBulk, opStall)
		if err != nil {
			return err
		}
		go fill(c, &count)
	}
	time.Sleep(args.For)
	*taken = count.Load()
	return nil
}

// StallArgs are the arguments of Stall.
type StallArgs struct {
	N   int
	For time.Duration
}
