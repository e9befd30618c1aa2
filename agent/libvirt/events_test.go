package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/internal/testlibvirt"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

func TestWatcherNamesWhatItCanHoldAndElseAsksForAList(t *testing.T) {
	w := &watcher{wake: make(chan struct{}, 1), touched: make(map[rpc.UUID]struct{})}
	w.add(rpc.UUID{1})
	w.add(rpc.UUID{1})
	want := []plugin.Key{{Kind: inventory.KindVM, ID: uuidText(rpc.UUID{1})}}
	if diff := cmp.Diff(want, w.take()); diff != "" {
		t.Errorf("one VM named twice (-want +got):\n%s", diff)
	}
	for i := range maxTouched + 1 {
		w.add(rpc.UUID{byte(i), byte(i >> 8)})
	}
	if keys := w.take(); keys != nil {
		t.Errorf("names %d VMs of too many, want none, which asks for a list", len(keys))
	}
	w.add(rpc.UUID{2})
	if keys := w.take(); len(keys) != 1 {
		t.Errorf("names %d VMs after the list, want the one of the event", len(keys))
	}
}

func TestReadingThatBeganBeforeAnEventLeavesTheDomainDirty(t *testing.T) {
	v := newVMs(New(Options{}))
	id, s := rpc.UUID{1}, &session{}
	_, first := v.take(id)
	v.store(id, &domain{session: s, ticket: first})
	_, second := v.take(id)
	v.touch(id)
	if d := v.store(id, &domain{session: s, ticket: second}); !d.dirty() {
		t.Error("a definition read before the event counts as good")
	}
	_, third := v.take(id)
	if d := v.store(id, &domain{session: s, ticket: third}); d.dirty() {
		t.Error("a definition read after the event counts as out of date")
	}
	if d := v.store(id, &domain{session: s, ticket: second}); d.ticket != third {
		t.Error("an older reading replaces a newer one")
	}
}

func TestEveryEventNamesItsDomain(t *testing.T) {
	d := rpc.Domain{Name: "a"}
	for _, e := range []any{
		&rpc.DomainEventCallbackLifecycleMsg{Msg: rpc.DomainEventLifecycleMsg{Dom: d}},
		&rpc.DomainEventCallbackRebootMsg{Msg: rpc.DomainEventRebootMsg{Dom: d}},
		&rpc.DomainEventCallbackDeviceAddedMsg{Dom: d},
		&rpc.DomainEventCallbackDeviceRemovedMsg{Msg: rpc.DomainEventDeviceRemovedMsg{Dom: d}},
		&rpc.DomainEventCallbackMetadataChangeMsg{Dom: d},
		&rpc.DomainEventCallbackBalloonChangeMsg{Msg: rpc.DomainEventBalloonChangeMsg{Dom: d}},
		&rpc.DomainEventCallbackBlockJobMsg{Msg: rpc.DomainEventBlockJobMsg{Dom: d}},
		&rpc.DomainEventCallbackDiskChangeMsg{Msg: rpc.DomainEventDiskChangeMsg{Dom: d}},
		&rpc.DomainEventCallbackTrayChangeMsg{Msg: rpc.DomainEventTrayChangeMsg{Dom: d}},
	} {
		if got, ok := domainOf(e); !ok || got != d {
			t.Errorf("%T names %v, %v", e, got, ok)
		}
	}
}

