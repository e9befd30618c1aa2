package resmgr

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// fill connects hosts with VMs each.
func fill(t testing.TB, m *Manager, hosts, vms int) {
	t.Helper()
	for n := range hosts {
		a := newAgent(n)
		for i := range vms {
			state := inventory.VMRunning
			if (n+i)%20 == 0 {
				state = inventory.VMShutOff
			}
			r := vm(n*vms+i, fmt.Sprintf("vm-%05d-%02d", n, i), state)
			a.mirror[r.Key] = r
		}
		a.connect(t, m)
	}
}

// BenchmarkList lists 100 of 100,000 VMs of 5,000 hosts. The whole catalogue
// is walked where the filter matches less than 100 of them.
func BenchmarkList(b *testing.B) {
	m := newManager(b, Limits{})
	fill(b, m, 5000, 20)
	for _, tc := range []struct {
		name string
		q    Query
	}{
		{"first page", Query{}},
		{"state", Query{State: inventory.VMShutOff}},
		{"host", Query{Host: hostID(4321)}},
		{"name anywhere", Query{Name: "*-04999-*"}},
		{"one name", Query{Name: "vm-04999-07"}},
		{"rare state", Query{State: inventory.VMCrashed}},
		{"stale", Query{Stale: new(true)}},
		{"no cluster", Query{Cluster: "prod"}},
		{"no vCenter", Query{Source: "vcenter-east"}},
		{"nothing", Query{Name: "*no such*", State: inventory.VMRunning, Stale: new(false)}},
	} {
		b.Run(tc.name, func(b *testing.B) { page(b, m, tc.q) })
	}
}

// page lists 100 VMs.
func page(b *testing.B, m *Manager, q Query) {
	var took []time.Duration
	for b.Loop() {
		q.Kind, q.Limit = inventory.KindVM, 100
		start := time.Now()
		if _, err := m.List(&q); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkListOfVCenters lists 100 of 1,200,000 VMs that 120 gateways report,
// each of a vCenter with 8 clusters. Few clusters and vCenters are the worst:
// then the last gateway's have to be looked for in many lists.
func BenchmarkListOfVCenters(b *testing.B) {
	m := newManager(b, Limits{})
	for n := range 120 {
		a := newAgent(n)
		site := fmt.Sprint("site", n)
		a.status = []wire.SourceStatus{{Name: inventory.VCenterModule(site), State: "ok", Kinds: []string{inventory.KindVM}}}
		for i := range 10_000 {
			r := vsphereVM(site, fmt.Sprintf("%s-c%d", site, i%8), i)
			a.mirror[r.Key] = r
		}
		a.connect(b, m)
	}
	for _, tc := range []struct {
		name string
		q    Query
	}{
		{"cluster", Query{Cluster: "site119-c7"}},
		{"cluster and rare state", Query{Cluster: "site119-c7", State: inventory.VMCrashed}},
		{"no such cluster", Query{Cluster: "nowhere"}},
		{"vCenter", Query{Source: "vcenter-site119"}},
		{"vCenter's cluster", Query{Source: "vcenter-site119", Cluster: "site119-c3"}},
		{"no such vCenter", Query{Source: "vcenter-nowhere"}},
	} {
		b.Run(tc.name, func(b *testing.B) { page(b, m, tc.q) })
	}
}

// BenchmarkMemory reports what a host with 20 VMs costs at rest.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		m := newManager(b, Limits{})
		fill(b, m, 5000, 20)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/5000/1024, "KiB/host")
		runtime.KeepAlive(m)
	}
}

// BenchmarkReport applies one changed VM of a host with 1,000.
func BenchmarkReport(b *testing.B) {
	m := newManager(b, Limits{})
	a := newAgent(1)
	for i := range 1000 {
		r := vm(i, fmt.Sprint("vm", i), inventory.VMRunning)
		a.mirror[r.Key] = r
	}
	a.connect(b, m)
	states := []string{inventory.VMPaused, inventory.VMRunning}
	for b.Loop() {
		a.seq++
		r := vm(500, "vm500", states[a.seq%2])
		if _, err := m.Report(a.p, &wire.Report{Epoch: 1, Seq: a.seq, Upserts: []wire.Resource{r}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStore writes 5,000 hosts of 20 VMs, as after a first start, and
// loads them again.
func BenchmarkStore(b *testing.B) {
	file := filepath.Join(b.TempDir(), "db")
	db := openDB(b, file)
	m, err := New(b.Context(), Config{DB: db})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, m, 5000, 20)
	start := time.Now()
	for m.unwritten() {
		if err := m.flush(b.Context(), time.Minute, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(time.Since(start).Seconds(), "write-s")
	start = time.Now()
	if _, err := New(b.Context(), Config{DB: db}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(start).Seconds(), "load-s")
}
