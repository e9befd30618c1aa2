package protocol

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds of a declaration.
const (
	MaxKindBytes = 64 << 10 // schema and columns of a kind together
	MaxColumns   = 32
	maxHeading   = 32 // runes
	maxPath      = 128
)

// Validate checks the declaration's form and bounds, not what the schema means.
func (k *Kind) Validate() error {
	switch {
	case !ValidKind(k.Name):
		return fmt.Errorf("kind %.80q: want lower-case letters, digits, \"-\" and \"_\" with at least one dot between them, such as com.acme.lun, at most 64 bytes", k.Name)
	case k.Version < 0:
		return fmt.Errorf("kind %s: version %d: want 1 or more", k.Name, k.Version)
	case len(k.Columns) > MaxColumns:
		return fmt.Errorf("kind %s: more than %d columns", k.Name, MaxColumns)
	case len(k.Schema) > 0 && !isObject(k.Schema):
		return fmt.Errorf("kind %s: the schema is no JSON object", k.Name)
	}
	size := len(k.Schema)
	for _, c := range k.Columns {
		if err := c.validate(); err != nil {
			return fmt.Errorf("kind %s: %w", k.Name, err)
		}
		size += len(c.Name) + len(c.Path)
	}
	if size > MaxKindBytes {
		return fmt.Errorf("kind %s: more than %d KiB", k.Name, MaxKindBytes>>10)
	}
	return nil
}

func (c *Column) validate() error {
	if !heading(c.Name) {
		return fmt.Errorf("column name %.40q: want 1 to %d letters, digits, spaces and %%/()_.-, a letter or digit first", c.Name, maxHeading)
	}
	if len(c.Path) > maxPath || !path(c.Path) {
		return fmt.Errorf("column %s: path %.80q: want names with dots between, at most %d bytes", c.Name, c.Path, maxPath)
	}
	return nil
}

func heading(s string) bool {
	plain := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }
	for i, r := range s {
		if !plain(r) && (i == 0 || !strings.ContainsRune(" %/()_.-", r)) {
			return false
		}
	}
	return s != "" && utf8.RuneCountInString(s) <= maxHeading
}

func path(s string) bool {
	for name := range strings.SplitSeq(s, ".") {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return unicode.Is(unicode.C, r) || r == utf8.RuneError }) {
			return false
		}
	}
	return true
}
