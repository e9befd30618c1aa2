// Command pf9-hostagent is the host agent: the daemon, and by subcommand the
// command line on its host.
package main

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/openpf9/openpf9/agent"
	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/internal/pki"
)

// memoryLimit is where the heap is collected more often, however small it is of
// a host with thousands of resources: the unit allows no more than 256 MiB.
const memoryLimit = 160 << 20

// One processor at a time is all that the daemon takes: the others are the
// guests'. What it does waits far more than it computes, and to spread that over
// many processors wakes threads for every answer of libvirt.
const processors = 1

func main() {
	os.Exit(cli.Main(cli.Program{
		Name: agent.Program, Kind: pki.KindHost, Run: run,
		Load: func(file string) (core.Config, any, error) {
			c, err := agent.LoadConfig(file)
			return c.Config, c, err
		},
		Check: func(_ context.Context, call *cli.Call) []cli.Finding {
			c, err := agent.LoadConfig(call.ConfigFile())
			if err != nil {
				return nil // doctor has said so
			}
			return []cli.Finding{checkLibvirt(c)}
		},
	}, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, file string) error {
	debug.SetMemoryLimit(memoryLimit)
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors)
	}
	a, err := agent.New(file)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// checkLibvirt looks for libvirt's sockets.
func checkLibvirt(conf agent.Config) cli.Finding {
	sockets := []string{conf.Libvirt.Socket}
	if sockets[0] == "" {
		sockets = []string{"/run/libvirt/virtqemud-sock-ro", "/run/libvirt/libvirt-sock-ro"}
	}
	for _, s := range sockets {
		conn, err := net.DialTimeout("unix", s, 5*time.Second)
		if err == nil {
			_ = conn.Close()
			return cli.Finding{Check: "libvirt", State: "ok", Text: s}
		}
		if errors.Is(err, os.ErrPermission) {
			return cli.Finding{Check: "libvirt", State: "bad", Text: err.Error(), Remedy: "the agent's user needs libvirt's read-only socket: install the package's polkit rule"}
		}
	}
	return cli.Finding{Check: "libvirt", State: "warning", Text: "no socket answers: " + strings.Join(sockets, ", "), Remedy: "no VMs are discovered; install libvirt, or start it: systemctl start libvirtd"}
}
