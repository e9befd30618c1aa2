// Command pf9-hostagent is the host agent: the daemon, and by subcommand the
// command line on its host.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/openpf9/openpf9/agent"
	"github.com/openpf9/openpf9/internal/daemon"
)

const usage = `usage: pf9-hostagent [command] [flags]

  run                     the daemon; what happens without a command
  enroll --du URL (--token T | --token-file FILE)
                          trade a join token for the host's certificate;
                          "-" reads the token from standard input
  status                  how the agent is
  get KIND [ID]           what is discovered: host, vm, network, storage, or any
                          kind such as net.link or com.acme.lun, or its last part
  watch [KIND]            follow changes
  sources                 the discovery modules and their health
  stats                   what the VMs use now
  resync                  list everything again
  reload                  read the configuration again
  doctor                  look for what may be wrong, with remedies
  config check|show       check or show the configuration
  plugin COMMAND          list, check, try, enable and write plugins; plugin --help has more
  version

Every command takes --help, and --config FILE (%s): the agent's
configuration or, of plugin check, run and attach, the plugin's own.
Exit status: 0 done, 1 failed, 2 wrong usage, 78 bad configuration.
`

// memoryLimit is where the heap is collected more often, however small it is of
// a host with thousands of resources: the unit allows no more than 256 MiB.
const memoryLimit = 160 << 20

// One processor at a time is all that the daemon takes: the others are the
// guests'. What it does waits far more than it computes, and to spread that over
// many processors wakes threads for every answer of libvirt.
const processors = 1

// errUsage is wrong usage, and errFound a fault that was looked for; both have
// been explained.
var (
	errUsage = errors.New("wrong usage")
	errFound = errors.New("something is wrong")
)

// command is what every subcommand gets.
type command struct {
	name   string
	config string // file
	args   []string
	in     io.Reader
	out    io.Writer
	errs   io.Writer
}

var commands = map[string]func(context.Context, *command) error{
	"run": run, "enroll": enrollHost, "status": status, "get": get, "watch": watch, "sources": sources,
	"stats": stats, "resync": act, "reload": act, "doctor": doctor, "config": config, "plugin": pluginCommand,
	"version": func(_ context.Context, c *command) error {
		_, err := fmt.Fprintln(c.out, "pf9-hostagent", daemon.Version())
		return err
	},
}

func main() { os.Exit(main1(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func main1(args []string, in io.Reader, out, errs io.Writer) int {
	name := "run"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		name, args = args[0], args[1:]
	} else if len(args) > 0 && (args[0] == "--help" || args[0] == "-h" || args[0] == "-help") {
		name = "help"
	}
	if name == "help" {
		fmt.Fprintf(out, usage, agent.DefaultConfig)
		return 0
	}
	f, ok := commands[name]
	if !ok {
		fmt.Fprintf(errs, "pf9-hostagent: there is no command %q\n\n", name)
		fmt.Fprintf(errs, usage, agent.DefaultConfig)
		return 2
	}
	c := &command{name: name, config: agent.DefaultConfig, args: args, in: in, out: out, errs: errs}
	ctx := context.Background()
	if name != "run" {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
	}
	err := f(ctx, c)
	_, bad := errors.AsType[*daemon.ConfigError](err)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp), ctx.Err() != nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	case errors.Is(err, errFound):
		return 1
	case bad:
		fmt.Fprintln(errs, "pf9-hostagent:", err)
		return daemon.ExitConfig
	}
	fmt.Fprintln(errs, "pf9-hostagent:", err)
	return 1
}

// flags parses the command's flags; more, if not nil, adds its own. It leaves
// the other arguments in c.args, of which there may be at most so many.
func (c *command) flags(most int, what string, more func(*flag.FlagSet)) error {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(c.errs)
	fs.Usage = func() {
		fmt.Fprintf(c.errs, "usage: pf9-hostagent %s [flags] %s\n", c.name, what)
		fs.PrintDefaults()
	}
	fs.StringVar(&c.config, "config", c.config, "configuration `file`")
	if more != nil {
		more(fs)
	}
	var rest []string
	for args := c.args; ; { // flags may stand behind arguments
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return errUsage
		}
		if fs.NArg() == 0 {
			break
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
	if c.args = rest; len(rest) > most {
		fmt.Fprintf(c.errs, "pf9-hostagent %s: unexpected argument %q\n", c.name, rest[most])
		fs.Usage()
		return errUsage
	}
	return nil
}

func run(ctx context.Context, c *command) error {
	if err := c.flags(0, "", nil); err != nil {
		return err
	}
	debug.SetMemoryLimit(memoryLimit)
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors)
	}
	a, err := agent.New(c.config)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
