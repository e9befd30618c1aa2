package resmgr

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

func hostID(n int) wire.HostID {
	return wire.HostID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", n))
}

func peer(n int, session uint64) Peer {
	return Peer{Host: hostID(n), Kind: "host", Session: session, Address: "192.0.2.7:4711"}
}

func vm(id int, name, state string) wire.Resource {
	spec, err := json.Marshal(inventory.VM{
		State: state, Hypervisor: "kvm", Persistent: true, VCPUs: 2, MaxVCPUs: 2,
		MemoryBytes: 2 << 30, MaxMemoryBytes: 2 << 30, Arch: "x86_64", Machine: "pc-q35-8.2", OSType: "hvm",
		Disks: []inventory.Disk{{Target: "vda", Bus: "virtio", Device: "disk", Type: "file", Source: "/var/lib/libvirt/images/" + name + ".qcow2", Format: "qcow2", CapacityBytes: 20 << 30, AllocationBytes: 3 << 30}},
		NICs:  []inventory.NIC{{MAC: "52:54:00:00:00:01", Model: "virtio", Type: "bridge", Source: "br0", Target: "vnet0"}},
	})
	if err != nil {
		panic(err)
	}
	return wire.Resource{
		Key:  plugin.Key{Kind: inventory.KindVM, ID: fmt.Sprintf("%08d-1111-4111-8111-111111111111", id)},
		Name: name, Spec: spec, Generation: 1, Source: "libvirt",
	}
}

// An agent is the far side, reduced to its mirror.
type fakeAgent struct {
	p      Peer
	epoch  uint64
	seq    uint64
	mirror map[plugin.Key]wire.Resource
	status []wire.SourceStatus
}

func newAgent(n int) *fakeAgent {
	return &fakeAgent{
		p: peer(n, 1), epoch: 1, mirror: map[plugin.Key]wire.Resource{},
		status: []wire.SourceStatus{{Name: "libvirt", State: "ok", Kinds: []string{inventory.KindVM}}},
	}
}

func (a *fakeAgent) digests() map[string]wire.Digest {
	out := map[string]wire.Digest{inventory.KindVM: {}}
	for k, r := range a.mirror {
		d := out[k.Kind]
		d.Add(r.Hash())
		out[k.Kind] = d
	}
	return out
}

func (a *fakeAgent) hello() *wire.Hello {
	return &wire.Hello{
		Version: 1, Agent: "pf9-hostagent/0.1.0", Hostname: fmt.Sprintf("kvm-%s", a.p.Host[:8]), Hypervisor: "kvm",
		Epoch: a.epoch, Time: time.Now(), Sources: a.status, Digests: a.digests(),
	}
}

// full is the parts of a complete list.
func (a *fakeAgent) full(kind string, part int) []*wire.Report {
	var all []wire.Resource
	for _, k := range slices.SortedFunc(maps.Keys(a.mirror), func(x, y plugin.Key) int { return len(x.ID) - len(y.ID) }) {
		if k.Kind == kind {
			all = append(all, a.mirror[k])
		}
	}
	var out []*wire.Report
	for len(out) == 0 || len(all) > 0 {
		n := min(part, len(all))
		a.seq++
		out = append(out, &wire.Report{Epoch: a.epoch, Seq: a.seq, Full: kind, Begin: len(out) == 0, Upserts: all[:n], End: n == len(all)})
		all = all[n:]
	}
	out[len(out)-1].Digests = map[string]wire.Digest{kind: a.digests()[kind]}
	return out
}

// connect says hello and sends what is asked for.
func (a *fakeAgent) connect(t testing.TB, m *Manager) {
	t.Helper()
	m.Connected(a.p)
	w, err := m.Hello(a.p, a.hello())
	if err != nil {
		t.Fatal(err)
	}
	a.send(t, m, w.Need)
}

func (a *fakeAgent) send(t testing.TB, m *Manager, need []string) {
	t.Helper()
	for _, kind := range need {
		for _, r := range a.full(kind, 7) {
			ack, err := m.Report(a.p, r)
			if err != nil {
				t.Fatal(err)
			}
			if len(ack.Need) > 0 {
				t.Fatalf("after the complete list of %s the catalogue still needs %q", kind, ack.Need)
			}
		}
	}
}

