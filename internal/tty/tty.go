// Package tty asks a person questions on a terminal, for the command lines:
// also while standard input is a file, and without showing a password. Each
// question ends with its context.
package tty

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const maxLine = 4096 // bytes that a person may type

// Path is the terminal that a program was started on.
const Path = "/dev/tty"

// errNobody is why a question cannot be asked.
var errNobody = errors.New("there is nobody to ask, for this runs without a terminal")

// Terminal is where a person is asked. Make it with Open.
type Terminal struct{ f *os.File }

// Open opens a terminal by its path. The caller closes it.
func Open(path string) (*Terminal, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT):
		return nil, errNobody
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errNobody, err)
	}
	return &Terminal{f}, nil
}

// Close closes the terminal.
func (t *Terminal) Close() error { return t.f.Close() }

// Ask shows a question and reads a line, until ctx ends.
func (t *Terminal) Ask(ctx context.Context, question string) (string, error) {
	if _, err := io.WriteString(t.f, question); err != nil {
		return "", err
	}
	if err := t.f.SetReadDeadline(time.Time{}); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = t.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var line []byte
	for b := make([]byte, 1); ; { // what follows the line is the next question's
		n, err := t.f.Read(b)
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case n == 0 && errors.Is(err, io.EOF):
			return "", errors.New("the terminal was closed")
		case err != nil:
			return "", err
		case b[0] == '\n':
			return string(bytes.TrimSuffix(line, []byte("\r"))), nil
		case len(line) == maxLine:
			return "", fmt.Errorf("the line is longer than %d bytes", maxLine)
		}
		line = append(line, b[0])
	}
}

// AskSecret is Ask without showing what is typed.
func (t *Terminal) AskSecret(ctx context.Context, question string) (string, error) {
	var line string
	err := t.quietly(func() (err error) {
		line, err = t.Ask(ctx, question)
		return err
	})
	_, _ = io.WriteString(t.f, "\n") // the one typed was not shown
	return line, err
}

// quietly runs f while the terminal does not show what is typed.
func (t *Terminal) quietly(f func() error) (err error) {
	raw, err := t.f.SyscallConn()
	if err != nil {
		return err
	}
	var old *unix.Termios
	set := func(when uint, mode *unix.Termios) error {
		var failed error
		if err := raw.Control(func(fd uintptr) { failed = unix.IoctlSetTermios(int(fd), when, mode) }); err != nil {
			return err
		}
		return failed
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { old, failed = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("this is no terminal: %w", failed)
	}
	hidden := *old
	hidden.Lflag &^= unix.ECHO
	if err := set(unix.TCSETSF, &hidden); err != nil { // forgets what was typed before the question
		return err
	}
	defer func() { err = errors.Join(err, set(unix.TCSETSW, old)) }()
	return f()
}
