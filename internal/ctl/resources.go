package ctl

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/spf13/cobra"
)

// filter holds the flags that select resources.
type filter struct {
	client.Filter
	stale, invalid bool
	cmd            *cobra.Command
}

// filterFlags gives a command the flags that select resources.
func (a *app) filterFlags(c *cobra.Command) *filter {
	f := &filter{cmd: c}
	flags := c.Flags()
	flags.StringVar(&f.Host, "host", "", "only of this host, by id or name")
	flags.StringVar(&f.Name, "name", "", "only with this name; * and ? match")
	flags.StringVar(&f.State, "state", "", "only in this state")
	flags.BoolVar(&f.stale, "stale", false, "only what is stale, or with =false what is not")
	flags.BoolVar(&f.invalid, "invalid", false, "only what does not fit its declared schema, or with =false what does")
	_ = c.RegisterFlagCompletionFunc("host", a.completeHost) // the flag exists
	return f
}

// query is what the flags ask for. A host may be named by its name.
func (f *filter) query(ctx context.Context, c *client.Client) (client.Filter, error) {
	q := f.Filter
	q.Limit = 1000
	if f.cmd.Flags().Changed("stale") {
		q.Stale = strconv.FormatBool(f.stale)
	}
	if f.cmd.Flags().Changed("invalid") {
		q.Invalid = strconv.FormatBool(f.invalid)
	}
	if q.Host != "" {
		h, err := c.Find(ctx, q.Host)
		if err != nil {
			return q, err
		}
		q.Host = string(h.ID)
	}
	return q, nil
}

// list returns all resources of some kinds, never nil.
func list(ctx context.Context, c *client.Client, kinds []string, q client.Filter) ([]api.Resource, error) {
	all := []api.Resource{}
	for _, kind := range kinds {
		some, err := c.Resources(ctx, kind, q)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// resourceCommand lists the resources of some kinds.
func (a *app) resourceCommand(c *cobra.Command, show func([]api.Resource) table, kinds ...string) *cobra.Command {
	f := a.filterFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.with(func(c *client.Client) error {
			q, err := f.query(cmd.Context(), c)
			if err != nil {
				return err
			}
			all, err := list(cmd.Context(), c, kinds, q)
			if err != nil {
				return err
			}
			return a.print(all, show(all))
		})
	}
	return c
}

func (a *app) vmCommand() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the VMs", Args: exactly()}
	return group("vm", "Virtual machines", append(a.powerCommands(), a.resourceCommand(c, vmTable, inventory.KindVM), a.snapshotCommand(), a.consoleCommand())...)
}

func (a *app) networkCommand() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List links, bridges, virtual networks and port groups", Args: exactly()}
	return group("network", "Networks of the hosts",
		a.resourceCommand(c, networkTable, inventory.KindLink, inventory.KindOVSBridge, inventory.KindNetwork, inventory.KindPortGroup))
}

func (a *app) storageCommand() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List pools, file systems, volume groups and datastores", Args: exactly()}
	return group("storage", "Storage of the hosts",
		a.resourceCommand(c, storageTable, inventory.KindPool, inventory.KindFilesystem, inventory.KindVolumeGroup, inventory.KindDatastore))
}

// state is a resource's, marked if it is what was known last, or does not fit
// what its host declares.
func state(r api.Resource) string {
	var marks []string
	if r.Stale {
		marks = append(marks, "stale")
	}
	if r.Invalid != "" {
		marks = append(marks, "invalid")
	}
	if len(marks) == 0 {
		return r.State
	}
	return strings.TrimSpace(r.State + " (" + strings.Join(marks, ", ") + ")")
}

// spec reads a resource's description; what it cannot read stays zero.
func spec[T any](r api.Resource) T {
	var v T
	_ = json.Unmarshal(r.Spec, &v) // a newer agent's description may differ
	return v
}

func vmTable(all []api.Resource) table {
	t := table{head: []string{"HOST", "ID", "NAME", "STATE", "VCPUS", "MEMORY", "DISKS", "NICS", "AUTOSTART", "REASON", "WHY STALE"}, wide: 8}
	for _, r := range all {
		v := spec[inventory.VM](r)
		var disks uint64
		for _, d := range v.Disks {
			disks += d.CapacityBytes
		}
		t.add(r.Hostname, r.ID, r.Name, state(r), strconv.Itoa(v.VCPUs), kindtable.Size(v.MemoryBytes), kindtable.Size(disks),
			strconv.Itoa(len(v.NICs)), strconv.FormatBool(v.Autostart), v.StateReason, r.StaleReason)
	}
	return t
}

func networkTable(all []api.Resource) table {
	t := table{head: []string{"HOST", "NAME", "KIND", "STATE", "ADDRESSES", "MASTER", "MAC", "MTU", "ID"}, wide: 5}
	for _, r := range all {
		kind := strings.TrimPrefix(r.Kind, "net.")
		if r.Kind == inventory.KindPortGroup {
			t.add(r.Hostname, r.Name, "port group", state(r), "", spec[inventory.PortGroup](r).Switch, "", "", r.ID)
			continue
		}
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
			t.add(r.Hostname, r.Name, kind, p.Type, state(r), kindtable.Size(p.CapacityBytes), kindtable.Size(p.AvailableBytes), p.Path, r.ID)
		case inventory.KindFilesystem:
			f := spec[inventory.Filesystem](r)
			t.add(r.Hostname, r.Name, kind, f.Type, state(r), kindtable.Size(f.TotalBytes), kindtable.Size(f.AvailableBytes), strings.Join(f.Mounts, ","), r.ID)
		case inventory.KindDatastore:
			d := spec[inventory.Datastore](r)
			t.add(r.Hostname, r.Name, "datastore", d.Type, state(r), kindtable.Size(d.CapacityBytes), kindtable.Size(d.FreeBytes), d.Path, r.ID)
		default:
			g := spec[inventory.VolumeGroup](r)
			t.add(r.Hostname, r.Name, kind, "lvm", state(r), kindtable.Size(g.SizeBytes), kindtable.Size(g.FreeBytes), strings.Join(g.PhysicalVolumes, ","), r.ID)
		}
	}
	return t
}
