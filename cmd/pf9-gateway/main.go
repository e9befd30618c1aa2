// Command pf9-gateway is the gateway beside vCenter: the daemon, and by
// subcommand the command line on its appliance.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/gateway"
	"github.com/openpf9/openpf9/internal/pki"
)

// memoryLimit is where the heap is collected more often: the unit allows no more
// than 512 MiB.
const memoryLimit = 384 << 20

func main() {
	os.Exit(cli.Main(cli.Program{
		Name: gateway.Program, Kind: pki.KindGateway, Run: run,
		Load: func(file string) (core.Config, any, error) {
			c, err := gateway.LoadConfig(file)
			return c.Config, c, err
		},
	}, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, file string) error {
	debug.SetMemoryLimit(memoryLimit)
	g, err := gateway.New(file)
	if err != nil {
		return err
	}
	return g.Run(ctx)
}