// same compares the catalogue's view of the host with the mirror.
func (a *fakeAgent) same(t testing.TB, m *Manager) {
	t.Helper()
	got := map[plugin.Key]wire.Resource{}
	m.mu.RLock()
	defer m.mu.RUnlock()
	h := m.hosts[a.p.Host]
	count, size := 0, 0
	for _, l := range h.lists {
		var d wire.Digest
		for i := range l.entries {
			r := l.entries[i].resource(l.kind)
			got[r.Key] = r
			d.Add(r.Hash())
			size += l.entries[i].bytes()
			count++
			if i > 0 && l.entries[i-1].id() >= l.entries[i].id() {
				t.Fatalf("%s: %s is not sorted", l.kind, r.ID)
			}
		}
		if d != l.digest {
			t.Fatalf("%s: digest %v, want %v", l.kind, l.digest, d)
		}
	}
	if count != h.count || size != h.size {
		t.Fatalf("host counts %d resources of %d bytes, has %d of %d", h.count, h.size, count, size)
	}
	if len(got) != len(a.mirror) {
		t.Fatalf("catalogue has %d resources, host %d", len(got), len(a.mirror))
	}
	for k, r := range a.mirror {
		if g := got[k]; g.Hash() != r.Hash() {
			t.Fatalf("%v: catalogue has %s, host %s", k, g.Spec, r.Spec)
		}
	}
}

func newManager(t testing.TB, lim Limits) *Manager {
	t.Helper()
	m, err := New(t.Context(), Config{Limits: lim})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestHelloAsksForWhatDiffers(t *testing.T) {
	m := newManager(t, Limits{})
	a := newAgent(1)
	for i := range 30 {
		r := vm(i, fmt.Sprint("vm", i), inventory.VMRunning)
		a.mirror[r.Key] = r
	}
	a.connect(t, m)
	a.same(t, m)

	a.p.Session++
	m.Connected(a.p)
	w, err := m.Hello(a.p, a.hello())
	if err != nil || len(w.Need) != 0 {
		t.Fatalf("hello of an unchanged host: need %q, %v", w.Need, err)
	}
}

func TestReportsAreRefusedWhole(t *testing.T) {
	good := vm(1, "web", inventory.VMRunning)
	bad := good
	bad.ID = ""
	long := good
	long.Source = string(make([]byte, 300))
	broken := good
	broken.Spec = json.RawMessage(`{"state":`)
	for name, tc := range map[string]struct {
		limits Limits
		change func(*wire.Report)
		status int
	}{
		"no id":            {Limits{}, func(r *wire.Report) { r.Upserts = append(r.Upserts, bad) }, 422},
		"long source":      {Limits{}, func(r *wire.Report) { r.Upserts = append(r.Upserts, long) }, 422},
		"broken spec":      {Limits{}, func(r *wire.Report) { r.Upserts = append(r.Upserts, broken) }, 422},
		"too many":         {Limits{Resources: 1}, func(r *wire.Report) { r.Upserts = append(r.Upserts, vm(2, "b", "")) }, 413},
		"too large":        {Limits{Bytes: 100}, func(r *wire.Report) {}, 413},
		"too many kinds":   {Limits{Kinds: 1}, func(r *wire.Report) { v := vm(2, "b", ""); v.Kind = "x"; r.Upserts = append(r.Upserts, v) }, 413},
		"another epoch":    {Limits{}, func(r *wire.Report) { r.Epoch = 7 }, 409},
		"full with others": {Limits{}, func(r *wire.Report) { r.Full, r.Begin, r.End = "x", true, true }, 422},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, tc.limits)
			a := newAgent(1)
			a.connect(t, m)
			r := &wire.Report{Epoch: 1, Seq: a.seq + 1, Upserts: []wire.Resource{good}}
			tc.change(r)
			_, err := m.Report(a.p, r)
			if statusOf(err) != tc.status {
				t.Fatalf("got %v, want status %d", err, tc.status)
			}
			a.same(t, m) // still empty
		})
	}
}

func TestOnlyTheNewestSessionSpeaks(t *testing.T) {
	m := newManager(t, Limits{})
	old := newAgent(1)
	old.connect(t, m)
	young := newAgent(1)
	young.p.Session = 2
	m.Connected(young.p)
	if _, err := m.Report(old.p, &wire.Report{Epoch: 1, Seq: 9}); statusOf(err) != http.StatusConflict {
		t.Fatalf("the replaced session may still report: %v", err)
	}
	if _, err := m.Report(young.p, &wire.Report{Epoch: 1, Seq: 9}); statusOf(err) != http.StatusConflict {
		t.Fatalf("a report is taken before hello: %v", err)
	}
	m.Disconnected(old.p.Host, old.p.Session, "replaced by a newer session")
	if v, _ := m.Host(hostID(1)); !v.Connected {
		t.Fatal("the end of the old session disconnected the host")
	}
	m.Disconnected(young.p.Host, young.p.Session, "timeout")
	if v, _ := m.Host(hostID(1)); v.Connected || v.Reason != "timeout" {
		t.Fatalf("host after its session ended: %+v", v)
	}
}

