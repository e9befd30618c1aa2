package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
	"github.com/openpf9/openpf9/plugin/schema"
)

// Plugin is a source in an executable of its own: what main gives to [Serve].
type Plugin[C any] struct {
	// Name is the plugin's: lower-case letters, digits, "-" and ".".
	Name    string
	Version string
	// Kinds are all kinds that the source lists.
	Kinds []Kind
	// Config holds the defaults. C is a struct; its json tags name the keys, and
	// the tags help:"what it is", enum:"a,b", min:"1" and max:"9" explain and
	// bound them. A key that C does not have is an error.
	Config C
	// New makes the source from the configuration. ctx ends with the plugin. It
	// returns [BadConfig] for a value that makes no sense, any other error if
	// the plugin cannot start for another reason.
	New func(ctx context.Context, config C) (Source, error)
	// Timeout bounds one list; 0 means 30 s.
	Timeout time.Duration
}

// Historian is a Source that also tells what happened.
type Historian interface {
	// Events blocks until ctx ends, and calls tell for each entry of history.
	// tell waits while the agent does not take entries in.
	Events(ctx context.Context, tell func(Event)) error
}

// Event is an entry of history: a VM crashed, a disk was replaced.
type Event struct {
	About Key
	Type  string    // a word, at most 64 bytes
	At    time.Time // zero: now
	Data  any       // encoded as JSON, at most 16 KiB; nil: none
}

// Serve is the whole main function of a plugin; it does not return. With a
// socket on file descriptor 0 it speaks with the agent at the other end and
// leaves when that does. Otherwise somebody tries the plugin by hand: it lists
// once and prints a table. --help tells the flags.
func Serve[C any](p Plugin[C]) {
	g, err := p.program()
	if err != nil {
		fmt.Fprintf(os.Stderr, "plugin %s: a mistake in what is given to plugin.Serve: %v\n", p.Name, err)
		os.Exit(exitError)
	}
	os.Exit(main(g))
}

// program is a Plugin without its type parameter.
type program struct {
	hello   protocol.Hello
	config  *schema.Schema
	timeout time.Duration
	// open decodes the configuration and makes the source.
	open func(ctx context.Context, config json.RawMessage) (Source, error)
}

// The exit codes of a plugin.
const (
	exitOK     = 0
	exitError  = 1
	exitPanic  = 2
	exitConfig = 78 // EX_CONFIG of sysexits.h
)

const sdkName = "openpf9-go 1"

// program puts together what the agent is told and what it starts. Its error is
// a mistake of the author's.
func (p Plugin[C]) program() (g *program, err error) {
	err = safely(func() error { g, err = p.assemble(); return err })
	if made, ok := errors.AsType[*panicked](err); ok {
		err = fmt.Errorf("%v", made.value) // of a tag
	}
	return g, err
}

func (p Plugin[C]) assemble() (*program, error) {
	if t := reflect.TypeFor[C](); t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("the field Config is a %v, want a struct", t)
	}
	if p.New == nil {
		return nil, errors.New("the field New is nil, want a function that makes the source")
	}
	g := &program{
		hello:   protocol.Hello{Name: p.Name, Version: p.Version, SDK: sdkName},
		config:  schema.OfConfig(p.Config),
		timeout: p.Timeout,
	}
	if err := g.config.Validate("Config", g.config.Defaults()); err != nil {
		return nil, fmt.Errorf("the defaults do not fit the tags: %w", err)
	}
	for n := protocol.Oldest; n <= protocol.Version; n++ {
		g.hello.Protocols = append(g.hello.Protocols, n)
	}
	if g.timeout <= 0 {
		g.timeout = 30 * time.Second
	}
	for _, k := range p.Kinds {
		if k.Schema == nil && k.Spec != nil {
			k.Schema = encoded(schema.Of(k.Spec))
		}
		if err := k.Validate(); err != nil {
			return nil, err
		}
		g.hello.Kinds = append(g.hello.Kinds, protocol.Kind{Name: k.Name, Version: k.Version, Schema: k.Schema, Columns: k.Columns})
	}
	g.hello.ConfigSchema = encoded(g.config)
	if err := g.hello.Validate(); err != nil {
		v, _ := errors.AsType[*protocol.Violation](err)
		return nil, errors.New(strings.ReplaceAll(v.Text, "hello.", ""))
	}
	if n := len(encoded(g.hello)); n > protocol.MaxShort-1024 {
		return nil, fmt.Errorf("the schemas of its kinds and configuration have %d bytes, more than the %d of a hello", n, protocol.MaxShort-1024)
	}
	g.open = func(ctx context.Context, raw json.RawMessage) (Source, error) {
		config := p.Config
		if err := decodeConfig(g.config, raw, &config); err != nil {
			return nil, err
		}
		return p.New(ctx, config)
	}
	return g, nil
}

// encoded is the JSON of our own plain structs, which always encode.
func encoded(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func main(p *program) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if len(os.Args) > 1 || !isSocket(0) {
		return byHand(ctx, p, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	}
	if err := syscall.SetNonblock(0, true); err != nil { // so that reading it does not hold a thread
		fmt.Fprintln(os.Stderr, p.hello.Name+": prepare the agent's socket:", err)
		return exitError
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	slog.SetDefault(log) // also for the author
	beThrifty()
	return talk(ctx, p, os.NewFile(0, "agent"), log)
}

func isSocket(fd int) bool {
	var st syscall.Stat_t
	return syscall.Fstat(fd, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFSOCK
}
