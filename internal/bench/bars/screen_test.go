package main

import (
	"os"
	"testing"
	"time"
)

func TestGridObeys(t *testing.T) {
	for name, test := range map[string]struct{ sent, want string }{
		"text":              {"one\r\ntwo", "one\ntwo\n"},
		"places":            {"\x1b[2;3Hhere\x1b[1;1H\x1b[37;40mthere\x1b[m", "there\n  here\n"},
		"written over":      {"abcdef\x1b[1;3HXY", "abXYef\n"},
		"erased to the end": {"abcdef\x1b[1;3H\x1b[K", "ab\n"},
		"erased before":     {"abcdef\x1b[1;3H\x1b[1K", "   def\n"},
		"erased wholly":     {"abc\r\ndef\x1b[2Jx", "   x\n"},
		"moved":             {"ab\x1b[2Dx\x1b[Cy\x1b[1Bz\x1b[Gw", "xby\nw  z\n"},
		"other sequences":   {"\x1b[?25l\x1b(B\x1b)0a\x0e\x1b=\x1b[?1cb", "ab\n"},
		"not ASCII":         {"Zürich ─", "Zürich ─\n"},
		"off the screen":    {"\x1b[99;99Hx\x1b[5Aover the edge\x1b[1;1Hok", "ok\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var whole, bytes grid
			whole.write([]byte(test.sent))
			for i := range len(test.sent) {
				bytes.write([]byte(test.sent[i : i+1]))
			}
			if whole.text() != test.want || bytes.text() != test.want {
				t.Errorf("%q is drawn as\n%s, in pieces as\n%s, want\n%s", test.sent, whole.text(), bytes.text(), test.want)
			}
		})
	}
}

// The terminal stays while programs come and go.
func TestScreenOutlivesItsProgram(t *testing.T) {
	s, err := newScreen()
	if err != nil {
		t.Skip("there are no pseudo terminals:", err)
	}
	defer s.close()
	for _, text := range []string{"first", "second"} {
		f, err := os.OpenFile(s.path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text + "\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := s.shows(t.Context(), 5*time.Second, text); err != nil {
			t.Error(err)
		}
		if err := s.press("q\r"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 8)
		if n, err := f.Read(b); err != nil || string(b[:n]) != "q\n" {
			t.Errorf("the program read %q, %v", b[:n], err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
