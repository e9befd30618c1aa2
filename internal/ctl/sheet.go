package ctl

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// A sheet turns resources of one kind into rows.
type sheet struct {
	head        []string
	fixed, wide int // columns that are there always, and in each table
	row         func(api.Resource) []string
}

// tables shows resources, a table for each kind.
func (a *app) tables(kinds []api.Kind, all []api.Resource) []table {
	out := make([]table, len(kinds))
	for i, k := range kinds {
		var some []api.Resource
		for _, r := range all {
			if r.Kind == k.Kind || len(kinds) == 1 {
				some = append(some, r)
			}
		}
		out[i] = a.sheetFor(k, some).table(some)
		out[i].title = k.Kind
	}
	return out
}

func (s sheet) table(all []api.Resource) table {
	t := table{head: s.head, fixed: s.fixed, wide: s.wide}
	for _, r := range all {
		t.add(s.row(r)...)
	}
	return t
}

// sheetFor is the sheet of a kind. Core kinds are known by host and name; the id,
// which of what is in a vCenter is one that people never see, is in wide tables.
func (a *app) sheetFor(k api.Kind, all []api.Resource) sheet {
	whole := a.output == "wide"
	if k.Kind == inventory.KindVM {
		return vmSheet(whole)
	}
	var specs []json.RawMessage
	for _, r := range all {
		specs = append(specs, r.Spec)
	}
	columns := kindtable.Columns(k.Kind, k.Columns, specs)
	core, vsphere := inventory.IsCore(k.Kind), strings.HasPrefix(k.Kind, "vsphere.")
	s := sheet{head: []string{"HOST", "NAME", "STATE"}, fixed: 2}
	switch {
	case !core:
		s.head = []string{"HOST", "ID", "NAME", "STATE"}
	case vsphere:
		s.head = append(s.head, "VCENTER")
	}
	s.wide = len(s.head)
	for _, c := range columns {
		s.head = append(s.head, c.Name)
		if !c.Wide {
			s.wide++
		}
	}
	if core {
		s.head = append(s.head, "ID")
	} else {
		s.fixed = s.wide // what a plugin declares is not second-guessed
	}
	s.head = append(s.head, "MODULE", "WHY STALE", "WHY INVALID")
	s.row = func(r api.Resource) []string {
		cells := []string{r.Hostname, r.Name, state(r)}
		switch {
		case !core:
			cells = slices.Insert(cells, 1, r.ID)
		case vsphere:
			cells = append(cells, inventory.VCenterName(r.Source))
		}
		cells = append(cells, kindtable.Cells(r.Spec, columns, whole)...)
		if core {
			cells = append(cells, r.ID)
		}
		return append(cells, r.Source, r.StaleReason, r.Invalid)
	}
	return s
}

// vmSheet is the sheet of VMs: what they are, where they run, what they take.
func vmSheet(whole bool) sheet {
	s := sheet{
		head: []string{
			"HOST", "NAME", "STATE", "VCENTER", "CLUSTER", "VCPUS", "MEMORY", "DISKS", "WARNINGS",
			"ADDRESSES", "NETWORKS", "OS", "ESXI", "DATASTORES", "SNAPSHOTS", "AUTOSTART", "REASON", "ID", "MODULE", "WHY STALE", "WHY INVALID",
		},
		fixed: 3, wide: 9,
	}
	s.row = func(r api.Resource) []string {
		v := spec[inventory.VM](r)
		var disks uint64
		for _, d := range v.Disks {
			disks += d.CapacityBytes
		}
		var networks, addresses []string
		for _, n := range v.NICs {
			networks = append(networks, n.Source)
		}
		size, os, snapshots, autostart := "", "", "", ""
		if disks > 0 {
			size = kindtable.Size(disks)
		}
		if v.Guest != nil {
			os, addresses = v.Guest.OS, v.Guest.Addresses
		}
		if len(v.Snapshots) > 0 {
			snapshots = strconv.Itoa(len(v.Snapshots))
		}
		if v.Autostart {
			autostart = "true"
		}
		return []string{
			r.Hostname, r.Name, state(r), inventory.VCenterName(r.Source), v.Cluster,
			strconv.Itoa(v.VCPUs), kindtable.Size(v.MemoryBytes), size, kindtable.Warnings(v.Warnings, whole),
			strings.Join(addresses, ","), strings.Join(networks, ","), os, v.Host, strings.Join(v.Datastores, ","), snapshots, autostart, v.StateReason,
			r.ID, r.Source, r.StaleReason, r.Invalid,
		}
	}
	return s
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
