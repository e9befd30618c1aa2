// Command pf9ctl shows and steers the hosts of a deployment unit.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/openpf9/openpf9/internal/ctl"
	"github.com/openpf9/openpf9/internal/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := ctl.Main(ctx, daemon.Version(), os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}
