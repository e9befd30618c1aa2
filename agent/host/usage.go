package host

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/shirou/gopsutil/v3/common"
	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// Sampler says what the host is doing. The zero value works and may be shared.
type Sampler struct {
	// Root is prefixed to /proc and is the file system that is measured; empty
	// means "/".
	Root string

	mu   sync.Mutex
	last cpuTimes // of the previous call; guarded by mu
}

// Usage samples the host. The processors' share is the mean since the previous
// call, and since boot in the first.
func (s *Sampler) Usage(ctx context.Context) (inventory.Usage, error) {
	t := tree(s.Root)
	ctx = context.WithValue(ctx, common.EnvKey, common.EnvMap{common.HostProcEnvKey: t.path("/proc")})
	stat, err := t.bytes("/proc/stat")
	if err != nil {
		return inventory.Usage{}, fmt.Errorf("sample processors: %w", err)
	}
	now, err := parseStat(stat)
	if err != nil {
		return inventory.Usage{}, fmt.Errorf("sample processors: %w", err)
	}
	memory, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return inventory.Usage{}, fmt.Errorf("sample memory: %w", err)
	}
	avg, err := load.AvgWithContext(ctx)
	if err != nil {
		return inventory.Usage{}, fmt.Errorf("sample load: %w", err)
	}
	root, err := disk.UsageWithContext(ctx, filepath.Join("/", s.Root))
	if err != nil {
		return inventory.Usage{}, fmt.Errorf("sample root file system: %w", err)
	}
	uptime, _, _ := strings.Cut(t.text("/proc/uptime"), ".")
	seconds, err := strconv.ParseUint(uptime, 10, 64)
	if err != nil {
		return inventory.Usage{}, fmt.Errorf("sample uptime: %w", err)
	}
	s.mu.Lock()
	percent := now.since(s.last)
	s.last = now
	s.mu.Unlock()
	return inventory.Usage{
		CPUPercent:           percent,
		Load1:                avg.Load1,
		MemoryTotalBytes:     memory.Total,
		MemoryAvailableBytes: memory.Available,
		DiskTotalBytes:       root.Total,
		DiskUsedBytes:        root.Used,
		UptimeSeconds:        seconds,
	}, nil
}

// cpuTimes are ticks of all processors together since boot.
type cpuTimes struct{ busy, total uint64 }

// parseStat reads the first line of /proc/stat: user, nice, system, idle,
// iowait, irq, softirq, steal. Guests' time, which follows, is part of user's.
func parseStat(b []byte) (cpuTimes, error) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := strings.Fields(string(line))
	if len(f) < 5 || f[0] != "cpu" {
		return cpuTimes{}, fmt.Errorf("stat begins with %.40q", line)
	}
	var out cpuTimes
	for i, text := range f[1:min(len(f), 9)] {
		n, err := strconv.ParseUint(text, 10, 56)
		if err != nil {
			return cpuTimes{}, fmt.Errorf("stat: %w", err)
		}
		out.total += n
		if i != 3 && i != 4 {
			out.busy += n
		}
	}
	return out, nil
}

// since returns the busy share in percent, to a tenth. The kernel's idle and
// iowait counters may run backwards by a little.
func (c cpuTimes) since(last cpuTimes) float64 {
	if c.total <= last.total || c.busy < last.busy {
		return 0
	}
	percent := 100 * float64(c.busy-last.busy) / float64(c.total-last.total)
	return math.Round(10*min(percent, 100)) / 10
}