func TestUsage(t *testing.T) {
	u := func(field string, v any) rpc.TypedParam {
		return rpc.TypedParam{Field: field, Value: rpc.TypedParamValue{I: v}}
	}
	got := usage(rpc.DomainStatsRecord{Dom: rpc.Domain{Name: "a"}, Params: []rpc.TypedParam{
		u("state.state", int32(1)), u("cpu.time", uint64(5)), u("vcpu.current", uint32(2)),
		u("balloon.current", uint64(1024)), u("balloon.rss", uint64(2048)),
		u("block.count", uint32(2)), u("block.1.name", "vdb"), u("block.1.wr.bytes", uint64(7)), u("block.1.wr.reqs", int64(1)),
		u("block.0.name", "vda"), u("block.0.rd.bytes", uint64(9)), u("block.0.rd.reqs", uint64(3)), u("block.0.rd.bytes", "not a number"),
		u("net.0.name", "vnet0"), u("net.0.rx.bytes", uint64(1)), u("net.0.rx.pkts", uint64(2)),
		u("net.0.tx.bytes", uint64(3)), u("net.0.tx.pkts", uint64(4)), u("block.x.name", "?"), u("block.3", "?"),
	}})
	want := inventory.VMStats{
		ID: uuidText(rpc.UUID{}), Name: "a", State: inventory.VMRunning, CPUTimeNanoseconds: 5, VCPUs: 2,
		MemoryBytes: 1 << 20, ResidentBytes: 2 << 20,
		Disks: []inventory.DiskStats{{Target: "vda", ReadRequests: 3}, {Target: "vdb", WriteBytes: 7, WriteRequests: 1}},
		NICs:  []inventory.NICStats{{Target: "vnet0", ReceiveBytes: 1, ReceivePackets: 2, TransmitBytes: 3, TransmitPackets: 4}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSmallGrowthOfADiskIsNoChange(t *testing.T) {
	old := []diskSize{{"vda", 10 << 30, 1 << 30}}
	for name, test := range map[string]struct{ fresh, want diskSize }{
		"little":  {diskSize{"vda", 10 << 30, 1<<30 + 4096}, diskSize{"vda", 10 << 30, 1 << 30}},
		"much":    {diskSize{"vda", 10 << 30, 2 << 30}, diskSize{"vda", 10 << 30, 2 << 30}},
		"resized": {diskSize{"vda", 20 << 30, 1<<30 + 4096}, diskSize{"vda", 20 << 30, 1<<30 + 4096}},
		"other":   {diskSize{"vdb", 10 << 30, 1<<30 + 4096}, diskSize{"vdb", 10 << 30, 1<<30 + 4096}},
	} {
		if got := steady(old, []diskSize{test.fresh}); got[0] != test.want {
			t.Errorf("%s: %+v, want %+v", name, got[0], test.want)
		}
	}
}

func TestShownDisksAreReplacedNotChanged(t *testing.T) {
	plain := []inventory.Disk{{Target: "vda"}, {Target: "vdb"}}
	full := []inventory.Disk{{Target: "vda", CapacityBytes: 2, AllocationBytes: 1}, {Target: "vdb"}}
	for name, test := range map[string]struct {
		disks, want []inventory.Disk
		sizes       []diskSize
	}{
		"none known": {plain, plain, nil},
		"new":        {plain, full, []diskSize{{"vda", 2, 1}}},
		"the same":   {full, full, []diskSize{{"vda", 2, 1}}},
		"gone":       {full, plain, nil},
		"others":     {plain, plain, []diskSize{{"vdc", 2, 1}}},
	} {
		before := slices.Clone(test.disks)
		got, changed := sized(test.disks, test.sizes)
		if !slices.Equal(got, test.want) || changed != !slices.Equal(test.want, before) {
			t.Errorf("%s: %+v, changed %v, want %+v", name, got, changed, test.want)
		}
		if !slices.Equal(test.disks, before) || (&got[0] == &test.disks[0]) == changed {
			t.Errorf("%s: what was shown before is not what is kept", name)
		}
	}
}

func TestStateWords(t *testing.T) {
	for _, test := range []struct {
		state, reason int32
		word, why     string
	}{
		{1, 1, "running", "booted"},
		{3, 5, "paused", "io_error"},
		{5, 3, "shut_off", "crashed"},
		{5, 6, "shut_off", "failed"},
		{5, 99, "shut_off", ""},
		{6, 1, "crashed", "panicked"},
		{7, 0, "suspended", ""},
		{99, 1, "unknown", ""},
		{-1, -1, "unknown", ""},
	} {
		if word, why := stateWords(test.state, test.reason); word != test.word || why != test.why {
			t.Errorf("state %d, %d is %q, %q, want %q, %q", test.state, test.reason, word, why, test.word, test.why)
		}
	}
}

func TestDeviceAddedToARunningGuestIsSeen(t *testing.T) {
	d := testlibvirt.Start(t)
	v := follow(t, dial(t, d.Socket(), "qemu:///session"))
	acpi := "<features><acpi/></features><devices>" // or there is no hot-plugging
	must(t, d.Define(strings.Replace(testlibvirt.GuestXML("a", ""), "<devices>", acpi, 1)))
	must(t, d.Start("a"))
	v.becomes(t, "a", inventory.VMRunning, "")
	image := filepath.Join(d.Dir(), "b.img")
	must(t, os.WriteFile(image, make([]byte, 1<<20), 0o666))
	must(t, os.Chmod(image, 0o666))
	_, err := d.Virsh("attach-disk", "a", image, "vdb", "--live")
	must(t, err)
	until(t, "the disk", 5*time.Second, func() bool {
		vm, _ := v.get("a")
		return len(vm.Disks) == 1 && vm.Disks[0].Target == "vdb" && vm.Disks[0].Source == image
	})
}

func TestAutostartNeedsNoEvent(t *testing.T) {
	d := testlibvirt.Start(t)
	c := dial(t, d.Socket(), "qemu:///session")
	must(t, d.Define(testlibvirt.GuestXML("a", "")))
	for _, want := range []bool{false, true} {
		if want {
			_, err := d.Virsh("autostart", "a")
			must(t, err)
		}
		if vm := list(t, c.VMs())["compute.vm a"].Spec.(inventory.VM); vm.Autostart != want {
			t.Errorf("autostart is %v, want %v", vm.Autostart, want)
		}
	}
}

// Of sources that wait for a connection which fails, each gets the reason from
// one attempt.
func TestCallersShareOneAttempt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	must(t, err)
	defer l.Close()
	c := dial(t, path, "test:///default")
	far := make(chan net.Conn, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			far <- conn
		}
	}()
	errs := make(chan error, 3)
	for _, s := range []plugin.Source{c.VMs(), c.Networks(), c.VMs()} {
		go func() { errs <- s.List(context.Background(), func(plugin.Resource) {}) }()
	}
	first := <-far
	until(t, "the others to wait", 5*time.Second, func() bool { return len(c.links[roleVMs].gate) == 1 })
	first.Close()
	for range 3 {
		select {
		case err := <-errs:
			if err == nil || !strings.Contains(err.Error(), "closed the connection") {
				t.Errorf("List = %v, want the reason", err)
			}
		case conn := <-far: // came after the first had failed
			conn.Close()
			if err := <-errs; err == nil {
				t.Error("List succeeds without a daemon")
			}
		}
	}
}

func FuzzGuard(f *testing.F) {
	f.Add([]byte{0, 0, 0, 28, 1, 2, 3}, 3)
	f.Add(append(binary.BigEndian.AppendUint32(nil, 30), make([]byte, 26+28)...), 7)
	f.Fuzz(func(t *testing.T, sent []byte, step int) {
		near, far := net.Pipe()
		defer far.Close()
		go func() {
			for len(sent) > 0 {
				n := min(len(sent), max(step, 1))
				if _, err := far.Write(sent[:n]); err != nil {
					return
				}
				sent = sent[n:]
			}
			far.Close()
		}()
		var failed error
		g := &guard{Conn: near, failed: func(err error) { failed = err }}
		got, err := io.ReadAll(g)
		if failed == nil || err != nil && !errors.Is(err, failed) {
			t.Fatalf("ended with %v, reported %v", err, failed)
		}
		for len(got) >= 4 { // what came through are messages of a lawful size
			size := binary.BigEndian.Uint32(got)
			if size < minMessage || size > maxMessage {
				t.Fatalf("let a message of %d bytes through", size)
			}
			got = got[min(len(got), int(size)):]
		}
	})
}
