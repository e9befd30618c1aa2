// Command pf9-gateway is the gateway beside vCenter: the daemon, and by
// subcommand the command line on its appliance.
package main

import (
	"context"
	"errors"
	"os"
	"runtime/debug"

	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/gateway"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/tty"
)

const (
	// memoryLimit is where the heap is collected more often: the unit allows no
	// more than 512 MiB.
	memoryLimit = 384 << 20
	// collectAt is by how many percent the heap may grow between collections. Most
	// of it is a vCenter's inventory, which stays; replies come and go.
	collectAt = 40
)

func main() {
	os.Exit(cli.Main(program(&appliance{terminal: tty.Path}), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func program(a *appliance) cli.Program {
	return cli.Program{
		Name: gateway.Program, Kind: pki.KindGateway, Run: run, Commands: a.commands(), Check: checkVCenters, Tells: tellsOf, NoStats: true,
		Load: func(file string) (core.Config, any, error) {
			c, err := load(file)
			return c.Config, c, err
		},
	}
}

// load reads the configuration of which commands need no more than everybody may
// see.
func load(file string) (gateway.Config, error) {
	c, err := gateway.LoadConfig(file)
	if errors.Is(err, gateway.ErrPairedHidden) {
		err = nil
	}
	return c, err
}

func run(ctx context.Context, file string) error {
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(collectAt)
	g, err := gateway.New(file)
	if err != nil {
		return err
	}
	return g.Run(ctx)
}
