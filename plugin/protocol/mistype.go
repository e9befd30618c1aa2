package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// undecodable says why a line does not decode: where a value of the wrong type
// stands, what is wanted there, and some of the line around it.
func undecodable(line []byte, err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		place := whereIs(line, wrong.Offset)
		got, _, _ := strings.Cut(wrong.Value, " ") // "number 1.5": the value is quoted
		return violation(RuleJSON, "%s: want %s, not %s, in %s", place, typeName(wrong.Type), typeWord(got), around(line, wrong.Offset))
	}
	if wrong, ok := errors.AsType[*json.SyntaxError](err); ok {
		return violation(RuleJSON, "a line is no JSON: %v, in %s", err, around(line, wrong.Offset))
	}
	return violation(RuleJSON, "a line does not decode: %v", err)
}

// whereIs returns the path of the value that begins or ends at an offset in a
// line, such as delta.upserts[0].id.
func whereIs(line []byte, offset int64) string {
	dec := json.NewDecoder(bytes.NewReader(line))
	path, _ := descend(dec, offset, "")
	if path == "" {
		return "a line"
	}
	return path
}

// descend reads one value and reports whether the one at the offset is in it, and
// that one's path.
func descend(dec *json.Decoder, offset int64, path string) (string, bool) {
	token, err := dec.Token()
	if err != nil || dec.InputOffset() >= offset {
		return path, true
	}
	switch token {
	case json.Delim('{'):
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return path, true
			}
			if at, found := descend(dec, offset, step(path, ".%.80v", name)); found {
				return at, true
			}
		}
	case json.Delim('['):
		for i := 0; dec.More(); i++ {
			if at, found := descend(dec, offset, step(path, "[%d]", i)); found {
				return at, true
			}
		}
	default:
		return path, false
	}
	_, err = dec.Token() // the end of what was opened
	return path, err != nil
}

// step makes a path longer, as far as anything of ours is nested.
func step(path, format string, by any) string {
	if len(path) > 200 {
		return path
	}
	return strings.TrimPrefix(path+fmt.Sprintf(format, by), ".")
}

// typeName is what JSON calls what a Go type is made of.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "object"
	case reflect.Uint64, reflect.Uint:
		return "an integer from 0"
	case reflect.Int64, reflect.Int:
		return "integer"
	}
	return t.String()
}

// typeWord is what JSON calls what package json names in an error.
func typeWord(s string) string {
	if s == "bool" {
		return "boolean"
	}
	return s
}

// around quotes a line at an offset.
func around(line []byte, offset int64) string {
	const before, after = 60, 30
	from, to := max(0, int(offset)-before), min(len(line), int(offset)+after)
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, string(line[min(from, to):to]))
	if from > 0 {
		text = "…" + text
	}
	if to < len(line) {
		text += "…"
	}
	return text
}
