package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/pluginhost"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/conformance"
	"github.com/openpf9/openpf9/plugin/protocol"
	"github.com/openpf9/openpf9/plugin/schema"
)

// tryOptions are what check, run and attach have in common.
type tryOptions struct {
	json     bool
	wide     bool
	interval time.Duration
	config   json.RawMessage
	known    *flag.FlagSet // ours
}

// misplaced says what to do about a flag of ours among the plugin's arguments,
// if there is one.
func (o *tryOptions) misplaced(args []string) string {
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && name != "" && o.known.Lookup(name) != nil {
			return fmt.Sprintf("%s was given to the plugin: put --%s before the program", arg, name)
		}
	}
	return ""
}

// tryFlags parses flags that stand before the plugin's command, which may have
// flags of its own.
func (c *command) tryFlags(what string, more func(*flag.FlagSet, *tryOptions)) (o tryOptions, err error) {
	file := ""
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(c.errs)
	fs.Usage = func() {
		fmt.Fprintf(c.errs, "usage: %s %s [flags] %s\n", c.program.Name, c.name, what)
		printFlags(c.errs, fs)
	}
	fs.BoolVar(&o.json, "json", false, "print JSON")
	fs.StringVar(&file, "config", "", "read the plugin's configuration, a JSON object, from `FILE`; - is standard input")
	more(fs, &o)
	o.known = fs
	if err := fs.Parse(c.args); errors.Is(err, flag.ErrHelp) {
		return o, err
	} else if err != nil {
		return o, ErrUsage
	}
	if c.args = fs.Args(); len(c.args) == 0 {
		fs.Usage()
		return o, ErrUsage
	}
	if file != "" {
		o.config, err = c.pluginConfig(file)
	}
	return o, err
}

// pluginConfig reads a plugin's configuration, as the plugin itself would.
func (c *command) pluginConfig(file string) (json.RawMessage, error) {
	var text []byte
	var err error
	if file == "-" {
		file = "standard input"
		text, err = io.ReadAll(io.LimitReader(c.in, 1<<20))
	} else {
		text, err = os.ReadFile(file)
	}
	if err == nil {
		err = isObject(text)
	}
	if _, named := errors.AsType[*os.PathError](err); err != nil && !named {
		err = fmt.Errorf("%s: %w", file, err)
	}
	if err != nil {
		fmt.Fprintf(c.errs, "%s %s: the plugin's configuration: %v\n", c.program.Name, c.name, err)
		return nil, ErrUsage
	}
	return text, nil
}

// isObject wants one JSON object, and says where it is none.
func isObject(text []byte) error {
	var object map[string]json.RawMessage
	err := json.Unmarshal(text, &object)
	syntax, wrong := errors.AsType[*json.SyntaxError](err)
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return errors.New("is empty: want a JSON object")
	case wrong:
		before := text[:min(len(text), max(0, int(syntax.Offset)-1))]
		line, column := 1+bytes.Count(before, []byte("\n")), len(before)-bytes.LastIndexByte(before, '\n')
		return fmt.Errorf("line %d, column %d: %w", line, column, err)
	case err != nil || object == nil:
		return fmt.Errorf("want a JSON object, not %.40s", bytes.TrimSpace(text))
	}
	return nil
}

// program makes the path of a plugin's program whole.
func program(args []string) ([]string, error) {
	if !strings.Contains(args[0], "/") {
		return args, nil // looked for in PATH
	}
	path, err := filepath.Abs(args[0])
	return append([]string{path}, args[1:]...), err
}

func pluginRun(ctx context.Context, c *command) error {
	o, err := c.tryFlags("BINARY [ARG...]", intervalFlag)
	if err != nil {
		return err
	}
	if c.args, err = program(c.args); err != nil {
		return err
	}
	link, err := pluginhost.Exec{Command: c.args, Dir: ".", Log: os.Stderr}.Dial(ctx)
	if err != nil {
		fmt.Fprintf(c.errs, "%s %s: %s\n", c.program.Name, c.name, kindtable.CleanLines(conformance.Unstartable(c.args, err)))
		return ErrUsage
	}
	err = c.follow(ctx, link, o)
	how := link.End()
	if errors.Is(err, protocol.ErrLeft) {
		if misplaced := o.misplaced(c.args[1:]); misplaced != "" {
			how = also(how, misplaced)
		}
		return fmt.Errorf("%w (%s)", err, how)
	}
	return err
}

func intervalFlag(fs *flag.FlagSet, o *tryOptions) {
	o.interval = 10 * time.Second
	timeFlag(fs, &o.interval, "interval", "`time` between lists while nothing is hinted: 10s if this is not given")
	fs.BoolVar(&o.wide, "wide", false, "show also the columns that are declared wide")
}

// timeFlag defines a flag for a time, explained without knowledge of Go.
func timeFlag(fs *flag.FlagSet, t *time.Duration, name, usage string) {
	fs.Func(name, usage, func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return errors.New("want a number and its unit, such as 5s, 500ms or 1m")
		}
		*t = d
		return nil
	})
}

func pluginAttach(ctx context.Context, c *command) error {
	o, err := c.tryFlags("SOCKET", intervalFlag)
	if err != nil {
		return err
	}
	path, err := c.one("socket")
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if errors.Is(err, os.ErrNotExist) {
		conn, err = c.accept(ctx, path)
	}
	if err != nil {
		return err
	}
	return c.follow(ctx, conn, o)
}

