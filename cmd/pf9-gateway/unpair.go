package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/internal/tty"
)

// unpairCommand forgets a vCenter, if the person at the terminal or --yes says so:
// its accounts do not come back.
func (a *appliance) unpairCommand(ctx context.Context, c *cli.Call) error {
	yes := false
	names, err := c.Parse(1, "NAME", func(fs *flag.FlagSet) { fs.BoolVar(&yes, "yes", false, "do not ask") })
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return c.Usage("which vCenter? pf9-gateway vcenters lists them")
	}
	if !yes {
		person := &tty.Asker{Path: a.terminal}
		defer person.Close()
		if err := person.Need("--yes"); err != nil {
			return err
		}
		question := fmt.Sprintf("Forget the vCenter %s and its accounts? They must be given again to pair it.", names[0])
		if yes, err = person.Confirm(ctx, question); err != nil {
			return err
		}
	}
	if !yes {
		_, err := fmt.Fprintf(c.Out, "%s stays as it was.\n", names[0])
		return err
	}
	client, err := a.client(c)
	if err != nil {
		return err
	}
	if err := client.Unpair(ctx, names[0]); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "%s is forgotten, and so are its accounts.\n", names[0])
	return err
}
