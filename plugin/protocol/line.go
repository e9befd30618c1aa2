package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	firstBuffer = 4 << 10   // of a Reader
	keptBuffer  = 256 << 10 // a larger one is given back when its line is done
)

// ErrLineTooLong is the error of a line beyond the limit.
var ErrLineTooLong = errors.New("the line is longer than the protocol allows")

// Reader reads frames. It holds at most one line and what was read with it.
type Reader struct {
	src io.Reader
	max int

	buf        []byte // of which [start:end) is unread
	start, end int
}

// NewReader returns a reader of lines of at most max bytes, newline included;
// 0 means MaxLine.
func NewReader(src io.Reader, maxLine int) *Reader {
	if maxLine <= 0 {
		maxLine = MaxLine
	}
	return &Reader{src: src, max: maxLine}
}

// Line returns the next line that is not blank, without its newline. It is
// valid until the next call. A line that ends without a newline is lost with
// its sender: io.ErrUnexpectedEOF.
func (r *Reader) Line() ([]byte, error) {
	for {
		line, err := r.next()
		if err != nil {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

func (r *Reader) next() ([]byte, error) {
	if r.start == r.end && len(r.buf) > keptBuffer {
		r.buf, r.start, r.end = nil, 0, 0
	}
	for scanned := r.start; ; {
		if i := bytes.IndexByte(r.buf[scanned:r.end], '\n'); i >= 0 {
			line := r.buf[r.start : scanned+i]
			r.start = scanned + i + 1
			if len(line) >= r.max {
				return nil, ErrLineTooLong
			}
			return line, nil
		}
		if r.end-r.start >= r.max {
			return nil, ErrLineTooLong
		}
		r.makeRoom()
		scanned = r.end
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) && r.end > r.start {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// makeRoom sees to it that there is room to read. A buffer grows in few steps,
// for each leaves its predecessor to the collector.
func (r *Reader) makeRoom() {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.end < len(r.buf) {
		return
	}
	if r.start > 0 && r.end-r.start <= len(r.buf)/2 {
		copy(r.buf, r.buf[r.start:r.end])
	} else {
		grown := make([]byte, min(max(4*len(r.buf), firstBuffer), r.max+firstBuffer))
		copy(grown, r.buf[r.start:r.end])
		r.buf = grown
	}
	r.start, r.end = 0, r.end-r.start
}

// Frame reads the next frame, unknown ones included, which are empty. An error
// that is a [*Violation] is the sender's fault.
func (r *Reader) Frame() (Frame, error) {
	line, err := r.Line()
	switch {
	case errors.Is(err, ErrLineTooLong):
		return Frame{}, violation(RuleLineSize, "a line has more than %d bytes", r.max)
	case err != nil:
		return Frame{}, err
	}
	return ParseFrame(line)
}

// ParseFrame decodes one line. It knows nothing of the conversation.
func ParseFrame(line []byte) (Frame, error) {
	var f Frame
	if len(line) > MaxLine {
		return f, violation(RuleLineSize, "a line has more than %d bytes", MaxLine)
	}
	if line = bytes.TrimSpace(line); len(line) == 0 || line[0] != '{' {
		return f, violation(RuleJSON, "a line is no JSON object: %.80q", line)
	}
	if err := json.Unmarshal(line, &f); err != nil {
		return Frame{}, violation(RuleJSON, "a line does not decode: %v", err)
	}
	if n := f.count(); n > 1 {
		return Frame{}, violation(RuleJSON, "a line has %d messages, want one", n)
	}
	return f, nil
}

func (f *Frame) count() int {
	n := 0
	for _, set := range []bool{
		f.Hello != nil, f.Delta != nil, f.Status != nil, f.Event != nil, f.Pong != nil,
		f.Welcome != nil, f.Ack != nil, f.Resync != nil, f.Refresh != nil, f.Ping != nil, f.Stop != nil,
	} {
		if set {
			n++
		}
	}
	return n
}

// Writer writes frames, each with one call of Write. It is for one goroutine.
type Writer struct {
	dst io.Writer
	buf bytes.Buffer
}

// NewWriter returns a writer to dst.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst} }

// Frame writes one frame. A frame that is too long is not written at all.
func (w *Writer) Frame(f Frame) error {
	defer func() {
		w.buf.Reset()
		if w.buf.Cap() > keptBuffer {
			w.buf = bytes.Buffer{}
		}
	}()
	enc := json.NewEncoder(&w.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(f); err != nil {
		return fmt.Errorf("encode a frame: %w", err)
	}
	if w.buf.Len() > MaxLine {
		return ErrLineTooLong
	}
	_, err := w.dst.Write(w.buf.Bytes())
	return err
}
