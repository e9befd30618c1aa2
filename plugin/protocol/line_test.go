package protocol

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReaderSplitsLinesHoweverTheyArrive(t *testing.T) {
	long := `{"x":"` + strings.Repeat("a", 3*firstBuffer) + `"}`
	text := "{\"a\":1}\n\n \r\n{\"b\":2}\r\n" + long + "\n{\"c\":3}\n"
	for name, src := range map[string]io.Reader{
		"at once":      strings.NewReader(text),
		"byte by byte": iotest.OneByteReader(strings.NewReader(text)),
		"with its end": iotest.DataErrReader(strings.NewReader(text)),
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(src, 0)
			for _, want := range []string{`{"a":1}`, `{"b":2}`, long, `{"c":3}`} {
				line, err := r.Line()
				if err != nil || string(line) != want {
					t.Fatalf("Line = %.40q, %v, want %.40q", line, err, want)
				}
			}
			if _, err := r.Line(); !errors.Is(err, io.EOF) {
				t.Errorf("after the last line: %v, want io.EOF", err)
			}
		})
	}
}

func TestReaderRefusesLongLinesBeforeItParses(t *testing.T) {
	const limit = 100
	for _, n := range []int{limit - 1, limit, limit + 1, 100 * limit} {
		line := strings.Repeat("x", n-1) + "\n"
		_, err := NewReader(strings.NewReader(line), limit).Line()
		if tooLong := errors.Is(err, ErrLineTooLong); tooLong != (n > limit) {
			t.Errorf("a line of %d bytes with a limit of %d: %v", n, limit, err)
		}
	}
	endless := &endless{}
	if _, err := NewReader(endless, 0).Line(); !errors.Is(err, ErrLineTooLong) {
		t.Errorf("a line without an end: %v, want %v", err, ErrLineTooLong)
	}
	if endless.read > MaxLine+firstBuffer {
		t.Errorf("%d bytes were read of a line without an end, want at most %d", endless.read, MaxLine+firstBuffer)
	}
}

func TestReaderLosesHalfALineWithItsSender(t *testing.T) {
	if _, err := NewReader(strings.NewReader(`{"ping":`), 0).Line(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a line: %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestReaderGivesLargeBuffersBack(t *testing.T) {
	r := NewReader(strings.NewReader(strings.Repeat("x", 1<<20)+"\n{}\n"), 0)
	for range 2 {
		if _, err := r.Line(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Line(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if len(r.buf) > keptBuffer {
		t.Errorf("the buffer still has %d bytes", len(r.buf))
	}
}

func TestParseFrame(t *testing.T) {
	tests := []struct {
		name, line string
		want       Rule // "": it parses
	}{
		{"known", `{"ping":{"nonce":7}}`, ""},
		{"of a later time", `{"future":{"a":[1]}}`, ""},
		{"with a later key", `{"ping":{"nonce":7,"later":true},"trace":"x"}`, ""},
		{"two messages", `{"ping":{"nonce":7},"ack":{"seq":1}}`, RuleJSON},
		{"no object", `[1]`, RuleJSON},
		{"nothing", ``, RuleJSON},
		{"broken", `{"ping":`, RuleJSON},
		{"two objects", `{"ping":{"nonce":1}}{"ping":{"nonce":2}}`, RuleJSON},
		{"wrong type", `{"ack":{"seq":"1"}}`, RuleJSON},
		{"negative", `{"ack":{"seq":-1}}`, RuleJSON},
		{"too deep", `{"status":` + strings.Repeat(`[`, 20_000) + `}`, RuleJSON},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseFrame([]byte(test.line))
			if got := ruleOf(err); got != test.want {
				t.Errorf("ParseFrame: %v, want rule %q", err, test.want)
			}
		})
	}
}

func TestWriterWritesOneLineAtOnceOrNothing(t *testing.T) {
	var out writes
	w := NewWriter(&out)
	if err := w.Frame(Frame{Stop: &Stop{Reason: "<a & b>\n"}}); err != nil {
		t.Fatal(err)
	}
	if want := "{\"stop\":{\"reason\":\"<a & b>\\n\"}}\n"; len(out) != 1 || out[0] != want {
		t.Errorf("wrote %q, want one %q", []string(out), want)
	}
	if err := w.Frame(Frame{Stop: &Stop{Reason: strings.Repeat("x", MaxLine)}}); !errors.Is(err, ErrLineTooLong) {
		t.Errorf("a frame beyond the limit: %v, want %v", err, ErrLineTooLong)
	}
	if len(out) != 1 {
		t.Error("a part of a frame beyond the limit was written")
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, seed := range []string{
		`{"hello":{"protocols":[1],"name":"a","version":"1","kinds":[{"name":"a.b"}]}}`,
		`{"delta":{"seq":1,"begin":true,"end":true,"count":1,"upserts":[{"kind":"a.b","id":"1","spec":{}}]}}`,
		`{"welcome":{"protocol":1,"config":{}}}`, `{"ping":{"nonce":1}}`, `{}`, `[`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		frame, err := ParseFrame(line)
		if err != nil {
			if ruleOf(err) == "" {
				t.Fatalf("the error is no violation: %v", err)
			}
			return
		}
		var out bytes.Buffer
		if err := NewWriter(&out).Frame(frame); err != nil {
			t.Fatalf("what was parsed does not encode: %v", err)
		}
		again, err := ParseFrame(out.Bytes())
		if err != nil {
			t.Fatalf("what was encoded does not parse: %v: %s", err, out.Bytes())
		}
		if again.count() != frame.count() {
			t.Fatalf("%q became %q", line, out.Bytes())
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("{}\n{}\n"), 3)
	f.Add([]byte("\n\n  x"), 1)
	f.Fuzz(func(t *testing.T, text []byte, limit int) {
		limit = 1 + max(limit, -limit)&0xff
		r := NewReader(iotest.HalfReader(bytes.NewReader(text)), limit)
		var got []string
		for {
			line, err := r.Line()
			if err != nil {
				break
			}
			if len(line) >= limit {
				t.Fatalf("a line of %d bytes passed a limit of %d", len(line), limit)
			}
			got = append(got, string(line))
		}
		var want []string
		for line := range bytes.Lines(text) {
			if line[len(line)-1] != '\n' || len(line) > limit {
				break
			}
			if line = bytes.TrimSpace(line); len(line) > 0 {
				want = append(want, string(line))
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("of %q with limit %d: %q, want %q", text, limit, got, want)
		}
	})
}

func ruleOf(err error) Rule {
	v, ok := errors.AsType[*Violation](err)
	if !ok {
		return ""
	}
	return v.Rule
}

// endless is a line without an end.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	e.read += len(b)
	return len(b), nil
}

// writes keeps each call of Write.
type writes []string

func (w *writes) Write(b []byte) (int, error) {
	*w = append(*w, string(b))
	return len(b), nil
}
