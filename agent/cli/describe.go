package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/internal/kindtable"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// describe says in a few words what a resource is.
func describe(r wire.Resource) (state, detail string) {
	switch r.Kind {
	case inventory.KindHost:
		h := decode[inventory.Host](r)
		return "", fmt.Sprintf("%s, kernel %s, %d CPUs, %s", h.OS.PrettyName, h.OS.Kernel, h.CPU.Threads, kindtable.Size(h.MemoryBytes))
	case inventory.KindVM:
		v := decode[inventory.VM](r)
		detail = fmt.Sprintf("%d CPUs, %s, %d disks, %d NICs", v.VCPUs, kindtable.Size(v.MemoryBytes), len(v.Disks), len(v.NICs))
		if v.Host != "" {
			detail += strings.TrimSuffix(", on "+v.Host+" in "+v.Cluster, " in ")
		}
		return v.State, detail
	case inventory.KindLink:
		l := decode[inventory.Link](r)
		addresses := make([]string, 0, len(l.Addresses))
		for _, a := range l.Addresses {
			addresses = append(addresses, a.CIDR)
		}
		return l.State, strings.TrimSpace(l.Type + " " + strings.Join(addresses, " "))
	case inventory.KindRoute:
		d := decode[inventory.Route](r)
		return "", fmt.Sprintf("%s by %s on %s", d.Family, d.Gateway, d.Link)
	case inventory.KindNetwork:
		n := decode[inventory.Network](r)
		state = "inactive"
		if n.Active {
			state = "active"
		}
		return state, strings.TrimSpace(n.Bridge + " " + n.Forward + " " + strings.Join(n.Addresses, " "))
	case inventory.KindFilesystem:
		f := decode[inventory.Filesystem](r)
		return "", fmt.Sprintf("%s, %s of %s used, %s", f.Type, kindtable.Size(f.UsedBytes), kindtable.Size(f.TotalBytes), strings.Join(f.Mounts, " "))
	case inventory.KindDevice:
		d := decode[inventory.Device](r)
		return "", strings.TrimSpace(fmt.Sprintf("%s, %s %s", d.Type, kindtable.Size(d.SizeBytes), d.Model))
	case inventory.KindPool:
		p := decode[inventory.Pool](r)
		return p.State, fmt.Sprintf("%s, %s of %s free", p.Type, kindtable.Size(p.AvailableBytes), kindtable.Size(p.CapacityBytes))
	case inventory.KindVolume:
		v := decode[inventory.Volume](r)
		return "", fmt.Sprintf("%s in %s, %s", v.Format, v.Pool, kindtable.Size(v.CapacityBytes))
	case inventory.KindVolumeGroup:
		g := decode[inventory.VolumeGroup](r)
		return "", fmt.Sprintf("%s of %s free", kindtable.Size(g.FreeBytes), kindtable.Size(g.SizeBytes))
	}
	return inColumns(r)
}

// inColumns describes what there are no better words for.
func inColumns(r wire.Resource) (state, detail string) {
	columns := kindtable.Columns(r.Kind, nil, nil)
	columns = slices.DeleteFunc(columns, func(c plugin.Column) bool { return c.Wide })
	var parts []string
	for i, cell := range kindtable.Cells(r.Spec, columns, false) {
		if cell != "" {
			parts = append(parts, strings.ToLower(columns[i].Name)+" "+cell)
		}
	}
	return kindtable.Cells(r.Spec, []plugin.Column{{Path: "state"}}, false)[0], strings.Join(parts, ", ")
}

func decode[T any](r wire.Resource) (v T) {
	_ = json.Unmarshal(r.Spec, &v) // our own agent's; a stranger field is shown as zero
	return v
}
