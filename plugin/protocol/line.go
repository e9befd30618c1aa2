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
	line       int // bytes of the last line
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
func (r *Reader) Line() ([]byte, error) { return r.next(r.max) }

// next returns the next line of at most most bytes that is not blank.
func (r *Reader) next(most int) ([]byte, error) {
	for {
		line, err := r.fill(most)
		if err != nil {
			return nil, err
		}
		r.line = len(line) + 1
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

// fill reads one line of at most most bytes. What it has read of a longer one
// stays in the buffer.
func (r *Reader) fill(most int) ([]byte, error) {
	if r.start == r.end && len(r.buf) > keptBuffer {
		r.buf, r.start, r.end = nil, 0, 0
	}
	for scanned := r.start; ; {
		if i := bytes.IndexByte(r.buf[scanned:r.end], '\n'); i >= 0 {
			line := r.buf[r.start : scanned+i]
			if len(line) >= most {
				return nil, ErrLineTooLong
			}
			r.start = scanned + i + 1
			return line, nil
		}
		if r.end-r.start >= most {
			return nil, ErrLineTooLong
		}
		unread := r.end - r.start
		if err := r.read(); err != nil {
			return nil, err
		}
		scanned = r.start + unread
	}
}

// read reads more into the buffer, which may move.
func (r *Reader) read() error {
	r.makeRoom()
	for {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		switch {
		case n > 0:
			return nil
		case errors.Is(err, io.EOF) && r.end > r.start:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
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
	line, err := r.next(min(r.max, MaxShort))
	switch {
	case errors.Is(err, ErrLineTooLong) && r.max <= MaxShort:
		return Frame{}, violation(RuleLineSize, "a line has more than %d bytes", r.max)
	case errors.Is(err, ErrLineTooLong):
		return r.long()
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
	if countElements(line) > MaxElements+100 {
		return f, violation(RuleSize, "a list in a message has more than %d elements", MaxElements)
	}
	if err := json.Unmarshal(line, &f); err != nil {
		return Frame{}, undecodable(line, err)
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
	if n := w.buf.Len(); n > MaxLine || n > MaxShort && f.Delta == nil {
		return ErrLineTooLong
	}
	_, err := w.dst.Write(w.buf.Bytes())
	return err
}
