package storage

import (
	"fmt"
	"strconv"
	"strings"
)

// section is a part of LVM's text metadata: "name { key = value ... }", where a
// value is a string, an integer or a list of those.
type section struct {
	name     string
	values   map[string]any // string, int64, float64 or []any
	sections []*section
}

func (s *section) text(key string) string {
	v, _ := s.values[key].(string)
	return v
}

// number is 0 for what is absent or below zero.
func (s *section) number(key string) uint64 {
	v, _ := s.values[key].(int64)
	return uint64(max(v, 0))
}

func (s *section) list(key string) []any {
	v, _ := s.values[key].([]any)
	return v
}

// has says that the list under key holds the string.
func (s *section) has(key, member string) bool {
	for _, v := range s.list(key) {
		if v == member {
			return true
		}
	}
	return false
}

// child returns the section of that name, or an empty one.
func (s *section) child(name string) *section {
	for _, c := range s.sections {
		if c.name == name {
			return c
		}
	}
	return &section{name: name}
}

// maxDepth bounds how deep sections and lists nest. LVM itself uses four.
const maxDepth = 16

// parseLVMText parses metadata as LVM writes it to physical volumes and to
// /etc/lvm/backup.
func parseLVMText(text string) (*section, error) {
	p := &lvmParser{rest: text, line: 1}
	root, err := p.section("", 0)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", p.line, err)
	}
	return root, nil
}

type lvmParser struct {
	rest string
	line int
}

// skip passes white space and comments.
func (p *lvmParser) skip() {
	for p.rest != "" {
		switch c := p.rest[0]; {
		case c == '#':
			end := strings.IndexByte(p.rest, '\n')
			if end < 0 {
				end = len(p.rest)
			}
			p.rest = p.rest[end:]
		case c == '\n':
			p.line++
			p.rest = p.rest[1:]
		case c == ' ' || c == '\t' || c == '\r':
			p.rest = p.rest[1:]
		default:
			return
		}
	}
}

// accept passes c if it is next.
func (p *lvmParser) accept(c byte) bool {
	p.skip()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// word passes letters, digits and what else names hold.
func (p *lvmParser) word() string {
	p.skip()
	end := strings.IndexFunc(p.rest, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-/@", r)
	})
	if end < 0 {
		end = len(p.rest)
	}
	w := p.rest[:end]
	p.rest = p.rest[end:]
	return w
}

// section parses what lies between braces, or the whole text at depth 0.
func (p *lvmParser) section(name string, depth int) (*section, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("sections nest deeper than %d", maxDepth)
	}
	s := &section{name: name, values: make(map[string]any)}
	for {
		p.skip()
		if p.rest == "" {
			if depth > 0 {
				return nil, fmt.Errorf("section %q has no end", name)
			}
			return s, nil
		}
		if depth > 0 && p.accept('}') {
			return s, nil
		}
		key := p.word()
		if key == "" {
			return nil, fmt.Errorf("%.20q where a name should be", p.rest)
		}
		switch {
		case p.accept('{'):
			c, err := p.section(key, depth+1)
			if err != nil {
				return nil, err
			}
			s.sections = append(s.sections, c)
		case p.accept('='):
			v, err := p.value(depth)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			s.values[key] = v
		default:
			return nil, fmt.Errorf("%q is neither a section nor a value", key)
		}
	}
}

func (p *lvmParser) value(depth int) (any, error) {
	switch {
	case p.accept('"'):
		return p.quoted()
	case p.accept('['):
		return p.array(depth + 1)
	}
	w := p.word()
	if n, err := strconv.ParseInt(w, 10, 64); err == nil {
		return n, nil
	}
	if f, err := strconv.ParseFloat(w, 64); err == nil {
		return f, nil
	}
	return nil, fmt.Errorf("%.20q is no value", w+p.rest)
}

// quoted parses the rest of a string, in which a backslash keeps the next byte
// from its meaning.
func (p *lvmParser) quoted() (string, error) {
	var b strings.Builder
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("string %.20q has no end", p.rest)
}

func (p *lvmParser) array(depth int) ([]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("lists nest deeper than %d", maxDepth)
	}
	all := []any{}
	for !p.accept(']') {
		if len(all) > 0 && !p.accept(',') {
			return nil, fmt.Errorf("list goes on with %.20q", p.rest)
		}
		if p.accept(']') {
			break
		}
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}
