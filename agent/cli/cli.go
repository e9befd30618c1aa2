// Package cli is the command line of a daemon that stands on agent/core: the
// daemon itself, enrolment, and what people on the machine ask a running one.
// It is for the host agent and the gateway; each says in [Program] what is its
// own.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/kindtable"
)

// Program is a daemon with this command line.
type Program struct {
	Name string // "pf9-hostagent"
	Kind string // what it enrols as: pki.KindHost or pki.KindGateway
	// Run is the daemon with this configuration file.
	Run func(ctx context.Context, file string) error
	// Load reads and checks the configuration file: what core needs of it, and
	// the whole, to be shown.
	Load func(file string) (c core.Config, whole any, err error)
	// Check looks for what may be wrong with what only this daemon has; nil: nothing.
	Check func(ctx context.Context, c *Call) []Finding
	// Tells says whether Check tells what is wrong with a source, with all that are in
	// trouble, so that it is said once; nil: it does not.
	Tells func(source string, troubled []string) bool
	// NoStats says that the daemon has no hypervisor on its machine that could say
	// what its VMs use: there is no command stats.
	NoStats bool
	// Commands are those that only this program has, by name.
	Commands map[string]Command
}

const usage = `usage: %[1]s [command] [flags]

  run                     the daemon; what happens without a command
  enroll --du URL (--token T | --token-file FILE)
                          trade a join token for this machine's certificate;
                          "-" reads the token from standard input
  status                  how the agent is
  get KIND [ID|NAME]      what is discovered: host, vm, network, storage, or any
                          kind such as net.link or com.acme.lun, or its last part
  watch [KIND]            follow changes
  sources                 the discovery modules and their health
%[4]s  resync                  list everything again
  reload                  read the configuration again
  doctor                  look for what may be wrong, with remedies
  config check|show       check or show the configuration
  plugin COMMAND          list, check, try, enable and write plugins; plugin --help has more
%[3]s  version

Every command takes --help, and --config FILE (%[2]s): the daemon's
configuration or, of plugin check, run and attach, the plugin's own.
Exit status: 0 done, 1 failed, 2 wrong usage, 78 bad configuration.
`

const statsUsage = `  stats                   what the VMs use now
`

// usage is what --help shows.
func (p *Program) usage() string {
	stats := statsUsage
	if p.NoStats {
		stats = ""
	}
	return fmt.Sprintf(usage, p.Name, core.ConfigFile(p.Name), p.ownUsage(), stats)
}

// command is what every subcommand gets.
type command struct {
	program Program
	name    string
	config  string // file
	args    []string
	in      io.Reader
	out     io.Writer
	errs    io.Writer

	lookLimit time.Duration // for the answer to a question
}

var commands = map[string]func(context.Context, *command) error{
	"run": run, "enroll": enrollment, "status": status, "get": get, "watch": watch, "sources": sources,
	"stats": stats, "resync": act, "reload": act, "doctor": doctor, "config": config, "plugin": pluginCommand,
	"version": func(_ context.Context, c *command) error {
		_, err := fmt.Fprintln(c.out, c.program.Name, daemon.Version())
		return err
	},
}

// Main runs a command line and returns the exit status.
func Main(p Program, args []string, in io.Reader, out, errs io.Writer) int {
	name := "run"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		name, args = args[0], args[1:]
	} else if len(args) > 0 && (args[0] == "--help" || args[0] == "-h" || args[0] == "-help") {
		name = "help"
	}
	if name == "help" {
		fmt.Fprint(out, p.usage())
		return 0
	}
	f, ok := commands[name]
	ok = ok && !(name == "stats" && p.NoStats)
	if own, has := p.Commands[name]; has {
		ok, f = true, func(ctx context.Context, c *command) error {
			return own.Run(ctx, c.call())
		}
	}
	if !ok {
		fmt.Fprintf(errs, "%s: there is no command %q\n\n%s", p.Name, name, p.usage())
		return 2
	}
	c := &command{program: p, name: name, config: core.ConfigFile(p.Name), args: args, in: in, out: out, errs: errs, lookLimit: lookLimit}
	ctx := context.Background()
	if name != "run" {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
	}
	err := f(ctx, c)
	_, bad := errors.AsType[*daemon.ConfigError](err)
	switch {
	case errors.Is(err, ErrUsage):
		return 2
	case errors.Is(err, ErrTold):
		return 1
	case err == nil, errors.Is(err, flag.ErrHelp), ctx.Err() != nil:
		return 0
	case bad:
		fmt.Fprintln(errs, p.Name+":", kindtable.CleanLines(err.Error()))
		return daemon.ExitConfig
	}
	fmt.Fprintln(errs, p.Name+":", kindtable.CleanLines(err.Error())) // a far side may have a part in it
	return 1
}

func run(ctx context.Context, c *command) error {
	if err := c.flags(0, "", nil); err != nil {
		return err
	}
	return c.program.Run(ctx, c.config)
}

// load reads what core needs of the configuration.
func (c *command) load() (core.Config, error) {
	conf, _, err := c.program.Load(c.config)
	return conf, err
}
