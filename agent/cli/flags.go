package cli

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// flags parses the command's flags; more, if not nil, adds its own. It leaves
// the other arguments in c.args, of which there may be at most so many.
func (c *command) flags(most int, what string, more func(*flag.FlagSet)) error {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.config, "config", c.config, "configuration `file`")
	if more != nil {
		more(fs)
	}
	var rest []string
	for args := c.args; ; { // flags may stand behind arguments
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			c.help(fs, what)
			return err
		} else if err != nil {
			fmt.Fprintf(c.errs, "%s %s: %v; --help has more\n", c.program.Name, c.name, err)
			return ErrUsage
		}
		if fs.NArg() == 0 {
			break
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
	if c.args = rest; len(rest) > most {
		fmt.Fprintf(c.errs, "%s %s: unexpected argument %q\n", c.program.Name, c.name, rest[most])
		c.help(fs, what)
		return ErrUsage
	}
	return nil
}

// help writes what the command is for and which flags it takes.
func (c *command) help(fs *flag.FlagSet, what string) {
	fmt.Fprintln(c.errs, strings.TrimSpace(fmt.Sprintf("usage: %s %s [flags] %s", c.program.Name, c.name, what)))
	if about := c.program.about(c.name); about != "" {
		fmt.Fprintf(c.errs, "\n%s\n", about)
	}
	printFlags(c.errs, fs)
}

// printFlags writes the flags as people type them: of more than one letter with
// two dashes.
func printFlags(w io.Writer, fs *flag.FlagSet) {
	var text bytes.Buffer
	defer fs.SetOutput(fs.Output())
	fs.SetOutput(&text)
	fs.PrintDefaults()
	_, _ = w.Write(longFlag.ReplaceAll(text.Bytes(), []byte("  --$1"))) // help for a terminal that is gone
}

var longFlag = regexp.MustCompile(`(?m)^  -([a-z]{2})`)

const aboutColumn = 26 // of the program's usage, where it says what a command does

// about is what the program's usage says of a command, a line for each of its
// lines.
func (p *Program) about(name string) string {
	var lines []string
	for line := range strings.Lines(p.usage()) {
		line = strings.TrimRight(line, "\n")
		begins := strings.HasPrefix(line, "  "+name+" ")
		switch long := len(line) > aboutColumn && line[aboutColumn-1] == ' '; {
		case begins && long, len(lines) > 0 && strings.HasPrefix(line, strings.Repeat(" ", aboutColumn)):
			lines = append(lines, line[aboutColumn:])
		case begins: // its arguments need the whole line
			lines = append(lines, "")
		case len(lines) > 0:
			return strings.TrimSpace(strings.Join(lines, "\n"))
		}
	}
	return ""
}

// Output adds the flag -o with the formats that a command has, of which the first
// is that without it, and, as the other spelling of -o json, --json. It returns
// where the format goes.
func Output(fs *flag.FlagSet, formats ...string) *string {
	format := formats[0]
	last := len(formats) - 1
	want := strings.Join(formats[:last], ", ") + " or " + formats[last]
	fs.Func("o", "`format` of the output: "+want+"; "+format+" without it", func(s string) error {
		if !slices.Contains(formats, s) {
			return fmt.Errorf("want %s", want)
		}
		format = s
		return nil
	})
	fs.BoolFunc("json", "print JSON, as -o json", func(s string) error {
		if s == "true" {
			format = "json"
		}
		return nil
	})
	return &format
}

// output is [Output] of what is shown in tables.
func output(fs *flag.FlagSet) *string { return Output(fs, "table", "wide", "json") }
