package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

var (
	errTimedOut = errors.New("no answer")
	errTooMuch  = errors.New("it prints too much")
)

// result is of a program that has ended by itself.
type result struct {
	status int
	stdout []byte
	stderr []byte // its beginning
}

// said is what the program told people, in a few words.
func (r *result) said() string {
	text := strings.TrimSpace(string(r.stderr))
	if text == "" {
		text = strings.TrimSpace(string(r.stdout))
	}
	const most = 1000
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}

// bounded keeps what is written up to a limit, and then calls full.
type bounded struct {
	kept  bytes.Buffer // not embedded: its ReadFrom knows no limit
	limit int
	full  func() // may be nil: what is too much is dropped
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.limit - b.kept.Len(); len(p) > room {
		b.over = true
		_, _ = b.kept.Write(p[:room]) // never fails
		if b.full != nil {
			b.full()
		}
		return len(p), nil
	}
	return b.kept.Write(p)
}

// execute runs a program without input, in a group of its own, and returns what
// it printed. Nothing of it is left when execute returns.
func execute(ctx context.Context, command []string, timeout time.Duration, most int) (*result, error) {
	// The kernel kills the program if this thread ends, which it does only with
	// the whole process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	stdout, stderr := &bounded{limit: most, full: cancel}, &bounded{limit: 4 << 10}
	cmd.Stdout, cmd.Stderr, cmd.Dir = stdout, stderr, "/"
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=", "WATCHDOG_USEC=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = kill, time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	err := cmd.Wait()
	_ = kill() // what it left behind, if anything
	_, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case stdout.over:
		return nil, fmt.Errorf("%w: more than %d bytes", errTooMuch, most)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%w within %v", errTimedOut, timeout)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && !exited:
		return nil, err
	case cmd.ProcessState.ExitCode() < 0:
		return nil, err // by a signal
	}
	return &result{cmd.ProcessState.ExitCode(), stdout.kept.Bytes(), stderr.kept.Bytes()}, nil
}
