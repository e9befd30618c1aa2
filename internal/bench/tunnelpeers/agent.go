package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"sync"
	"time"
)

// Agent is what the parent asks of the agent's process, over net/rpc.
type Agent struct {
	Clocks
	stack   Stack
	tls     *tls.Config
	service *service

	mu       sync.Mutex
	sessions []io.Closer
}

// ConnectArgs asks for N sessions with the DU at Addr, Workers at a time.
type ConnectArgs struct {
	Addr       string
	N, Workers int
}

// Connect replies how long it took until all were up.
func (a *Agent) Connect(args ConnectArgs, took *time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	start := time.Now()
	jobs := make(chan struct{}, args.N)
	for range args.N {
		jobs <- struct{}{}
	}
	close(jobs)
	errs := make(chan error, args.Workers)
	for range args.Workers {
		go func() { errs <- a.connectEach(ctx, args.Addr, jobs) }()
	}
	var failed error
	for range args.Workers {
		if err := <-errs; err != nil {
			failed = err
			cancel()
		}
	}
	*took = time.Since(start)
	return failed
}

func (a *Agent) connectEach(ctx context.Context, addr string, jobs <-chan struct{}) error {
	for range jobs {
		s, err := a.stack.Connect(ctx, addr, a.tls, a.service.serve)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		a.mu.Lock()
		a.sessions = append(a.sessions, s)
		a.mu.Unlock()
	}
	return nil
}

// CloseAll ends every session.
func (a *Agent) CloseAll(int, *int) error {
	a.mu.Lock()
	sessions := a.sessions
	a.sessions = nil
	a.mu.Unlock()
	for _, s := range sessions {
		_ = s.Close()
	}
	return nil
}
