// Package ctl is pf9ctl: commands for people and scripts over the HTTP API of
// a deployment unit. It shows and changes; it keeps nothing but the file that
// names the deployment units.
package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/tty"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/spf13/cobra"
)

// The exit statuses of pf9ctl.
const (
	exitFailed  = 1 // the deployment unit refused, or cannot be reached
	exitUsage   = 2 // the command line is wrong
	exitUnknown = 3 // it was asked for, and nobody knows yet what comes of it
)

// unknownError says that something was asked for whose end is not known.
type unknownError struct{ error }

// usageError is a mistake on the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// app is one run of pf9ctl.
type app struct {
	out, errs io.Writer

	file      string // of contexts
	context   string
	url       string
	tokenFile string
	caFile    string
	output    string
	noHeaders bool
	terminal  string // where people are asked
}

// Main runs a command line and returns the exit status: 0 done, 1 failed or
// refused, 2 wrong usage, 3 asked for with an end that is not known.
func Main(ctx context.Context, version string, args []string, out, errs io.Writer) int {
	a := &app{out: out, errs: errs, terminal: tty.Path}
	root := a.root(version)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 0
	}
	fmt.Fprintln(errs, "pf9ctl:", kindtable.Clean(err.Error()))
	if _, wrong := errors.AsType[usageError](err); wrong {
		return exitUsage
	}
	if _, open := errors.AsType[unknownError](err); open {
		return exitUnknown
	}
	return exitFailed
}

func (a *app) root(version string) *cobra.Command {
	root := group("pf9ctl", "See and steer the hosts of a deployment unit",
		a.hostCommand(), a.getCommand(), a.kindCommand(), a.vmCommand(), a.networkCommand(), a.storageCommand(),
		a.listOf(inventory.KindVCenter, "vcenter", "vCenters that gateways know"), a.listOf(inventory.KindCluster, "cluster", "clusters of vCenters"),
		a.listOf(inventory.KindDatastore, "datastore", "datastores of vCenters"),
		a.gatewayCommand(), a.tokenCommand(), a.certificateCommand(), a.eventCommand(), a.actionCommand(), a.auditCommand(), a.contextCommand())
	root.Version = version
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringVar(&a.file, "config", "", "file of contexts (default ~/.config/pf9/config.toml)")
	f.StringVar(&a.context, "context", "", "the deployment unit, by its context's name")
	f.StringVar(&a.url, "url", "", "the deployment unit's address, instead of the context's")
	f.StringVar(&a.tokenFile, "token-file", "", "file with the API token, instead of the context's")
	f.StringVar(&a.caFile, "ca-file", "", "file with the deployment unit's authority, instead of the context's")
	f.StringVarP(&a.output, "output", "o", "table", "table, wide, json or yaml")
	f.BoolVar(&a.noHeaders, "no-headers", false, "leave out the line of column names")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions( // the flag exists
		[]string{"table", "wide", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch a.output {
		case "table", "wide", "json", "yaml":
			return nil
		}
		return usagef("-o %s: want table, wide, json or yaml", a.output)
	}
	root.AddCommand(&cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, "pf9ctl", version)
			return err
		},
	})
	return root
}

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs}
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return usagef("%q is not a command of %s; see %s --help", args[0], c.CommandPath(), c.CommandPath())
	}
	c.AddCommand(children...)
	return c
}

// exactly demands arguments, which it names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		verb := strings.TrimPrefix(c.CommandPath(), "pf9ctl ") // which Main says
		switch {
		case len(args) < len(names):
			return usagef("%s: %s is missing; see %s --help", verb, names[len(args)], c.CommandPath())
		case len(args) > len(names):
			return usagef("%s: unexpected argument %q; see %s --help", verb, args[len(names)], c.CommandPath())
		}
		return nil
	}
}

// client calls the deployment unit that flags or the context name.
func (a *app) client() (*client.Client, error) {
	d, err := a.deploymentUnit()
	if err != nil {
		return nil, err
	}
	token, err := readToken(d.TokenFile)
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{URL: d.URL, Token: token, CAFile: d.CAFile})
}

// with runs f with a client that it closes.
func (a *app) with(f func(*client.Client) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}
