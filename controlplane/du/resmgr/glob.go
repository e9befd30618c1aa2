package resmgr

import "strings"

// A glob is a pattern in which * stands for any text and ? for any byte, cut
// up so that most names are settled by looking for a piece of text.
type glob struct {
	head, tail string   // before the first and behind the last *
	middle     []string // between stars, none empty
	whole      bool     // there is no *
	literal    string   // the longest piece without * and ?
}

// newGlob returns nil if the text has nothing special.
func newGlob(s string) *glob {
	if !strings.ContainsAny(s, "*?") {
		return nil
	}
	g := &glob{}
	for p := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '*' || r == '?' }) {
		if len(p) > len(g.literal) {
			g.literal = p
		}
	}
	parts := strings.Split(s, "*")
	if len(parts) == 1 {
		g.head, g.whole = s, true
		return g
	}
	g.head, g.tail = parts[0], parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		if p != "" {
			g.middle = append(g.middle, p)
		}
	}
	return g
}

func (g *glob) match(s string) bool {
	if g.whole {
		return len(s) == len(g.head) && like(g.head, s)
	}
	if len(s) < len(g.head)+len(g.tail) || !like(g.head, s[:len(g.head)]) || !like(g.tail, s[len(s)-len(g.tail):]) {
		return false
	}
	s = s[len(g.head) : len(s)-len(g.tail)]
	for _, p := range g.middle { // the first place is as good as any later
		i := index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return true
}

// index finds p, which may hold ?, in s.
func index(s, p string) int {
	for i := 0; i+len(p) <= len(s); i++ {
		if (p[0] == s[i] || p[0] == '?') && like(p, s[i:i+len(p)]) {
			return i
		}
	}
	return -1
}

// like compares texts of equal length; ? in p is any byte.
func like(p, s string) bool {
	for i := range len(p) {
		if p[i] != '?' && p[i] != s[i] {
			return false
		}
	}
	return true
}
