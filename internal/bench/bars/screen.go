package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// The size of a screen, in characters.
const (
	screenRows    = 30
	screenColumns = 100
)

// screen is a terminal at which a person sits: what a program draws on it can be
// read, and keys can be typed. It knows what programs for Linux's console send, as
// far as it is about where text stands.
type screen struct {
	path  string // of the program's end
	keys  *os.File
	ended chan struct{}

	mu sync.Mutex // guards the field below
	at grid
}

// newScreen makes one. The caller closes it.
func newScreen() (*screen, error) {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	s := &screen{keys: f, ended: make(chan struct{})}
	n := 0
	err = s.control(func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
		return errors.Join(err, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: screenRows, Col: screenColumns}))
	})
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	s.path = "/dev/pts/" + strconv.Itoa(n)
	go s.read()
	return s, nil
}

// control does something with the terminal's descriptor, which stays in Go's poller.
func (s *screen) control(f func(fd int) error) error {
	raw, err := s.keys.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	return errors.Join(raw.Control(func(fd uintptr) { failed = f(int(fd)) }), failed)
}

// close takes the terminal away.
func (s *screen) close() {
	_ = s.keys.Close()
	<-s.ended
}

// read draws what programs write, until close. While no program has the terminal
// open there is nothing to read, which is an error.
func (s *screen) read() {
	defer close(s.ended)
	b := make([]byte, 4096)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		n, err := s.keys.Read(b)
		s.mu.Lock()
		s.at.write(b[:n])
		s.mu.Unlock()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			<-again.C
		}
	}
}

// text is what stands on the screen.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at.text()
}

// press types keys.
func (s *screen) press(keys string) error {
	if err := s.keys.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err := s.keys.WriteString(keys)
	return err
}

// clear forgets what stands there, so that what is read then was drawn later.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = grid{}
}

// shows waits until all texts stand on the screen. A text may go on in the next
// line.
func (s *screen) shows(ctx context.Context, limit time.Duration, texts ...string) error {
	return until(ctx, limit, func() error {
		text := s.text()
		flat := strings.Join(strings.Fields(text), " ")
		for _, t := range texts {
			if !strings.Contains(flat, t) {
				return fmt.Errorf("the screen does not show %q but\n%s", t, text)
			}
		}
		return nil
	})
}

// grid is what stands where, and what was read of a sequence that is not whole yet.
type grid struct {
	cells       [screenRows][screenColumns]rune // 0: nothing was drawn
	row, column int
	rest        []byte
}

const maxSequence = 64 // bytes; what is longer is text

func (g *grid) text() string {
	var b strings.Builder
	for _, row := range g.cells {
		line := make([]rune, screenColumns)
		for i, r := range row {
			if line[i] = r; r == 0 {
				line[i] = ' '
			}
		}
		if text := strings.TrimRight(string(line), " "); text != "" {
			b.WriteString(text + "\n")
		}
	}
	return b.String()
}

// write obeys what a program sends.
func (g *grid) write(b []byte) {
	b = append(g.rest, b...)
	for len(b) > 0 {
		n := g.one(b)
		if n == 0 && len(b) < maxSequence {
			break // the rest comes with what is written next
		}
		b = b[max(n, 1):]
	}
	g.rest = append([]byte(nil), b...)
}

// one obeys the first character or sequence and returns its length; 0: it is not
// whole.
func (g *grid) one(b []byte) int {
	switch {
	case b[0] == 0x1b:
		return g.escape(b)
	case b[0] == '\r':
		g.column = 0
	case b[0] == '\n':
		g.row++
	case b[0] == '\b':
		g.column--
	case b[0] >= ' ' && b[0] != 0x7f:
		if !utf8.FullRune(b) {
			return 0
		}
		r, n := utf8.DecodeRune(b)
		if g.row >= 0 && g.row < screenRows && g.column >= 0 && g.column < screenColumns {
			g.cells[g.row][g.column] = r
		}
		g.column++
		return n
	}
	return 1
}

// escape obeys a sequence: ESC [ numbers letter, ESC ( letter, ESC letter.
func (g *grid) escape(b []byte) int {
	switch {
	case len(b) < 2:
		return 0
	case b[1] == '(' || b[1] == ')': // a set of characters
		if len(b) < 3 {
			return 0
		}
		return 3
	case b[1] != '[':
		if b[1] == 'c' { // everything anew
			*g = grid{}
		}
		return 2
	}
	end := 2
	for end < len(b) && (b[end] < '@' || b[end] > '~') {
		end++
	}
	if end == len(b) {
		return 0
	}
	g.obey(b[end], strings.Split(string(b[2:end]), ";"))
	return end + 1
}

// obey moves or erases.
func (g *grid) obey(letter byte, numbers []string) {
	number := func(i, otherwise int) int {
		if i < len(numbers) {
			if n, err := strconv.Atoi(numbers[i]); err == nil {
				return n
			}
		}
		return otherwise
	}
	switch letter {
	case 'H', 'f':
		g.row, g.column = number(0, 1)-1, number(1, 1)-1
	case 'G':
		g.column = number(0, 1) - 1
	case 'd':
		g.row = number(0, 1) - 1
	case 'A':
		g.row -= number(0, 1)
	case 'B':
		g.row += number(0, 1)
	case 'C':
		g.column += number(0, 1)
	case 'D':
		g.column -= number(0, 1)
	case 'J', 'K':
		g.erase(letter == 'J', number(0, 0))
	}
}

// erase takes away what is after the cursor (0), before it (1), or both (2), in
// its line or on the whole screen.
func (g *grid) erase(everywhere bool, what int) {
	here := g.row*screenColumns + g.column
	for r := range g.cells {
		for c := range g.cells[r] {
			at := r*screenColumns + c
			if (everywhere || r == g.row) && (what == 2 || what == 1 && at <= here || what == 0 && at >= here) {
				g.cells[r][c] = 0
			}
		}
	}
}
