package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// MaxShort bounds a line in bytes that is no delta.
	MaxShort = 256 << 10
	// MaxElements bounds the upserts and deletes of one delta together, and
	// the parts of any other list in a message.
	MaxElements = 10_000

	maxElement = 512 << 10 // bytes of one element of a delta, larger than any valid resource
)

var errElement = fmt.Errorf("one resource has more than %d bytes", maxElement)

// long reads a line that is too long to be held: a delta resource by resource,
// so that the sender of a large line costs no more memory than what it has to
// say; a message of a later time not at all.
func (r *Reader) long() (Frame, error) {
	src := &longLine{r: r, budget: maxElement}
	dec := json.NewDecoder(src)
	f, err := longFrame(dec, src)
	r.line = src.length
	_, found := errors.AsType[*Violation](err)
	switch {
	case found, err == nil:
		return f, err
	case errors.Is(src.err, ErrLineTooLong):
		return Frame{}, violation(RuleLineSize, "a line has more than %d bytes", r.max)
	case errors.Is(src.err, errElement):
		return Frame{}, violation(RuleResource, "%v", errElement)
	case src.err != nil && !errors.Is(src.err, io.EOF):
		return Frame{}, src.err
	}
	return Frame{}, violation(RuleJSON, "a line does not decode: %v", err)
}

func longFrame(dec *json.Decoder, src *longLine) (Frame, error) {
	if err := opens(dec, '{'); err != nil {
		return Frame{}, err
	}
	key, err := name(dec, messages)
	switch {
	case err != nil:
		return Frame{}, err
	case key == "delta":
	case key != "":
		return Frame{}, violation(RuleLineSize, "a line of more than %d bytes has %q, and only a delta may be as long", MaxShort, key)
	default:
		return Frame{}, src.skip()
	}
	d, err := longDelta(dec, src)
	if err != nil {
		return Frame{}, err
	}
	for dec.More() {
		if key, err = name(dec, messages); err != nil {
			return Frame{}, err
		}
		if key != "" {
			return Frame{}, violation(RuleJSON, "a line has more than one message")
		}
		if err := ignore(dec, src); err != nil {
			return Frame{}, err
		}
	}
	if _, err := dec.Token(); err != nil { // the frame's }
		return Frame{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Frame{}, errors.New("something follows the object")
	}
	return Frame{Delta: d}, nil
}

// longDelta decodes a delta member by member.
func longDelta(dec *json.Decoder, src *longLine) (*Delta, error) {
	if err := opens(dec, '{'); err != nil {
		return nil, err
	}
	var d Delta
	for dec.More() {
		key, err := name(dec, members)
		if err != nil {
			return nil, err
		}
		switch key {
		case "seq":
			err = dec.Decode(&d.Seq)
		case "begin":
			err = dec.Decode(&d.Begin)
		case "end":
			err = dec.Decode(&d.End)
		case "count":
			err = dec.Decode(&d.Count)
		case "upserts":
			d.Upserts, err = elements[Resource](dec, src, len(d.Deletes))
		case "deletes":
			d.Deletes, err = elements[Key](dec, src, len(d.Upserts))
		default:
			err = ignore(dec, src)
		}
		if err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return &d, err
}

// elements decodes a list, each element by itself. others is how many elements
// the delta has already.
func elements[T any](dec *json.Decoder, src *longLine, others int) ([]T, error) {
	switch start, err := dec.Token(); {
	case err != nil:
		return nil, err
	case start == nil:
		return nil, nil
	case start != json.Delim('['):
		return nil, fmt.Errorf("want a list, not %v", start)
	}
	var all []T
	for dec.More() {
		if len(all)+others >= MaxElements {
			return nil, violation(RuleSize, "a delta has more than %d resources and keys", MaxElements)
		}
		var one T
		src.budget = maxElement
		if err := dec.Decode(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	_, err := dec.Token()
	return all, err
}

func opens(dec *json.Decoder, want json.Delim) error {
	got, err := dec.Token()
	if err == nil && got != want {
		err = fmt.Errorf("want %v, not %v", want, got)
	}
	return err
}

// ignore steps over a value.
func ignore(dec *json.Decoder, src *longLine) error {
	var v json.RawMessage
	src.budget = maxElement
	return dec.Decode(&v)
}

// The names of messages, and of the members of a delta.
var (
	messages = []string{"hello", "delta", "status", "event", "pong", "welcome", "ack", "resync", "refresh", "ping", "stop"}
	members  = []string{"seq", "begin", "end", "count", "upserts", "deletes"}
)

// name reads the name of a member and returns which of names it is, in capitals
// or not, as package json has it; "" is none of them.
func name(dec *json.Decoder, names []string) (string, error) {
	token, err := dec.Token()
	text, _ := token.(string)
	for _, n := range names {
		if strings.EqualFold(n, text) {
			return n, err
		}
	}
	return "", err
}

// longLine is the rest of a line, as a reader that ends with it.
type longLine struct {
	r      *Reader
	length int   // of what was read
	budget int   // how much may be read before somebody says how it goes on
	err    error // of the last Read
}

// Read returns a part of the line.
func (l *longLine) Read(p []byte) (int, error) {
	n, err := l.read(p)
	l.err = err
	return n, err
}

func (l *longLine) read(p []byte) (int, error) {
	if errors.Is(l.err, io.EOF) {
		return 0, io.EOF
	}
	if l.length >= l.r.max {
		return 0, ErrLineTooLong
	}
	if l.budget <= 0 {
		return 0, errElement
	}
	if l.r.start == l.r.end {
		if err := l.r.read(); errors.Is(err, io.EOF) {
			return 0, io.ErrUnexpectedEOF // lost with its sender
		} else if err != nil {
			return 0, err
		}
	}
	part := l.r.buf[l.r.start:l.r.end]
	part = part[:min(len(part), len(p), l.budget, l.r.max-l.length)]
	if i := bytes.IndexByte(part, '\n'); i >= 0 {
		l.r.start += i + 1
		l.length += i + 1
		return copy(p, part[:i]), io.EOF
	}
	l.r.start += len(part)
	l.length += len(part)
	l.budget -= len(part)
	return copy(p, part), nil
}

// skip reads the line to its end.
func (l *longLine) skip() error {
	var scratch [4 << 10]byte
	for {
		l.budget = maxElement
		if _, err := l.Read(scratch[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// countElements is how many parts the lists of a message have, about: commas at
// the depth of {"delta":{"upserts":[,]}} or above. A line of nothing but commas
// and brackets would otherwise take a hundred times its size in memory.
func countElements(line []byte) int {
	depth, n := 0, 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			if depth <= 3 {
				n++
			}
		case '"':
			for i++; i < len(line) && line[i] != '"'; i++ {
				if line[i] == '\\' {
					i++
				}
			}
		}
	}
	return n
}
