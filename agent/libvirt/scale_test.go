package libvirt

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/testlibvirt"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const many = 1000

func manyVMs(t testing.TB) *Conn {
	d := testlibvirt.Start(t)
	uri, err := d.NodeURI(many)
	if err != nil {
		t.Fatal(err)
	}
	return dial(t, d.Socket(), uri)
}

func TestThousandVMs(t *testing.T) {
	c := manyVMs(t)
	all := list(t, c.VMs())
	if len(all) != many {
		t.Errorf("%d VMs, want %d", len(all), many)
	}
	vm := all["compute.vm vm-00999"].Spec.(inventory.VM)
	if vm.State != inventory.VMRunning || len(vm.Disks) != 2 || len(vm.NICs) != 2 || vm.VCPUs != 2 || vm.MaxMemoryBytes != 2<<30 {
		t.Errorf("VM %+v is not as defined", vm)
	}
	s, err := c.Stats(t.Context())
	if err != nil || len(s) != many {
		t.Errorf("statistics of %d VMs, %v, want %d", len(s), err, many)
	}
}

// Most lists read little XML, and none of those that are left reads all.
func TestEveryDefinitionIsReadAgainInTime(t *testing.T) {
	c := manyVMs(t)
	list(t, c.VMs())
	read := func() map[string]uint64 {
		tickets := make(map[string]uint64)
		for id, d := range c.vms.known {
			tickets[uuidText(id)] = d.ticket
		}
		return tickets
	}
	before, most := read(), 0
	for last := before; c.vms.lists < 1+refreshLists; {
		list(t, c.VMs())
		now, n := read(), 0
		for id := range now {
			if now[id] != last[id] {
				n++
			}
		}
		last, most = now, max(most, n)
	}
	for id, ticket := range read() {
		if ticket == before[id] {
			t.Errorf("%s was not read again in %d lists", id, refreshLists)
		}
	}
	if most > many/refreshLists+1 {
		t.Errorf("one list read %d definitions again, want at most %d", most, many/refreshLists+1)
	}
}

// Who compares two lists need not look into what has not changed.
func TestWhatHasNotChangedIsShownAgain(t *testing.T) {
	d := testlibvirt.Start(t)
	uri, err := d.NodeURI(2 * readers)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, d.Socket(), uri)
	before := list(t, c.VMs())
	for range refreshLists { // each definition is read again meanwhile
		for key, r := range list(t, c.VMs()) {
			was, is := before[key].Spec.(inventory.VM), r.Spec.(inventory.VM)
			if &was.Disks[0] != &is.Disks[0] || &was.NICs[0] != &is.NICs[0] {
				t.Fatalf("%s was made anew", key)
			}
		}
	}
}

// BenchmarkFirstList is the list after connecting, which reads every definition.
func BenchmarkFirstList(b *testing.B) {
	c := manyVMs(b)
	list(b, c.VMs())
	cpu := cpuTime()
	b.ReportAllocs()
	for b.Loop() {
		clear(c.vms.known)
		if err := c.VMs().List(b.Context(), func(plugin.Resource) {}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkNextList is each list after it.
func BenchmarkNextList(b *testing.B) {
	c := manyVMs(b)
	list(b, c.VMs())
	cpu := cpuTime()
	b.ReportAllocs()
	for b.Loop() {
		if err := c.VMs().List(b.Context(), func(plugin.Resource) {}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
	b.ReportMetric(rss(), "rss-MiB")
	runtime.KeepAlive(c)
}

func BenchmarkStats(b *testing.B) {
	c := manyVMs(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Stats(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPing(b *testing.B) {
	c := manyVMs(b)
	s, err := c.session(b.Context(), roleVMs)
	if err != nil {
		b.Fatal(err)
	}
	cpu := cpuTime()
	for b.Loop() {
		if _, err := s.lib.ConnectGetLibVersion(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
}

func BenchmarkParseDomain(b *testing.B) {
	text, err := os.ReadFile("testdata/domain-nova.xml")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseDomain(text); err != nil {
			b.Fatal(err)
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rss is this process's resident memory in MiB.
func rss() float64 {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}
