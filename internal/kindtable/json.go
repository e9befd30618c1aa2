package kindtable

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON returns a writer for JSON on what may be a terminal: of what would steer it
// JSON itself escapes the ASCII alone. Each Write has whole characters, as those of
// a [json.Encoder] have; what is escaped means the same.
func JSON(w io.Writer) io.Writer { return escaper{w} }

type escaper struct{ w io.Writer }

// Write writes the text with its other control characters escaped.
func (e escaper) Write(text []byte) (int, error) {
	steers := func(r rune) bool { return r >= utf8.RuneSelf-1 && !unicode.IsPrint(r) }
	out := text
	if bytes.ContainsFunc(text, steers) {
		out = nil
		for _, r := range string(text) {
			switch high, low := utf16.EncodeRune(r); {
			case !steers(r):
				out = utf8.AppendRune(out, r)
			case high == unicode.ReplacementChar:
				out = fmt.Appendf(out, `\u%04x`, r)
			default:
				out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
			}
		}
	}
	_, err := e.w.Write(out)
	return len(text), err
}
