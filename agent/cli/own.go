package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/openpf9/openpf9/agent/core"
)

// ErrTold ends a command with exit status 1 when it has said why itself.
var ErrTold = errors.New("something is wrong")

// ErrUsage ends a command with exit status 2 when it has said what is wrong with
// its arguments.
var ErrUsage = errors.New("wrong usage")

// Command is one more command of a program. It takes the place of the one of the
// same name that all programs have.
type Command struct {
	// Usage is what --help has of it: lines that are indented by two spaces, like
	// those of the others. Empty: nothing.
	Usage string
	Run   func(context.Context, *Call) error
}

// Call is one run of a program's own command. Parse comes first.
type Call struct {
	In        io.Reader
	Out, Errs io.Writer
	c         *command
}

func (c *command) call() *Call { return &Call{In: c.in, Out: c.out, Errs: c.errs, c: c} }

// Parse reads the flags that add declares, besides --config and --help, and
// returns the other arguments, of which there may be at most so many. what is how
// help shows them. An error has been explained, and ends the command.
func (c *Call) Parse(most int, what string, add func(*flag.FlagSet)) ([]string, error) {
	err := c.c.flags(most, what, add)
	return c.c.args, err
}

// Usage says what is wrong with the arguments, and returns ErrUsage.
func (c *Call) Usage(format string, args ...any) error {
	fmt.Fprintf(c.Errs, "%s %s: %s; --help has more\n", c.c.program.Name, c.c.name, fmt.Sprintf(format, args...))
	return ErrUsage
}

// ConfigFile is the configuration file that the command was given.
func (c *Call) ConfigFile() string { return c.c.config }

// Load reads what core needs of the configuration.
func (c *Call) Load() (core.Config, error) { return c.c.load() }

// Fetch asks the running daemon for a path of its API.
func (c *Call) Fetch(ctx context.Context, path string, out any) error {
	return c.c.fetch(ctx, path, out)
}

// Post has the running daemon do what a path of its API stands for.
func (c *Call) Post(ctx context.Context, path string) error {
	resp, err := c.c.ask(ctx, http.MethodPost, path)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Table writes rows in columns, clean of what a terminal would obey; the first
// row is the heading.
func (c *Call) Table(rows [][]string) error { return c.c.table(rows) }

// JSON writes v for programs.
func (c *Call) JSON(v any) error { return c.c.json(v) }

// ownUsage is what --help has of a program's own commands.
func (p *Program) ownUsage() string {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(p.Commands)) {
		text += p.Commands[name].Usage
	}
	return text
}
