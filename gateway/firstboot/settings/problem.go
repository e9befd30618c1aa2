package settings

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is one mistake in what was typed.
type Problem struct {
	Key    string
	Value  string
	Secret bool   // do not show the value
	Text   string // what is wrong
	Remedy string // what to do
}

// Error names the key, the value, the mistake and the remedy.
func (p Problem) Error() string {
	value := fmt.Sprintf(" %.100q", p.Value)
	switch {
	case p.Value == "":
		value = ""
	case p.Secret:
		value = " (value hidden)"
	}
	return p.Key + value + ": " + p.Text + "; " + p.Remedy
}

// Problems are all mistakes at once. As an error there is at least one.
type Problems []Problem

// Error has a line for each problem.
func (p Problems) Error() string { return strings.Join(p.Lines(), "\n") }

// Lines are the problems' texts.
func (p Problems) Lines() []string {
	out := make([]string, len(p))
	for i := range p {
		out[i] = p[i].Error()
	}
	return out
}

// About says whether there is a problem with the key.
func (p Problems) About(key string) bool {
	return slices.ContainsFunc(p, func(q Problem) bool { return q.Key == key })
}

func problem(text, remedy string) *Problem { return &Problem{Text: text, Remedy: remedy} }

// secret is a problem whose value is not shown.
func secret(text, remedy string) *Problem { return &Problem{Secret: true, Text: text, Remedy: remedy} }

// printable refuses what would be invisible, or end a line of a file.
func printable(v string) *Problem {
	if strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return problem("it has a character that cannot be seen, such as a line's end", "type it on one line, in plain text")
	}
	if len(v) > 1024 {
		return problem("it is longer than 1024 bytes", "shorten it")
	}
	return nil
}
