package libvirt

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/testlibvirt"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

func dial(t testing.TB, socket, uri string) *Conn {
	t.Helper()
	c := New(Options{Socket: socket, URI: uri})
	t.Cleanup(func() { c.Close() })
	return c
}

func list(t testing.TB, s plugin.Source) map[string]plugin.Resource {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	all := make(map[string]plugin.Resource)
	if err := s.List(ctx, func(r plugin.Resource) { all[r.Kind+" "+r.Name] = r }); err != nil {
		t.Fatalf("List: %v", err)
	}
	return all
}

func TestConformance(t *testing.T) {
	d := testlibvirt.Start(t)
	withVolume(t, d)
	for name, test := range map[string]struct {
		source func(*Conn) plugin.Source
		kinds  []string
	}{
		"vms":      {func(c *Conn) plugin.Source { return c.VMs() }, []string{inventory.KindVM}},
		"networks": {func(c *Conn) plugin.Source { return c.Networks() }, []string{inventory.KindNetwork}},
		"storage":  {func(c *Conn) plugin.Source { return c.Storage() }, []string{inventory.KindPool, inventory.KindVolume}},
	} {
		t.Run(name, func(t *testing.T) {
			plugintest.Run(t, plugintest.Options{
				Kinds: test.kinds,
				New:   func(t *testing.T) plugin.Source { return test.source(dial(t, d.Socket(), "test:///default")) },
			})
		})
	}
}

// withVolume makes a volume, and keeps the test driver, whose state lives as
// long as somebody is connected to it.
func withVolume(t *testing.T, d *testlibvirt.Daemon) {
	t.Helper()
	list(t, dial(t, d.Socket(), "test:///default").VMs())
	if _, err := d.VirshTest("vol-create-as", "default-pool", "vol1", "1M"); err != nil {
		t.Fatal(err)
	}
}

func TestVolumesBelongToTheirPool(t *testing.T) {
	d := testlibvirt.Start(t)
	withVolume(t, d)
	all := list(t, dial(t, d.Socket(), "test:///default").Storage())
	pool, volume := all["storage.pool default-pool"], all["storage.volume vol1"]
	if volume.Parent != pool.Key || pool.ID == "" {
		t.Errorf("parent of the volume is %v, want %v", volume.Parent, pool.Key)
	}
	if p := pool.Spec.(inventory.Pool); p.State != "running" || p.CapacityBytes == 0 || p.Type != "dir" {
		t.Errorf("pool %+v, want a running dir pool with a capacity", p)
	}
	if v := volume.Spec.(inventory.Volume); v.CapacityBytes != 1<<20 || v.Pool != "default-pool" {
		t.Errorf("volume %+v, want 1 MiB in default-pool", v)
	}
}

func TestAbsentLibvirtIsNoFault(t *testing.T) {
	err := noSocket(Options{RunDir: "/run/libvirt"}, nil)
	if !errors.Is(err, ErrAbsent) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want ErrAbsent", err)
	}
}

func TestStoppedLibvirtIsAFaultWithItsRemedy(t *testing.T) {
	err := noSocket(Options{RunDir: "/run/libvirt"}, []string{"/proc/self/exe"})
	if errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "systemctl start") {
		t.Errorf("error %v, want one that says how to start libvirt", err)
	}
}

func TestFindTargets(t *testing.T) {
	for name, test := range map[string]struct {
		sockets []string
		role    role
		want    string // first socket and URI, or the error
		serves  role
	}{
		"monolithic":               {[]string{"libvirt-sock", "libvirt-sock-ro"}, roleVMs, "libvirt-sock-ro qemu:///system", roleVMs},
		"monolithic, networks":     {[]string{"libvirt-sock", "libvirt-sock-ro"}, roleNetworks, "libvirt-sock-ro qemu:///system", roleVMs},
		"monolithic, storage":      {[]string{"libvirt-sock", "libvirt-sock-ro"}, roleStorage, "libvirt-sock-ro qemu:///system", roleStorage},
		"writable only":            {[]string{"libvirt-sock"}, roleVMs, "libvirt-sock qemu:///system", roleVMs},
		"modular":                  {[]string{"libvirt-sock-ro", "virtqemud-sock-ro"}, roleVMs, "virtqemud-sock-ro qemu:///system", roleVMs},
		"modular, networks":        {[]string{"virtqemud-sock-ro", "virtnetworkd-sock-ro"}, roleNetworks, "virtnetworkd-sock-ro network:///system", roleNetworks},
		"modular, storage":         {[]string{"virtqemud-sock-ro", "virtstoraged-sock"}, roleStorage, "virtstoraged-sock storage:///system", roleStorage},
		"modular without networks": {[]string{"virtqemud-sock-ro"}, roleNetworks, "", roleNetworks},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, s := range test.sockets {
				if err := os.WriteFile(filepath.Join(dir, s), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			found, serves, err := findTargets(Options{RunDir: dir, URI: "qemu:///system"}, test.role)
			got := ""
			if err == nil {
				got = filepath.Base(found[0].socket) + " " + found[0].uri
			} else if !errors.Is(err, ErrAbsent) {
				t.Fatal(err)
			}
			if got != test.want || serves != test.serves {
				t.Errorf("found %q for %s, want %q for %s", got, serves, test.want, test.serves)
			}
		})
	}
}

func TestSessionsOfOneConnectionPingTogether(t *testing.T) {
	const every = 4 * time.Second
	for age, want := range map[time.Duration]time.Duration{
		0:                        every, // never at once: who has just connected has had an answer
		time.Second:              3 * time.Second,
		every - 1:                1,
		every:                    every,
		every + 10*time.Second:   2 * time.Second,
		1000*every + time.Second: 3 * time.Second,
	} {
		if got := untilPing(age, every); got != want {
			t.Errorf("%v after the beginning the next ping is in %v, want %v", age, got, want)
		}
	}
}

// A far side that speaks nonsense must not take the program down.
func TestBadMessageEndsTheConnection(t *testing.T) {
	for name, message := range map[string][]byte{
		"short": {0, 0, 0, 5, 1},
		"long":  {0xff, 0xff, 0xff, 0xff, 1},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				far, err := l.Accept()
				if err == nil {
					far.Write(message)
				}
			}()
			err = dial(t, path, "test:///default").VMs().List(t.Context(), func(plugin.Resource) {})
			if err == nil || !strings.Contains(err.Error(), "message of") {
				t.Errorf("List = %v, want an error about the message", err)
			}
		})
	}
}

func TestCloseEndsAllGoroutines(t *testing.T) {
	d := testlibvirt.Start(t)
	before := runtime.NumGoroutine()
	c := dial(t, d.Socket(), "test:///default")
	list(t, c.VMs())
	during := runtime.NumGoroutine()
	c.Close()
	until(t, "the goroutines to end", 5*time.Second, func() bool { return runtime.NumGoroutine() <= before })
	t.Logf("%d goroutines while connected", during-before)
	if err := c.VMs().List(t.Context(), func(plugin.Resource) {}); err == nil {
		t.Error("List after Close succeeds, want an error")
	}
}

// until waits for a condition.
func until(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain for %s", limit, what)
		}
	}
}
