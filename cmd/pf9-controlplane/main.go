// Command pf9-controlplane serves the control plane: today one deployment
// unit, with everything in one process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/kindtable"
)

const usage = `pf9-controlplane serves the control plane of openpf9.

usage:
  pf9-controlplane all [--config FILE]     serve everything in one process
  pf9-controlplane du [--config FILE]      serve one deployment unit
  pf9-controlplane token create --name NAME [--level reader|operator|admin] [--ttl 24h]
  pf9-controlplane token list
  pf9-controlplane join-token create [--host ID] [--kind host|gateway] [--uses N] [--ttl 24h]
  pf9-controlplane version

The token commands ask the control plane that runs on this machine. --config
comes before them and names the same file; it is %s if absent.
`

const defaultConfig = "/etc/pf9/controlplane.toml"

func main() {
	err := command(context.Background(), os.Args[1:], os.Stdout, os.Stderr)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "pf9-controlplane:", kindtable.CleanLines(err.Error()))
	if _, ok := errors.AsType[configError](err); ok {
		os.Exit(daemon.ExitConfig)
	}
	os.Exit(1)
}

// command runs what the arguments say.
func command(ctx context.Context, args []string, out, errs io.Writer) error {
	flags := flag.NewFlagSet("pf9-controlplane", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() { fmt.Fprintf(errs, usage, defaultConfig) }
	file := flags.String("config", defaultConfig, "configuration file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return errors.New("what to do is missing")
	}
	name, rest := flags.Arg(0), flags.Args()[1:]
	switch name {
	case "help":
		flags.Usage()
		return nil
	case "version":
		_, err := fmt.Fprintln(out, "pf9-controlplane", daemon.Version())
		return err
	case "all", "du":
		more := flag.NewFlagSet(name, flag.ContinueOnError)
		more.SetOutput(errs)
		more.Usage = flags.Usage
		more.StringVar(file, "config", *file, "configuration file")
		if err := more.Parse(rest); err != nil {
			return err
		}
		if more.NArg() > 0 {
			return fmt.Errorf("%s: unknown argument %q", name, more.Arg(0))
		}
		return serve(ctx, *file)
	case "core":
		return errors.New("the core services are not there yet; \"du\" serves a deployment unit")
	case "token", "join-token":
		cfg, err := load(*file)
		if err != nil {
			return err
		}
		c, err := newClient(&cfg.DU, out)
		if err != nil {
			return err
		}
		if name == "token" {
			return c.tokenCommand(ctx, rest)
		}
		return c.joinTokenCommand(ctx, rest)
	}
	flags.Usage()
	return fmt.Errorf("%q is nothing that this program does", name)
}
