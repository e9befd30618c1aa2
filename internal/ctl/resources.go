package ctl

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/spf13/cobra"
)

// resourceCommand lists the resources of some kinds.
func (a *app) resourceCommand(c *cobra.Command, show func([]api.Resource) table, kinds ...string) *cobra.Command {
	f := a.filterFlags(c, func(context.Context, *client.Client, []string) ([]string, error) { return kinds, nil })
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
			all = slices.DeleteFunc(all, isUplink)
			return a.printAll(all, show(all))
		})
	}
	return c
}

// isUplink says whether a resource is a port group for the uplinks of a
// distributed switch. VMs cannot be attached to it, so it is in no list of
// networks; pf9ctl get portgroup shows it, marked.
func isUplink(r api.Resource) bool {
	return r.Kind == inventory.KindPortGroup && spec[inventory.PortGroup](r).Uplink
}

func (a *app) vmCommand() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the VMs", Args: exactly()}
	return group("vm", "Virtual machines", append(a.powerCommands(),
		a.resourceCommand(c, a.vmTable, inventory.KindVM), a.vmShow(), a.snapshotCommand(), a.consoleCommand())...)
}

// vmShow prints all that is known of a VM, which is more than a table can hold.
func (a *app) vmShow() *cobra.Command {
	var w which
	c := &cobra.Command{
		Use: "show VM", Short: "Show a VM in full", Args: exactly("VM"),
		Long: "Show all that is known of a VM, as YAML or, with -o json, as JSON.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				vm, err := findVM(cmd.Context(), c, args[0], w)
				if err != nil {
					return err
				}
				if a.machine() {
					return a.print(vm)
				}
				return writeYAML(a.out, vm)
			})
		},
	}
	a.vmFlags(c, &w)
	return c
}

// listOf is a group that lists the resources of a kind, as get does.
func (a *app) listOf(kind, use, what string) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the " + what, Args: exactly()}
	show := func(all []api.Resource) table { return a.sheetFor(api.Kind{Kind: kind}, all).table(all) }
	return group(use, strings.ToUpper(what[:1])+what[1:], a.resourceCommand(c, show, kind))
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

func (a *app) vmTable(all []api.Resource) table { return vmSheet(a.output == "wide").table(all) }

// networkTable shows what VMs can be attached to, and what that hangs on: SWITCH
// is a port group's distributed switch, or the bridge or bond that something is
// a part of.
func networkTable(all []api.Resource) table {
	t := table{head: []string{"HOST", "NAME", "KIND", "STATE", "VCENTER", "SWITCH", "VLAN", "ADDRESSES", "MAC", "MTU", "DATACENTER", "ID"}, fixed: 4, wide: 8}
	for _, r := range all {
		kind, st := strings.TrimPrefix(r.Kind, "net."), state(r)
		var on, vlan, mac, mtu, datacenter string
		var addresses []string
		switch r.Kind {
		case inventory.KindPortGroup:
			g := spec[inventory.PortGroup](r)
			kind, on, vlan, datacenter = "port group", g.Switch, g.VLAN, g.Datacenter
		case inventory.KindNetwork:
			n := spec[inventory.Network](r)
			on, addresses = n.Bridge, n.Addresses
		case inventory.KindOVSBridge:
			kind = "ovs bridge"
		case inventory.KindLink:
			l := spec[inventory.Link](r)
			kind, on, mac, mtu = l.Type, l.Master, l.MAC, strconv.Itoa(l.MTU)
			if l.VLAN != nil {
				vlan = strconv.Itoa(l.VLAN.ID)
			}
			for _, x := range l.Addresses {
				addresses = append(addresses, x.CIDR)
			}
		}
		t.add(r.Hostname, r.Name, kind, st, inventory.VCenterName(r.Source), on, vlan, strings.Join(addresses, ","), mac, mtu, datacenter, r.ID)
	}
	return t
}

func storageTable(all []api.Resource) table {
	t := table{head: []string{"HOST", "NAME", "KIND", "TYPE", "STATE", "VCENTER", "SIZE", "FREE", "WHERE", "ID"}, fixed: 4, wide: 9}
	for _, r := range all {
		kind := strings.TrimPrefix(r.Kind, "storage.")
		var typ, where string
		var size, free uint64
		switch r.Kind {
		case inventory.KindPool:
			p := spec[inventory.Pool](r)
			typ, size, free, where = p.Type, p.CapacityBytes, p.AvailableBytes, p.Path
		case inventory.KindFilesystem:
			f := spec[inventory.Filesystem](r)
			typ, size, free, where = f.Type, f.TotalBytes, f.AvailableBytes, strings.Join(f.Mounts, ",")
		case inventory.KindDatastore:
			d := spec[inventory.Datastore](r)
			kind, typ, size, free, where = "datastore", d.Type, d.CapacityBytes, d.FreeBytes, d.Path
		default:
			g := spec[inventory.VolumeGroup](r)
			kind, typ, size, free, where = "volume group", "lvm", g.SizeBytes, g.FreeBytes, strings.Join(g.PhysicalVolumes, ",")
		}
		t.add(r.Hostname, r.Name, kind, typ, state(r), inventory.VCenterName(r.Source), kindtable.Size(size), kindtable.Size(free), where, r.ID)
	}
	return t
}
