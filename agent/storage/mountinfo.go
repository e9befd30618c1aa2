package storage

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// mount is a line of /proc/<pid>/mountinfo; see proc(5).
type mount struct {
	ID, Parent   int
	Major, Minor uint32
	Root         string // of the mount within its file system
	Point        string // where it is mounted
	Type         string
	Source       string
	Options      string // of this mount
	SuperOptions string // of the file system
}

// dev is the device number in the form that /sys and udev use.
func (m mount) dev() string { return fmt.Sprintf("%d:%d", m.Major, m.Minor) }

// parseMountinfo parses a whole mountinfo file.
func parseMountinfo(b []byte) ([]mount, error) {
	var all []mount
	for line := range bytes.Lines(b) {
		text := strings.TrimSuffix(string(line), "\n")
		if text == "" {
			continue
		}
		m, err := parseMount(text)
		if err != nil {
			return nil, fmt.Errorf("mountinfo line %d: %w", len(all)+1, err)
		}
		all = append(all, m)
	}
	return all, nil
}

func parseMount(line string) (mount, error) {
	var m mount
	left, right, ok := strings.Cut(line, " - ")
	l, r := strings.Split(left, " "), strings.Split(right, " ")
	if !ok || len(l) < 6 || len(r) < 3 {
		return m, fmt.Errorf("%.80q has too few fields", line)
	}
	major, minor, _ := strings.Cut(l[2], ":")
	for _, f := range []struct {
		to   *int
		text string
	}{{&m.ID, l[0]}, {&m.Parent, l[1]}} {
		n, err := strconv.Atoi(f.text)
		if err != nil {
			return m, fmt.Errorf("mount id: %w", err)
		}
		*f.to = n
	}
	for _, f := range []struct {
		to   *uint32
		text string
	}{{&m.Major, major}, {&m.Minor, minor}} {
		n, err := strconv.ParseUint(f.text, 10, 32)
		if err != nil {
			return m, fmt.Errorf("device number: %w", err)
		}
		*f.to = uint32(n)
	}
	m.Root, m.Point, m.Options = unescape(l[3]), unescape(l[4]), l[5]
	m.Type, m.Source, m.SuperOptions = unescape(r[0]), unescape(r[1]), r[2]
	return m, nil
}

// unescape turns the kernel's \040 and the like back into bytes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// option says whether a comma-separated list of options has name.
func option(options, name string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == name {
			return true
		}
	}
	return false
}

// within says that path p is dir or below it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// mountTree answers which mounts their path still leads to.
type mountTree struct {
	byID     map[int]mount
	children map[int][]mount // by parent's id
}

func newMountTree(all []mount) mountTree {
	t := mountTree{byID: make(map[int]mount, len(all)), children: make(map[int][]mount)}
	for _, m := range all {
		t.byID[m.ID] = m
		if m.Parent != m.ID {
			t.children[m.Parent] = append(t.children[m.Parent], m)
		}
	}
	return t
}

// hides says that m's path no longer leads to it, because something was mounted
// over it or over a folder above it. Asking for the capacity at such a path
// would answer for another file system.
func (t mountTree) hides(m mount) bool {
	// A child on the mount's own root covers it; so does, all the way up, any
	// other mount on the path that goes on to the next.
	at, next := m, m.Point
	for range len(t.byID) {
		for _, c := range t.children[at.ID] {
			if within(next, c.Point) && !t.above(c, m) {
				return true
			}
		}
		parent, ok := t.byID[at.Parent]
		if !ok || parent.ID == at.ID {
			return false
		}
		next, at = at.Point, parent
	}
	return false
}

// above says that c is m or one of its parents. The walk is bounded because a
// broken file could hold a ring.
func (t mountTree) above(c, m mount) bool {
	for range len(t.byID) {
		if m.ID == c.ID {
			return true
		}
		p, ok := t.byID[m.Parent]
		if !ok || p.ID == m.ID {
			return false
		}
		m = p
	}
	return false
}
