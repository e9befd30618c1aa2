package ctl

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/spf13/cobra"
)

// filter holds the flags that select resources.
type filter struct {
	client.Filter
	stale bool
}

// resourceCommand lists resources of the kinds that kinds returns.
func (a *app) resourceCommand(c *cobra.Command, kinds func(args []string) []string, show func([]api.Resource) table) *cobra.Command {
	var f filter
	flags := c.Flags()
	flags.StringVar(&f.Host, "host", "", "only of this host, by id or name")
	flags.StringVar(&f.Name, "name", "", "only with this name; * and ? match")
	flags.StringVar(&f.State, "state", "", "only in this state")
	flags.BoolVar(&f.stale, "stale", false, "only what is stale, or with =false what is not")
	_ = c.RegisterFlagCompletionFunc("host", a.completeHost) // the flag exists
	c.RunE = func(cmd *cobra.Command, args []string) error {
		q := f.Filter
		q.Limit = 1000
		if flags.Changed("stale") {
			q.Stale = strconv.FormatBool(f.stale)
		}
		return a.with(func(c *client.Client) error {
			if q.Host != "" {
				h, err := c.Find(cmd.Context(), q.Host)
				if err != nil {
					return err
				}
				q.Host = string(h.ID)
			}
			all := []api.Resource{}
			for _, kind := range kinds(args) {
				some, err := c.Resources(cmd.Context(), kind, q)
				if err != nil {
					return err
				}
				all = append(all, some...)
			}
			return a.print(all, show(all))
		})
	}
	return c
}

func fixed(kinds ...string) func([]string) []string { return func([]string) []string { return kinds } }

func (a *app) getCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "get KIND", Short: "List resources of any kind", Args: exactly("KIND"),
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			_ = a.with(func(c *client.Client) error { // nothing to offer then
				kinds, err := c.Kinds(cmd.Context())
				for _, k := range kinds {
					names = append(names, k.Kind)
				}
				return err
			})
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	return a.resourceCommand(c, func(args []string) []string { return args }, anyTable)
}

func (a *app) vmCommand() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the VMs", Args: exactly()}
	return group("vm", "Virtual machines", a.resourceCommand(c, fixed(inventory.KindVM), vmTable))
}

func (a *app) networkCommand() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List links, bridges and virtual networks", Args: exactly()}
	return group("network", "Networks of the hosts",
		a.resourceCommand(c, fixed(inventory.KindLink, inventory.KindOVSBridge, inventory.KindNetwork), networkTable))
}

func (a *app) storageCommand() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List pools, file systems and volume groups", Args: exactly()}
	return group("storage", "Storage of the hosts",
		a.resourceCommand(c, fixed(inventory.KindPool, inventory.KindFilesystem, inventory.KindVolumeGroup), storageTable))
}

// state is a resource's, marked if it is what was known last.
func state(r api.Resource) string {
	if !r.Stale {
		return r.State
	}
	return strings.TrimSpace(r.State + " (stale)")
}

// spec reads a resource's description; what it cannot read stays zero.
func spec[T any](r api.Resource) T {
	var v T
	_ = json.Unmarshal(r.Spec, &v) // a newer agent's description may differ
	return v
}

func anyTable(all []api.Resource) table {
	t := table{head: []string{"HOST", "ID", "NAME", "STATE", "SOURCE", "WHY STALE"}, wide: 4}
	for _, r := range all {
		t.add(r.Hostname, r.ID, r.Name, state(r), r.Source, r.StaleReason)
	}
	return t
}

func vmTable(all []api.Resource) table {
	t := table{head: []string{"HOST", "ID", "NAME", "STATE", "VCPUS", "MEMORY", "DISKS", "NICS", "AUTOSTART", "REASON", "WHY STALE"}, wide: 8}
	for _, r := range all {
		v := spec[inventory.VM](r)
		var disks uint64
		for _, d := range v.Disks {
			disks += d.CapacityBytes
		}
		t.add(r.Hostname, r.ID, r.Name, state(r), strconv.Itoa(v.VCPUs), size(v.MemoryBytes), size(disks),
			strconv.Itoa(len(v.NICs)), strconv.FormatBool(v.Autostart), v.StateReason, r.StaleReason)
	}
	return t
}

func networkTable(all []api.Resource) table {
	t := table{head: []string{"HOST", "NAME", "KIND", "STATE", "ADDRESSES", "MASTER", "MAC", "MTU", "ID"}, wide: 5}
	for _, r := range all {
		kind := strings.TrimPrefix(r.Kind, "net.")
		if r.Kind != inventory.KindLink {
			t.add(r.Hostname, r.Name, kind, state(r), "", "", "", "", r.ID)
			continue
		}
		l := spec[inventory.Link](r)
		var addresses []string
		for _, x := range l.Addresses {
			addresses = append(addresses, x.CIDR)
		}
		t.add(r.Hostname, l.Name, l.Type, state(r), strings.Join(addresses, ","), l.Master, l.MAC, strconv.Itoa(l.MTU), r.ID)
	}
	return t
}

func storageTable(all []api.Resource) table {
	t := table{head: []string{"HOST", "NAME", "KIND", "TYPE", "STATE", "SIZE", "FREE", "WHERE", "ID"}, wide: 8}
	for _, r := range all {
		kind := strings.TrimPrefix(r.Kind, "storage.")
		switch r.Kind {
		case inventory.KindPool:
			p := spec[inventory.Pool](r)
			t.add(r.Hostname, r.Name, kind, p.Type, state(r), size(p.CapacityBytes), size(p.AvailableBytes), p.Path, r.ID)
		case inventory.KindFilesystem:
			f := spec[inventory.Filesystem](r)
			t.add(r.Hostname, r.Name, kind, f.Type, state(r), size(f.TotalBytes), size(f.AvailableBytes), strings.Join(f.Mounts, ","), r.ID)
		default:
			g := spec[inventory.VolumeGroup](r)
			t.add(r.Hostname, r.Name, kind, "lvm", state(r), size(g.SizeBytes), size(g.FreeBytes), strings.Join(g.PhysicalVolumes, ","), r.ID)
		}
	}
	return t
}
