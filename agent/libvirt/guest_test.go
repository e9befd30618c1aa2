package libvirt

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/internal/testlibvirt"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

var long = flag.Bool("long", false, "run tests that take more than some seconds with the usual timing")

// quick is the usual timing, shortened unless -long is given.
func quick(c *Conn) {
	if !*long {
		c.time = timing{pingEvery: 100 * time.Millisecond, pingLimit: 400 * time.Millisecond, again: []time.Duration{time.Second}}
	}
}

// A view does what the agent does with hints: it keeps the current VMs.
type view struct {
	src *VMs

	mu    sync.Mutex
	vms   map[string]inventory.VM // by name
	ids   map[string]string       // name by id
	lists int
	err   error // why watching ended
}

// follow watches until the test ends, or watching breaks.
func follow(t *testing.T, c *Conn) *view {
	t.Helper()
	v := &view{src: c.VMs(), vms: make(map[string]inventory.VM), ids: make(map[string]string)}
	ctx, cancel := context.WithCancel(context.Background())
	hints := make(chan []plugin.Key, 1000)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(hints)
		err := v.src.Watch(ctx, func(keys ...plugin.Key) { hints <- keys })
		v.mu.Lock()
		v.err = err
		v.mu.Unlock()
	})
	wg.Go(func() {
		for keys := range hints {
			v.take(ctx, keys)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	until(t, "the first list", 20*time.Second, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.lists > 0
	})
	return v
}

func (v *view) take(ctx context.Context, keys []plugin.Key) {
	if len(keys) == 0 {
		vms, ids := make(map[string]inventory.VM), make(map[string]string)
		err := v.src.List(ctx, func(r plugin.Resource) {
			vms[r.Name], ids[r.ID] = r.Spec.(inventory.VM), r.Name
		})
		v.mu.Lock()
		defer v.mu.Unlock()
		if err == nil {
			v.vms, v.ids = vms, ids
			v.lists++
		}
		return
	}
	for _, k := range keys {
		r, found, err := v.src.Get(ctx, k)
		v.mu.Lock()
		switch {
		case err != nil:
		case found:
			v.vms[r.Name], v.ids[r.ID] = r.Spec.(inventory.VM), r.Name
		default:
			delete(v.vms, v.ids[k.ID])
		}
		v.mu.Unlock()
	}
}

func (v *view) get(name string) (inventory.VM, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	vm, ok := v.vms[name]
	return vm, ok
}

func (v *view) broken() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// becomes waits until a VM is in a state, for a reason unless that is "".
func (v *view) becomes(t *testing.T, name, state, reason string) {
	t.Helper()
	start := time.Now()
	until(t, name+" to be "+state+" "+reason, 15*time.Second, func() bool {
		vm, _ := v.get(name)
		return vm.State == state && (reason == "" || vm.StateReason == reason)
	})
	t.Logf("%s %s %s: %v after the command ended", name, state, reason, time.Since(start).Round(time.Millisecond))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchFollowsARealGuest(t *testing.T) {
	d := testlibvirt.Start(t)
	v := follow(t, dial(t, d.Socket(), "qemu:///session"))
	must(t, d.Define(testlibvirt.GuestXML("a", "")))
	v.becomes(t, "a", inventory.VMShutOff, "")
	must(t, d.Start("a"))
	v.becomes(t, "a", inventory.VMRunning, "booted")
	if vm, _ := v.get("a"); vm.Hypervisor != "qemu" || vm.MemoryBytes != 16<<20 || vm.VCPUs != 1 || !vm.Persistent || vm.Autostart {
		t.Errorf("VM %+v, want a persistent one of QEMU with one CPU and 16 MiB", vm)
	}
	must(t, d.Suspend("a"))
	v.becomes(t, "a", inventory.VMPaused, "user")
	must(t, d.Resume("a"))
	v.becomes(t, "a", inventory.VMRunning, "unpaused")
	_, err := d.Virsh("desc", "a", "--title", "--live", "--config", "the first")
	must(t, err)
	until(t, "the title", 5*time.Second, func() bool { vm, _ := v.get("a"); return vm.Title == "the first" })
	must(t, d.KillGuest("a"))
	v.becomes(t, "a", inventory.VMShutOff, "crashed")
	must(t, d.Undefine("a"))
	until(t, "the VM to be gone", 5*time.Second, func() bool { _, ok := v.get("a"); return !ok })
}

func TestHungDaemonIsReported(t *testing.T) {
	d := testlibvirt.Start(t)
	c := New(Options{Socket: d.Socket(), URI: "test:///default"})
	quick(c)
	v := follow(t, c)
	must(t, d.Stop())
	start := time.Now()
	until(t, "the watch to break", 15*time.Second, func() bool { return v.broken() != nil })
	t.Logf("reported after %v: %v", time.Since(start).Round(time.Millisecond), v.broken())
	if !strings.Contains(v.broken().Error(), "hangs") {
		t.Errorf("error %q, want one that says that libvirt hangs", v.broken())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.VMs().List(ctx, func(plugin.Resource) {}); err == nil {
		t.Error("List of a hung daemon succeeds, want an error")
	}
	start = time.Now()
	c.Close()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Close took %v while the daemon hangs, want at most 2 s", took)
	}
	must(t, d.Cont())
}

func TestKilledDaemonIsReportedAtOnceAndMetAgain(t *testing.T) {
	d := testlibvirt.Start(t)
	c := dial(t, d.Socket(), "test:///default")
	v := follow(t, c)
	start := time.Now()
	d.Kill()
	until(t, "the watch to break", time.Second, func() bool { return v.broken() != nil })
	t.Logf("reported after %v: %v", time.Since(start).Round(time.Millisecond), v.broken())
	if strings.Contains(v.broken().Error(), "invalid argument") {
		t.Errorf("error %q does not say what happened", v.broken())
	}
	if err := c.VMs().List(t.Context(), func(plugin.Resource) {}); err == nil {
		t.Error("List without a daemon succeeds, want an error and never an empty list")
	}
	must(t, d.Restart())
	if len(list(t, c.VMs())) != 1 {
		t.Error("the VM of the test driver is not there after the restart")
	}
}

func TestGuestThatDiesAroundARestartOfTheDaemonIsNoticed(t *testing.T) {
	for name, when := range map[string]struct{ before bool }{"while down": {true}, "just after": {false}} {
		t.Run(name, func(t *testing.T) {
			d := testlibvirt.Start(t)
			c := dial(t, d.Socket(), "qemu:///session")
			quick(c)
			must(t, d.Define(testlibvirt.GuestXML("a", "")))
			must(t, d.Start("a"))
			follow(t, c).becomes(t, "a", inventory.VMRunning, "")
			d.Kill()
			if when.before {
				must(t, d.KillGuest("a"))
			}
			must(t, d.Restart())
			v := follow(t, c)
			if !when.before {
				must(t, d.KillGuest("a"))
			}
			v.becomes(t, "a", inventory.VMShutOff, "")
		})
	}
}

func TestHungGuestHoldsUpNobodyElse(t *testing.T) {
	d := testlibvirt.Start(t)
	c := dial(t, d.Socket(), "qemu:///session")
	for _, name := range []string{"a", "b"} {
		must(t, d.Define(testlibvirt.GuestXML(name, "")))
		must(t, d.Start(name))
	}
	_, err := c.Stats(t.Context()) // libvirt's first takes 2 s
	must(t, err)
	pid, err := d.GuestPID("a")
	must(t, err)
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	stats := func(limit time.Duration) (int, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		s, err := c.Stats(ctx)
		told := 0
		for _, vm := range s {
			if vm.State == inventory.VMRunning && vm.VCPUs == 1 {
				told++
			}
		}
		return told, err
	}
	if _, err := stats(300 * time.Millisecond); err == nil {
		t.Error("Stats succeeds while a guest begins to hang, want an error")
	}
	if told, err := stats(5 * time.Second); err != nil || told == 0 {
		t.Errorf("Stats of a hung guest and another tells of %d, %v, want the other", told, err)
	}
	start := time.Now()
	all := list(t, c.VMs())
	for _, name := range []string{"a", "b"} {
		if r, ok := all["compute.vm "+name]; !ok || r.Spec.(inventory.VM).State != inventory.VMRunning {
			t.Errorf("list %v, want %s running", all, name)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("List took %v with a hung guest, want at most 1 s", took)
	}
	must(t, syscall.Kill(pid, syscall.SIGCONT))
	until(t, "statistics of both", 10*time.Second, func() bool {
		told, err := stats(time.Second)
		return err == nil && told == 2
	})
}

// A pool whose server hangs is like a daemon that does not answer about it.
func TestHungStorageIsAskedOnceAndHoldsUpNobodyElse(t *testing.T) {
	d := testlibvirt.Start(t)
	c := dial(t, d.Socket(), "test:///default")
	list(t, c.VMs())
	list(t, c.Storage())
	vms, _, err := c.links[roleVMs].live()
	must(t, err)
	must(t, d.Stop())
	hung := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return c.Storage().List(ctx, func(plugin.Resource) {})
	}
	if err := hung(); err == nil || errors.Is(err, errBusy) {
		t.Errorf("List of hung storage = %v, want that there is no answer", err)
	}
	if err := hung(); !errors.Is(err, errBusy) {
		t.Errorf("List = %v while the last is not answered, want errBusy", err)
	}
	if vms.isDown() {
		t.Error("the session of the VMs ended with the list of storage")
	}
	must(t, d.Cont())
	until(t, "storage again", 5*time.Second, func() bool {
		return c.Storage().List(t.Context(), func(plugin.Resource) {}) == nil
	})
}

func TestDisksHaveTheirSizes(t *testing.T) {
	d := testlibvirt.Start(t)
	image := filepath.Join(d.Dir(), "a.img")
	must(t, os.WriteFile(image, make([]byte, 128<<10), 0o666))
	must(t, os.Truncate(image, 8<<20))
	must(t, os.Chmod(image, 0o666))
	xml := strings.Replace(testlibvirt.GuestXML("a", ""), "<devices>", "<devices><disk type='file' device='disk'>"+
		"<driver name='qemu' type='raw'/><source file='"+image+"'/><target dev='vda' bus='virtio'/></disk>", 1)
	must(t, d.Define(xml))
	c := dial(t, d.Socket(), "qemu:///session")
	check := func(state string) {
		t.Helper()
		vm := list(t, c.VMs())["compute.vm a"].Spec.(inventory.VM)
		if vm.State != state || len(vm.Disks) != 1 || vm.Disks[0].CapacityBytes != 8<<20 || vm.Disks[0].AllocationBytes == 0 {
			t.Errorf("%s VM has disks %+v, want one of 8 MiB with an allocation", vm.State, vm.Disks)
		}
	}
	check(inventory.VMShutOff)
	must(t, d.Start("a"))
	check(inventory.VMRunning)
	s, err := c.Stats(t.Context())
	must(t, err)
	if len(s) != 1 || len(s[0].Disks) != 1 || s[0].Disks[0].Target != "vda" {
		t.Errorf("statistics %+v, want those of vda", s)
	}
}

// While the daemon dies and comes back, a list is right or an error.
func TestNoListIsShort(t *testing.T) {
	d := testlibvirt.Start(t)
	for _, name := range []string{"a", "b", "c"} {
		must(t, d.Define(testlibvirt.GuestXML(name, "")))
	}
	must(t, d.Start("a"))
	c := dial(t, d.Socket(), "qemu:///session")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var good, bad atomic.Int64
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				found := make(map[string]string)
				err := c.VMs().List(ctx, func(r plugin.Resource) { found[r.Name] = r.Spec.(inventory.VM).State })
				if err != nil {
					bad.Add(1)
					continue
				}
				good.Add(1)
				want := map[string]string{"a": inventory.VMRunning, "b": inventory.VMShutOff, "c": inventory.VMShutOff}
				if diff := cmp.Diff(want, found); diff != "" {
					t.Errorf("a list without an error is not right (-want +got):\n%s", diff)
				}
			}
		})
	}
	restarts := 5
	if *long {
		restarts = 200
	}
	for range restarts {
		before := good.Load()
		until(t, "some lists", 20*time.Second, func() bool { return good.Load() > before+10 })
		must(t, d.Restart())
	}
	cancel()
	wg.Wait()
	t.Logf("%d restarts: %d good lists, %d errors", restarts, good.Load(), bad.Load())
}
