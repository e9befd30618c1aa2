// Package program runs the system's own small programs for the appliance:
// networkctl, systemctl, vmware-rpctool. Each has a deadline, a bound on what it
// may print, and no shell. It keeps no program running.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	outputLimit = 2 << 20         // bytes; more is an error
	grace       = 2 * time.Second // for what the program started and left behind
)

// Run starts a program, by its path or by a name in PATH, waits for it at most
// limit, and returns its standard output. A program that is not installed is
// fs.ErrNotExist. What it wrote to standard error is part of the error.
func Run(ctx context.Context, limit time.Duration, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = grace
	var out, errs bounded
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	switch {
	case out.full || errs.full:
		return nil, fmt.Errorf("%s: it printed more than %d bytes", name, outputLimit)
	case err == nil:
		return out.b.Bytes(), nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%s: no answer within %s", name, limit)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	said := strings.Join(strings.Fields(errs.b.String()), " ")
	if said == "" {
		said = strings.Join(strings.Fields(out.b.String()), " ")
	}
	if said == "" {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return nil, fmt.Errorf("%s: %w: %.300s", name, err, said)
}

// bounded refuses what is longer than the limit; the program then gets SIGPIPE.
// The buffer's other methods would let it.
type bounded struct {
	b    bytes.Buffer
	full bool
}

func (w *bounded) Write(p []byte) (int, error) {
	if w.full = w.full || w.b.Len()+len(p) > outputLimit; w.full {
		return 0, io.ErrShortWrite
	}
	return w.b.Write(p)
}
