package tty_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openpf9/openpf9/internal/tty"
)

// open returns a terminal, and the end of it where a person sits.
func open(t *testing.T) (*tty.Terminal, *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there are no pseudo terminals:", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(fd(t, person), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	term, err := tty.Open(slave(t, person))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = term.Close() })
	return term, person
}

// slave is the path of the terminal's own end.
func slave(t *testing.T, person *os.File) string {
	t.Helper()
	n, err := unix.IoctlGetInt(fd(t, person), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("/dev/pts/%d", n)
}

func write(t *testing.T, person *os.File, text string) {
	t.Helper()
	if _, err := person.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// fd is a file's descriptor, which stays in Go's poller.
func fd(t *testing.T, f *os.File) (n int) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// shows says whether the terminal shows what is typed.
func shows(t *testing.T, person *os.File) bool {
	t.Helper()
	mode, err := unix.IoctlGetTermios(fd(t, person), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return mode.Lflag&unix.ECHO != 0
}

// read returns what the terminal shows up to a text.
func read(t *testing.T, person *os.File, text string) string {
	t.Helper()
	if err := person.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var seen []byte
	for b := make([]byte, 64); !strings.Contains(string(seen), text); {
		n, err := person.Read(b)
		if err != nil {
			t.Fatalf("%v; the terminal shows %q", err, seen)
		}
		seen = append(seen, b[:n]...)
	}
	return string(seen)
}

func TestASecretIsNotShown(t *testing.T) {
	term, person := open(t)
	answer := make(chan string, 2)
	go func() {
		secret, err := term.AskSecret(t.Context(), "Password: ")
		answer <- fmt.Sprint(secret, err)
		name, err := term.Ask(t.Context(), "Name: ")
		answer <- fmt.Sprint(name, err)
	}()
	read(t, person, "Password: ")
	if shows(t, person) {
		t.Error("the terminal shows what is typed")
	}
	if _, err := person.WriteString("hush\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "hush<nil>" {
		t.Errorf("AskSecret = %s", got)
	}
	seen := read(t, person, "Name: ")
	if !shows(t, person) {
		t.Error("the terminal does not show again what is typed")
	}
	if _, err := person.WriteString("joe\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "joe<nil>" || strings.Contains(seen+read(t, person, "joe"), "hush") {
		t.Errorf("Ask = %s, after %q", got, seen)
	}
}

func TestAnEndedContextEndsTheQuestion(t *testing.T) {
	term, person := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() {
		_, err := term.AskSecret(ctx, "Password: ")
		answer <- err
	}()
	read(t, person, "Password: ")
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("AskSecret: %v", err)
	}
	if !shows(t, person) {
		t.Error("the terminal does not show again what is typed")
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	term, err := tty.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = term.Close() })
	if _, err := term.AskSecret(t.Context(), "Password: "); err == nil {
		t.Error("a file is asked for a secret")
	}
}
