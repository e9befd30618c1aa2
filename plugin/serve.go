package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
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
	// Config holds the defaults. C is a struct; its json tags name the keys,
	// and the tags help:"what it is" and enum:"a,b" explain them. A key that C
	// does not have is an error.
	Config C
	// New makes the source from the configuration. ctx ends with the plugin.
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
	os.Exit(main(p.program()))
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

// badConfig is what is wrong with a configuration.
type badConfig struct{ error }

func (b badConfig) Unwrap() error { return b.error }

func isBadConfig(err error) bool {
	_, bad := errors.AsType[badConfig](err)
	return bad
}

func (p Plugin[C]) program() *program {
	if t := reflect.TypeFor[C](); t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("plugin %s: Config is a %v, want a struct", p.Name, t))
	}
	g := &program{
		hello:   protocol.Hello{Name: p.Name, Version: p.Version, SDK: sdkName},
		config:  schema.OfConfig(p.Config),
		timeout: p.Timeout,
	}
	for n := protocol.Oldest; n <= protocol.Version; n++ {
		g.hello.Protocols = append(g.hello.Protocols, n)
	}
	if g.timeout <= 0 {
		g.timeout = 30 * time.Second
	}
	for _, k := range p.Kinds {
		kind := protocol.Kind{Name: k.Name, Version: k.Version, Schema: k.Schema, Columns: k.Columns}
		if kind.Schema == nil && k.Spec != nil {
			kind.Schema = encoded(schema.Of(k.Spec))
		}
		g.hello.Kinds = append(g.hello.Kinds, kind)
	}
	g.hello.ConfigSchema = encoded(g.config)
	if err := g.hello.Validate(); err != nil {
		panic(err.Error()) // a mistake in main
	}
	if n := len(encoded(g.hello)); n > protocol.MaxShort-1024 {
		panic(fmt.Sprintf("plugin %s: the schemas of its kinds and configuration have %d bytes, more than a hello may have", p.Name, n))
	}
	g.open = func(ctx context.Context, raw json.RawMessage) (Source, error) {
		config := p.Config
		if len(raw) > 0 {
			if err := g.config.Validate("config", raw); err != nil {
				return nil, badConfig{err}
			}
			dec := json.NewDecoder(bytes.NewReader(raw))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&config); err != nil {
				return nil, badConfig{fmt.Errorf("config: %w", err)}
			}
		}
		return p.New(ctx, config)
	}
	return g
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
