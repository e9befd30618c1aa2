package ctl

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/spf13/cobra"
)

// powerCommands start and stop VMs.
func (a *app) powerCommands() []*cobra.Command {
	power := func(verb, short, gentle, gentleWords, force, forceWords, forceHelp string) *cobra.Command {
		var forced bool
		c := &cobra.Command{Use: verb + " VM", Short: short, Args: exactly("VM")}
		f := a.actFlags(c)
		if force != "" {
			c.Flags().BoolVar(&forced, "force", false, forceHelp)
		}
		c.RunE = func(cmd *cobra.Command, args []string) error {
			action, words := gentle, gentleWords
			if forced {
				action, words = force, forceWords
			}
			return a.act(cmd, f, args[0], words, api.ActionRequest{Action: action})
		}
		return c
	}
	return []*cobra.Command{
		power("start", "Power a VM on, or wake it up", wire.ActionPowerOn, "started", "", "", ""),
		power("stop", "Shut a VM's guest down", wire.ActionShutdown, "stopped", wire.ActionPowerOff, "powered off", "power it off, as if the cable were pulled"),
		power("restart", "Have a VM's guest reboot", wire.ActionReboot, "the guest was asked to reboot", wire.ActionReset, "reset", "reset it, as if the button were pressed"),
		power("suspend", "Suspend a VM to disk", wire.ActionSuspend, "suspended", "", "", ""),
	}
}

// consoleCommand prints the way to a VM's screen.
func (a *app) consoleCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "console VM", Short: "Get a ticket for a VM's screen", Args: exactly("VM"),
		Long: "Print an address for a WebMKS viewer that opens the VM's screen, once.\nIt is a secret, and leads to the VM's hypervisor, which the viewer must be able to reach.",
	}
	f := &acting{}
	a.vmFlags(c, &f.which)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.with(func(c *client.Client) error {
			vm, err := a.target(cmd.Context(), c, args[0], f.which)
			if err != nil {
				return err
			}
			act, err := a.begin(cmd.Context(), c, vm, api.ActionRequest{Action: wire.ActionConsole, Target: vm.Key})
			if err == nil {
				act, err = a.await(cmd.Context(), c, vm, act)
			}
			switch {
			case err != nil:
				return err
			case act.State == wire.ActionSucceeded && (act.Result == nil || act.Result.Console == nil):
				return fmt.Errorf("%s: the ticket was lost on the way; ask again", vm.Name)
			case act.State != wire.ActionSucceeded || a.machine():
				return a.report(vm, "", act)
			}
			t := act.Result.Console
			text := "Good once, until " + t.Expires.Local().Format(time.TimeOnly) + "."
			if t.Fingerprint != "" {
				text += fmt.Sprintf(" %s of the certificate there: %s", digest(t.Fingerprint), t.Fingerprint)
			}
			fmt.Fprintln(a.errs, kindtable.Clean(text))
			_, err = fmt.Fprintln(a.out, kindtable.Clean(t.URL))
			return err
		})
	}
	return c
}

// digest names what a fingerprint was made with, which its number of
// hexadecimal digits tells.
func digest(fingerprint string) string {
	switch len(strings.ReplaceAll(fingerprint, ":", "")) {
	case 40:
		return "SHA-1"
	case 64:
		return "SHA-256"
	}
	return "Fingerprint"
}

// A snapshot is one as a gateway describes it in a VM's spec.
type snapshot struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Parent      string    `json:"parent"`
	Created     time.Time `json:"created"`
	State       string    `json:"state"`
	Current     bool      `json:"current"`
}

func snapshots(vm api.Resource) []snapshot {
	return spec[struct {
		Snapshots []snapshot `json:"snapshots"`
	}](vm).Snapshots
}

func (a *app) snapshotCommand() *cobra.Command {
	var in which
	list := &cobra.Command{Use: "list VM", Short: "List the snapshots of a VM", Args: exactly("VM"), RunE: func(cmd *cobra.Command, args []string) error {
		return a.with(func(c *client.Client) error {
			vm, err := findVM(cmd.Context(), c, args[0], in)
			if err != nil {
				return err
			}
			all := snapshots(vm)
			if all == nil {
				all = []snapshot{}
			}
			t, now := table{head: []string{"ID", "NAME", "AGE", "CURRENT", "VM WAS", "PARENT", "DESCRIPTION"}, wide: 5}, time.Now()
			for _, s := range all {
				t.add(s.ID, s.Name, age(s.Created, now), strconv.FormatBool(s.Current), s.State, s.Parent, s.Description)
			}
			if err := a.print(all, t); err != nil {
				return err
			}
			a.tell(staleWhys([]api.Resource{vm}))
			return nil
		})
	}}
	a.vmFlags(list, &in)
	return group("snapshot", "Snapshots of VMs", list, a.snapshotCreate(), a.snapshotRemove(), a.snapshotRevert())
}

func (a *app) snapshotCreate() *cobra.Command {
	var x wire.ActionArguments
	c := &cobra.Command{Use: "create VM NAME", Short: "Make a snapshot of a VM", Args: exactly("VM", "NAME")}
	f := a.actFlags(c)
	c.Flags().StringVar(&x.Description, "description", "", "what it is for")
	c.Flags().BoolVar(&x.Memory, "memory", false, "hold the running VM's memory, too")
	c.Flags().BoolVar(&x.Quiesce, "quiesce", false, "have the guest write out what it holds before")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if x.Memory && x.Quiesce {
			return usagef("--memory and --quiesce exclude one another")
		}
		x.Name = args[1]
		return a.act(cmd, f, args[0], "snapshot "+args[1]+" made", api.ActionRequest{Action: wire.ActionSnapshotCreate, Arguments: x})
	}
	return c
}

func (a *app) snapshotRemove() *cobra.Command {
	var children bool
	c := &cobra.Command{
		Use: "remove VM SNAPSHOT", Short: "Remove a snapshot of a VM, by id or name", Args: exactly("VM", "SNAPSHOT"), ValidArgsFunction: a.completeSnapshot,
		Long: "Remove a snapshot of a VM, by id or name. What was changed since stays.",
	}
	f := a.actFlags(c)
	c.Flags().BoolVar(&children, "children", false, "remove the snapshots below it, too")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.act(cmd, f, args[0], "snapshot "+args[1]+" removed", api.ActionRequest{
			Action: wire.ActionSnapshotRemove, Arguments: wire.ActionArguments{Snapshot: args[1], Children: children},
		})
	}
	return c
}

func (a *app) snapshotRevert() *cobra.Command {
	c := &cobra.Command{
		Use: "revert VM SNAPSHOT", Short: "Take a VM back to a snapshot, by id or name", Args: exactly("VM", "SNAPSHOT"), ValidArgsFunction: a.completeSnapshot,
		Long: "Take a VM back to a snapshot, by id or name. What was changed since is lost.",
	}
	f := a.actFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.act(cmd, f, args[0], "taken back to snapshot "+args[1], api.ActionRequest{
			Action: wire.ActionSnapshotRevert, Arguments: wire.ActionArguments{Snapshot: args[1]},
		})
	}
	return c
}

// completeSnapshot offers the names of VMs, and then those of its snapshots.
func (a *app) completeSnapshot(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return a.completeVM(cmd, args, begun)
	}
	var names []string
	_ = a.with(func(c *client.Client) error { // no names are an answer, too
		vm, err := findVM(cmd.Context(), c, args[0], whichOf(cmd))
		for _, s := range snapshots(vm) {
			if strings.HasPrefix(s.Name, begun) {
				names = append(names, kindtable.Clean(s.Name))
			}
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