// accept waits for one connection on a new socket.
func (c *command) accept(ctx context.Context, path string) (net.Conn, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }() // and removes it
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	fmt.Fprintln(c.errs, "waiting for a plugin on", path)
	return l.Accept()
}

// follow talks with a plugin and shows what it says until ctx or it ends.
func (c *command) follow(ctx context.Context, conn protocol.Conn, o tryOptions) error {
	f := &follower{c: c, json: o.json, wide: o.wide, columns: make(map[string][]plugin.Column)}
	s, err := protocol.Open(ctx, conn, protocol.Options{
		Agent: c.program.Name + " " + daemon.Version(), Interval: o.interval,
		Admit: func(h protocol.Hello) (json.RawMessage, error) {
			if len(o.config) == 0 || len(h.ConfigSchema) == 0 {
				return o.config, nil
			}
			wanted, err := schema.Parse(h.ConfigSchema)
			if err != nil {
				return nil, err
			}
			return o.config, wanted.Validate("config", o.config)
		},
		Apply:  f.apply,
		Status: func(st protocol.Status) { f.line("status", st.Level, st.Code, st.Text) },
		Event:  func(e protocol.Event) { f.line("event", e.About.Kind, e.About.ID, e.Type+" "+string(e.Data)) },
	})
	if err != nil {
		return err
	}
	h := s.Hello()
	kinds := make([]string, 0, len(h.Kinds))
	for _, k := range h.Kinds {
		kinds = append(kinds, k.Name)
		f.columns[k.Name] = k.Columns
	}
	sdk := ""
	if h.SDK != "" {
		sdk = " (" + kindtable.Clean(h.SDK) + ")"
	}
	fmt.Fprintf(c.errs, "%s %s%s lists %s\n", h.Name, kindtable.Clean(h.Version), sdk, strings.Join(kinds, ", "))
	return s.Run(ctx)
}

// follower prints what a plugin says.
type follower struct {
	c       *command
	json    bool
	wide    bool
	begun   bool
	columns map[string][]plugin.Column // of each kind, as declared
}

func (f *follower) apply(b protocol.Batch) error {
	if f.json {
		return json.NewEncoder(kindtable.JSON(f.c.out)).Encode(struct {
			Whole   bool                `json:"whole,omitempty"`
			Upserts []protocol.Resource `json:"upserts,omitempty"`
			Deletes []protocol.Key      `json:"deletes,omitempty"`
		}{b.Whole, b.Upserts, b.Deletes})
	}
	if b.Whole && !f.begun {
		f.begun = true
		return f.tables(b.Upserts)
	}
	if b.Whole {
		f.line("all again", fmt.Sprint(len(b.Upserts)), "resources", "")
	}
	for _, r := range b.Upserts {
		f.line(append([]string{r.Kind, r.ID, r.Name}, f.values(r)...)...)
	}
	for _, k := range b.Deletes {
		f.line(k.Kind, k.ID, "", "is gone")
	}
	return nil
}

// tables prints the first list, a table for each kind.
func (f *follower) tables(all []protocol.Resource) error {
	of := make(map[string][]protocol.Resource)
	for _, r := range all {
		of[r.Kind] = append(of[r.Kind], r)
	}
	for i, kind := range slices.Sorted(maps.Keys(of)) {
		if i > 0 {
			fmt.Fprintln(f.c.out)
		}
		if err := f.c.table(f.table(kind, of[kind])); err != nil {
			return err
		}
	}
	fmt.Fprintf(f.c.errs, "%d resources; changes follow\n", len(all))
	return nil
}

func (f *follower) table(kind string, rs []protocol.Resource) [][]string {
	specs := make([]json.RawMessage, 0, len(rs))
	for _, r := range rs {
		specs = append(specs, r.Spec)
	}
	columns := f.shown(kind, specs)
	head := []string{"KIND", "ID", "NAME", "STATE"}
	for _, col := range columns {
		head = append(head, col.Name)
	}
	rows := [][]string{head}
	for _, r := range rs {
		row := append([]string{r.Kind, r.ID, r.Name}, kindtable.Cells(r.Spec, []plugin.Column{{Path: "state"}}, false)...)
		rows = append(rows, append(row, kindtable.Cells(r.Spec, columns, f.wide)...))
	}
	return rows
}

// shown are the columns of a kind's table, the same that the agent would show.
func (f *follower) shown(kind string, specs []json.RawMessage) []plugin.Column {
	columns := kindtable.Columns(kind, f.columns[kind], specs)
	if f.wide {
		return columns
	}
	return slices.DeleteFunc(columns, func(col plugin.Column) bool { return col.Wide })
}

// values are what the columns show of one resource, with their headings.
func (f *follower) values(r protocol.Resource) []string {
	columns := append([]plugin.Column{{Name: "STATE", Path: "state"}}, f.shown(r.Kind, []json.RawMessage{r.Spec})...)
	var values []string
	for i, cell := range kindtable.Cells(r.Spec, columns, f.wide) {
		if cell != "" {
			values = append(values, columns[i].Name+"="+cell)
		}
	}
	return values
}

// line prints one change, when it came.
func (f *follower) line(words ...string) {
	if f.json {
		return
	}
	text := time.Now().Format("15:04:05.000")
	for _, w := range words {
		if w != "" {
			text += " " + kindtable.Clean(w)
		}
	}
	fmt.Fprintln(f.c.out, text)
}