func TestHostsDoNotTouchEachOther(t *testing.T) {
	m := newManager(t, Limits{})
	a, b := newAgent(1), newAgent(2)
	r := vm(1, "mine", inventory.VMRunning)
	a.mirror[r.Key] = r
	a.connect(t, m)
	b.connect(t, m)
	if _, err := m.Report(b.p, &wire.Report{Epoch: 1, Seq: 1, Deletes: []plugin.Key{r.Key}}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Report(Peer{Host: a.p.Host, Session: 99}, &wire.Report{Epoch: 1, Seq: 2, Deletes: []plugin.Key{r.Key}}); err == nil {
		t.Fatal("a session that is not the host's may report for it")
	}
	a.same(t, m)
	b.same(t, m)
}

func TestAPartWithoutBeginningAsksAgain(t *testing.T) {
	m := newManager(t, Limits{})
	a := newAgent(1)
	a.connect(t, m)
	ack, err := m.Report(a.p, &wire.Report{Epoch: 1, Seq: 5, Full: inventory.KindVM, End: true, Upserts: []wire.Resource{vm(1, "a", "")}})
	if err != nil || !slices.Equal(ack.Need, []string{inventory.KindVM}) {
		t.Fatalf("need %q, %v", ack.Need, err)
	}
	a.same(t, m)
}

func TestStaleness(t *testing.T) {
	m := newManager(t, Limits{})
	a := newAgent(1)
	r := vm(1, "web", inventory.VMRunning)
	a.mirror[r.Key] = r
	a.connect(t, m)
	why := func() string {
		t.Helper()
		v, err := m.Get(a.p.Host, r.Key)
		if err != nil {
			t.Fatal(err)
		}
		if v.Stale != (v.StaleReason != "") || v.Stale == v.StaleSince.IsZero() {
			t.Fatalf("stale %v since %v because %q", v.Stale, v.StaleSince, v.StaleReason)
		}
		return v.StaleReason
	}
	if got := why(); got != "" {
		t.Fatalf("fresh resource is stale: %s", got)
	}
	a.seq++
	a.status[0].State, a.status[0].Reason = "failed", "libvirtd does not answer"
	if _, err := m.Report(a.p, &wire.Report{Epoch: 1, Seq: a.seq, Sources: a.status}); err != nil {
		t.Fatal(err)
	}
	if got := why(); got != "module libvirt is failed: libvirtd does not answer" {
		t.Fatal(got)
	}
	m.Disconnected(a.p.Host, a.p.Session, "timeout")
	if got := why(); got != "host is disconnected: timeout" {
		t.Fatal(got)
	}
	a.p.Session++
	m.Connected(a.p)
	if got := why(); got != "host has connected but not yet reported" {
		t.Fatal(got)
	}
	hello := a.hello()
	hello.Sources = []wire.SourceStatus{}
	if _, err := m.Hello(a.p, hello); err != nil {
		t.Fatal(err)
	}
	if got := why(); got != "the agent has no module libvirt any more" {
		t.Fatal(got)
	}
	hello.Sources = []wire.SourceStatus{{Name: "libvirt", State: "ok"}}
	hello.Digests = nil
	if _, err := m.Hello(a.p, hello); err != nil {
		t.Fatal(err)
	}
	if got := why(); got != "not listed yet since the agent started" {
		t.Fatal(got)
	}
}

func TestPagesGoOnBehindTheirLast(t *testing.T) {
	m := newManager(t, Limits{})
	want := 0
	for h := range 5 {
		a := newAgent(h)
		for i := range 11 {
			r := vm(i, fmt.Sprintf("vm-%d", i), inventory.VMRunning)
			a.mirror[r.Key] = r
			want++
		}
		a.connect(t, m)
	}
	q := &Query{Kind: inventory.KindVM, Limit: 4}
	seen := map[string]bool{}
	for {
		p, err := m.List(q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Items {
			seen[string(r.Host)+r.ID] = true
		}
		if len(seen) == 8 { // remove what the token stands behind
			last := p.Items[len(p.Items)-1]
			if _, err := m.Report(peer(0, 1), &wire.Report{Epoch: 1, Seq: 1000, Deletes: []plugin.Key{last.Key}}); err != nil {
				t.Fatal(err)
			}
		}
		if q.Continue = p.Continue; q.Continue == "" {
			break
		}
	}
	if len(seen) != want {
		t.Fatalf("pages show %d resources, want %d", len(seen), want)
	}
	one, err := m.List(&Query{Kind: inventory.KindVM, Host: hostID(3), Limit: 100})
	if err != nil || len(one.Items) != 11 {
		t.Fatalf("list of one host: %d, %v", len(one.Items), err)
	}
}

func TestAStateIsFoundWhereItCameInPlace(t *testing.T) {
	m := newManager(t, Limits{})
	a := newAgent(1)
	for i := range 3 {
		r := vm(i, fmt.Sprint("vm", i), inventory.VMRunning)
		a.mirror[r.Key] = r
	}
	a.connect(t, m)
	found := func(state string) int {
		page, err := m.List(&Query{Kind: inventory.KindVM, State: state})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Items)
	}
	if n := found(inventory.VMCrashed); n != 0 {
		t.Fatalf("%d VMs have crashed already", n)
	}
	a.seq++
	if _, err := m.Report(a.p, &wire.Report{Epoch: a.epoch, Seq: a.seq, Upserts: []wire.Resource{vm(1, "vm1", inventory.VMCrashed)}}); err != nil {
		t.Fatal(err)
	}
	if crashed, running := found(inventory.VMCrashed), found(inventory.VMRunning); crashed != 1 || running != 2 {
		t.Errorf("%d crashed and %d running, want 1 and 2", crashed, running)
	}
}

func TestGlob(t *testing.T) {
	for _, tc := range []struct {
		glob, s string
		want    bool
	}{
		{"*", "", true},
		{"web*", "web-1", true},
		{"web*", "aweb", false},
		{"*-1", "web-1", true},
		{"w?b", "web", true},
		{"w?b", "wb", false},
		{"*a*b", "xaybzb", true},
		{"*a*b", "xaybz", false},
		{"a**", "a", true},
		{"?", "", false},
		{"a?c*e?g", "abcdefg", true},
		{"*b?d*", "abcde", true},
		{"ab*ba", "aba", false},
		{"*", "x", true},
	} {
		if got := newGlob(tc.glob).match(tc.s); got != tc.want {
			t.Errorf("%q matches %q: %v", tc.glob, tc.s, got)
		}
	}
}

// What a host does in any order, repeated, cut off and restarted: the
// catalogue is its mirror once it has said hello and sent what was asked.
func TestCatalogueFollowsTheHost(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	m := newManager(t, Limits{})
	a := newAgent(1)
	a.connect(t, m)
	var past []*wire.Report
	for range 2000 {
		switch n := rnd.IntN(20); {
		case n == 0: // reconnect
			a.p.Session++
			a.connect(t, m)
		case n == 1: // the agent starts again
			m.Disconnected(a.p.Host, a.p.Session, "timeout")
			a.p.Session++
			a.epoch, a.seq, past = a.epoch+1, 0, nil
			a.connect(t, m)
		case n == 2 && len(past) > 0: // a report comes twice
			if _, err := m.Report(a.p, past[rnd.IntN(len(past))]); err != nil {
				t.Fatal(err)
			}
		case n == 3: // a part of a list comes, and no more
			if parts := a.full(inventory.KindVM, 3); len(parts) > 1 {
				if _, err := m.Report(a.p, parts[0]); err != nil {
					t.Fatal(err)
				}
				past = append(past, parts[0])
			}
		default:
			r := &wire.Report{Epoch: a.epoch}
			for range rnd.IntN(4) {
				v := vm(rnd.IntN(40), fmt.Sprint("vm", rnd.IntN(10)), inventory.VMRunning)
				if rnd.IntN(3) == 0 {
					delete(a.mirror, v.Key)
					r.Deletes = append(r.Deletes, v.Key)
					r.Upserts = slices.DeleteFunc(r.Upserts, func(u wire.Resource) bool { return u.Key == v.Key })
				} else {
					a.mirror[v.Key] = v
					r.Upserts = append(r.Upserts, v)
					r.Deletes = slices.DeleteFunc(r.Deletes, func(k plugin.Key) bool { return k == v.Key })
				}
			}
			if rnd.IntN(10) == 0 {
				continue // lost: the next digest tells
			}
			a.seq++
			r.Seq, r.Digests = a.seq, a.digests()
			ack, err := m.Report(a.p, r)
			if err != nil {
				t.Fatal(err)
			}
			past = append(past, r)
			a.send(t, m, ack.Need)
			a.same(t, m)
		}
	}
}
