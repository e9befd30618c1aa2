package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// byHandOptions say what to list and how to print it.
type byHandOptions struct {
	json   bool
	wide   bool
	config string // a file's name
}

// byHand serves who tries the plugin on a terminal: it lists once and prints.
func byHand(ctx context.Context, p *program, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(p.hello.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	var o byHandOptions
	flags.BoolVar(&o.json, "json", false, "print one JSON object a line instead of a table")
	flags.BoolVar(&o.wide, "wide", false, "print also the columns that are declared wide")
	version := flags.Bool("version", false, "print the version and leave")
	showSchema := flags.Bool("schema", false, "print the JSON Schema of the configuration and leave")
	flags.StringVar(&o.config, "config", "", "read the configuration, a JSON object, from `FILE`; - is standard input")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "%s %s is a discovery plugin of openpf9 (%s). The agent starts it with a socket as\n"+
			"standard input; by hand it lists once and prints what the agent would see.\n\n", p.hello.Name, p.hello.Version, p.hello.SDK)
		flags.PrintDefaults()
	}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitError
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "%s: no argument %q is known; see --help\n", p.hello.Name, flags.Arg(0))
		return exitError
	case *version:
		fmt.Fprintf(stdout, "%s %s (%s)\n", p.hello.Name, p.hello.Version, p.hello.SDK)
		return exitOK
	case *showSchema:
		var out bytes.Buffer
		_ = json.Indent(&out, p.hello.ConfigSchema, "", "  ") // it was encoded here
		fmt.Fprintln(stdout, out.String())
		return exitOK
	}
	if err := printList(ctx, p, o, stdin, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.hello.Name, err)
		if p, ok := errors.AsType[*panicked](err); ok {
			fmt.Fprintf(stderr, "%s", p.stack)
			return exitPanic
		}
		if isBadConfig(err) {
			return exitConfig
		}
		return exitError
	}
	return exitOK
}

func printList(ctx context.Context, p *program, o byHandOptions, stdin io.Reader, stdout, stderr io.Writer) error {
	raw, err := readConfig(o.config, stdin)
	if err != nil {
		return err
	}
	var source Source
	err = p.inTime(ctx, "New", func(ctx context.Context) (err error) {
		source, err = p.open(ctx, raw)
		return err
	})
	if err != nil {
		return err
	}
	l := newLedger(p.hello.Kinds)
	l.begin(true)
	began := time.Now()
	if err := p.inTime(ctx, "List", func(ctx context.Context) error { return l.list(ctx, source) }); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	took := time.Since(began)
	rs, _ := l.commit()
	slices.SortFunc(rs, func(a, b protocol.Resource) int {
		if c := strings.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	if o.json {
		enc := json.NewEncoder(stdout)
		enc.SetEscapeHTML(false)
		for _, r := range rs {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	if err := printTables(stdout, p.hello.Kinds, rs, o.wide); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "%d resources, listed in %v\n", len(rs), took.Round(time.Microsecond))
	return nil
}

// inTime gives a call of the author's the time that it has with an agent. If it
// does not return, the program ends without it.
func (p *program) inTime(ctx context.Context, name string, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- safely(func() error { return call(ctx) }) }()
	limit := time.NewTimer(p.timeout + time.Second)
	defer limit.Stop()
	select {
	case err := <-ended:
		return err
	case <-limit.C:
		return fmt.Errorf("%s has not returned for %v: it must, when its context ends", name, p.timeout+time.Second)
	}
}

// readConfig reads a configuration; name "" is none.
func readConfig(name string, stdin io.Reader) (json.RawMessage, error) {
	switch name {
	case "":
		return nil, nil
	case "-":
	default:
		f, err := os.Open(name)
		if err != nil {
			return nil, badConfig{err}
		}
		defer f.Close()
		stdin = f
	}
	b, err := io.ReadAll(io.LimitReader(stdin, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return b, nil
}
