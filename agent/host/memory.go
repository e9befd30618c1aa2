package host

import (
	"bytes"
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// parseMeminfo returns the fields of /proc/meminfo, or of a node's, that have
// the unit kB, in bytes.
func parseMeminfo(b []byte) map[string]uint64 {
	out := make(map[string]uint64)
	for line := range bytes.Lines(b) {
		// A node's lines begin with "Node 0 ".
		f := strings.Fields(string(line))
		if len(f) > 2 && f[0] == "Node" {
			f = f[2:]
		}
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 10, 54); err == nil {
			out[strings.TrimSuffix(f[0], ":")] = n * 1024
		}
	}
	return out
}

// hugePages lists the page sizes that the kernel offers with the pages set
// aside for good. Surplus pages come and go by themselves.
func (t tree) hugePages() []inventory.HugePages {
	const dir = "/sys/kernel/mm/hugepages"
	entries, err := os.ReadDir(t.path(dir))
	if err != nil {
		return nil
	}
	var out []inventory.HugePages
	for _, e := range entries {
		size, ok := strings.CutPrefix(e.Name(), "hugepages-")
		kib, err := strconv.ParseUint(strings.TrimSuffix(size, "kB"), 10, 54)
		if !ok || err != nil {
			continue
		}
		number := func(name string) uint64 {
			n, _ := strconv.ParseUint(t.text(dir+"/"+e.Name()+"/"+name), 10, 64)
			return n
		}
		total, surplus := number("nr_hugepages"), number("surplus_hugepages")
		out = append(out, inventory.HugePages{SizeBytes: kib * 1024, Total: total - min(surplus, total)})
	}
	slices.SortFunc(out, func(a, b inventory.HugePages) int { return cmp.Compare(a.SizeBytes, b.SizeBytes) })
	return out
}

// numa lists the memory nodes.
func (t tree) numa() []inventory.NUMANode {
	const dir = "/sys/devices/system/node"
	var out []inventory.NUMANode
	for _, n := range t.names(dir, "node") {
		at := dir + "/" + n.name
		node := inventory.NUMANode{ID: n.number, CPUs: t.text(at + "/cpulist")}
		if b, err := t.bytes(at + "/meminfo"); err == nil {
			node.MemoryBytes = parseMeminfo(b)["MemTotal"]
		}
		for d := range strings.FieldsSeq(t.text(at + "/distance")) {
			if n, err := strconv.Atoi(d); err == nil {
				node.Distances = append(node.Distances, n)
			}
		}
		out = append(out, node)
	}
	return out
}
