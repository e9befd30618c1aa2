package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// Role is which end of the tunnel a child process is.
type Role string

// The roles.
const (
	RoleDU    Role = "du"
	RoleAgent Role = "agent"
)

// SetupArgs are told to a child before anything else.
type SetupArgs struct {
	Role  Role
	Stack string
	Identity
}

// Child is what the parent asks of a child first.
type Child struct{ srv *rpc.Server }

// Setup makes the child an agent or a DU with a stack.
func (c *Child) Setup(args SetupArgs, _ *int) error {
	stack, ok := findStack(args.Stack)
	if !ok {
		return fmt.Errorf("no stack %q", args.Stack)
	}
	conf, err := args.TLS()
	if err != nil {
		return err
	}
	clocks := Clocks{start: time.Now(), read: new(atomic.Int64)}
	if args.Role == RoleDU {
		return c.srv.Register(&DU{Clocks: clocks, stack: stack, tls: conf})
	}
	s := newService()
	clocks.read = &s.read
	return c.srv.Register(&Agent{Clocks: clocks, stack: stack, tls: conf, service: s})
}

// runChild answers the parent until it goes away.
func runChild() error {
	srv := rpc.NewServer()
	if err := srv.Register(&Child{srv: srv}); err != nil {
		return err
	}
	srv.ServeConn(stdio{os.Stdin, os.Stdout})
	return nil
}

// stdio is the pipe to the parent.
type stdio struct {
	io.ReadCloser
	io.Writer
}

// process is a child as the parent sees it.
type process struct {
	role Role
	cmd  *exec.Cmd
	rpc  *rpc.Client
	once sync.Once
}

// errFrozen is what a call returns that got no answer in time.
var errFrozen = errors.New("frozen")

// startProcess starts this program as a child. It inherits the calling
// thread's network namespace.
func startProcess(role Role, stack string, id Identity) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "-child")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{role: role, cmd: cmd, rpc: rpc.NewClient(pipes{out, in})}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	args := SetupArgs{Role: role, Stack: stack, Identity: id}
	if err := p.do(ctx, "Child.Setup", args, new(int)); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

type pipes struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipes) Close() error { return errors.Join(p.ReadCloser.Close(), p.WriteCloser.Close()) }

// call asks the child for one of its role's methods.
func (p *process) call(ctx context.Context, method string, args, reply any) error {
	return p.do(ctx, map[Role]string{RoleDU: "DU.", RoleAgent: "Agent."}[p.role]+method, args, reply)
}

func (p *process) do(ctx context.Context, method string, args, reply any) error {
	c := p.rpc.Go(method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-c.Done:
		if c.Error != nil {
			return fmt.Errorf("%s: %w", method, c.Error)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, errFrozen)
	}
}

// stop ends the child and waits for it.
func (p *process) stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.rpc.Close()
		_ = p.cmd.Wait()
	})
}

// Identity is what both ends show and trust.
type Identity struct{ CA, Cert, Key []byte }

// TLS makes a configuration for either end: TLS 1.3 with a certificate asked
// of both. Sessions are not resumed, so each connection is a full handshake.
func (i Identity) TLS() (*tls.Config, error) {
	cert, err := tls.X509KeyPair(i.Cert, i.Key)
	if err != nil {
		return nil, err
	}
	pool, err := certPool(i.CA)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ServerName:   identityName,
	}, nil
}
