package host

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// parseCPUInfo reads the first processor of /proc/cpuinfo, with the count of
// processors as Threads, and returns its flags as a set. The current clock is
// left out: it never stands still.
func parseCPUInfo(b []byte) (inventory.CPU, map[string]bool) {
	first := make(map[string]string)
	threads := 0
	for line := range bytes.Lines(b) {
		k, v, ok := strings.Cut(string(line), ":")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok {
			continue
		}
		if k == "processor" {
			threads++
		}
		if _, seen := first[k]; !seen {
			first[k] = v
		}
	}
	flags := make(map[string]bool)
	for f := range strings.FieldsSeq(cmp.Or(first["flags"], first["Features"])) {
		flags[f] = true
	}
	number := func(k string) int {
		n, _ := strconv.ParseInt(first[k], 0, 32)
		return int(n)
	}
	cpu := inventory.CPU{
		Vendor:   first["vendor_id"],
		Model:    strings.Join(strings.Fields(first["model name"]), " "),
		Family:   number("cpu family"),
		ModelID:  number("model"),
		Stepping: number("stepping"),
		Threads:  threads,
		MaxMHz:   nominalMHz(first["model name"]),
		Features: slices.Sorted(maps.Keys(flags)),
	}
	if first["CPU implementer"] != "" {
		cpu.Vendor, cpu.Model = armNames(first["CPU implementer"], first["CPU part"])
		cpu.Family, cpu.ModelID, cpu.Stepping = number("CPU architecture"), number("CPU part"), number("CPU revision")
	}
	return cpu, flags
}

// nominalMHz is the clock in a model's name, "... @ 2.40GHz"; 0 if there is
// none.
func nominalMHz(model string) int {
	_, clock, ok := strings.Cut(model, "@")
	if !ok {
		return 0
	}
	ghz, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(clock), "GHz"), 64)
	if err != nil || ghz < 0 || ghz > 100 {
		return 0
	}
	return int(ghz*1000 + 0.5)
}

// armNames says who made an Arm core and what it is called. The kernel gives
// numbers only; those of common servers are known here.
func armNames(implementer, part string) (vendor, model string) {
	vendor = map[string]string{
		"0x41": "ARM", "0x42": "Broadcom", "0x43": "Cavium", "0x46": "Fujitsu", "0x48": "HiSilicon", "0x4e": "NVIDIA",
		"0x50": "APM", "0x51": "Qualcomm", "0x61": "Apple", "0x6d": "Microsoft", "0xc0": "Ampere",
	}[implementer]
	model = map[string]string{
		"0x41/0xd03": "Cortex-A53", "0x41/0xd07": "Cortex-A57", "0x41/0xd08": "Cortex-A72", "0x41/0xd0b": "Cortex-A76",
		"0x41/0xd0c": "Neoverse-N1", "0x41/0xd40": "Neoverse-V1", "0x41/0xd49": "Neoverse-N2", "0x41/0xd4f": "Neoverse-V2",
		"0x41/0xd84": "Neoverse-V3", "0x41/0xd8e": "Neoverse-N3", "0x43/0x0af": "ThunderX2", "0x46/0x001": "A64FX",
		"0x48/0xd01": "TaiShan-v110", "0xc0/0xac3": "Ampere-1", "0xc0/0xac4": "Ampere-1a",
	}[implementer+"/"+part]
	return cmp.Or(vendor, implementer), cmp.Or(model, part)
}

// topology counts sockets and cores of the processors that are online, and
// finds their highest clock.
func (t tree) topology(cpu *inventory.CPU) {
	const dir = "/sys/devices/system/cpu"
	sockets, cores := make(map[string]bool), make(map[string]bool)
	maxKHz := 0
	for _, c := range t.names(dir, "cpu") {
		at := dir + "/" + c.name
		siblings := cmp.Or(t.text(at+"/topology/core_cpus_list"), t.text(at+"/topology/thread_siblings_list"))
		if siblings == "" || t.text(at+"/online") == "0" {
			continue
		}
		cores[siblings] = true
		sockets[t.text(at+"/topology/physical_package_id")] = true
		khz, _ := strconv.Atoi(t.text(at + "/cpufreq/cpuinfo_max_freq"))
		maxKHz = max(maxKHz, khz)
	}
	// Without /sys, as in a container, every thread counts as a core of one
	// socket: that is the least that must be there.
	cpu.Sockets = max(len(sockets), 1)
	cpu.Cores = len(cores)
	if cpu.Cores == 0 {
		cpu.Cores = cpu.Threads
	}
	if maxKHz > 0 {
		cpu.MaxMHz = maxKHz / 1000
	}
}

// numbered is a folder's entry such as "cpu12".
type numbered struct {
	name   string
	number int
}

func numberedNames(entries []fs.DirEntry, prefix string) []numbered {
	var out []numbered
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), prefix)
		n, err := strconv.Atoi(digits)
		if ok && err == nil && n >= 0 && fmt.Sprint(n) == digits {
			out = append(out, numbered{e.Name(), n})
		}
	}
	slices.SortFunc(out, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	return out
}
