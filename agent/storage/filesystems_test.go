package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/internal/namespaces"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// tree writes files below a fresh folder and returns it.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	h := lvmHost{t.TempDir(), t}
	for path, text := range files {
		h.write(path, text)
	}
	return h.root
}

func filesystems(t *testing.T, f *Filesystems) map[string]inventory.Filesystem {
	t.Helper()
	all := make(map[string]inventory.Filesystem)
	err := f.List(t.Context(), func(r plugin.Resource) { all[r.ID] = r.Spec.(inventory.Filesystem) })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// answers stands for the kernel: each path has a size of its own.
func answers(path string) (capacity, error) {
	return capacity{total: uint64(len(path)) << 30, used: 1 << 20, available: 1 << 21}, nil
}

func TestAFilesystemIsListedOnce(t *testing.T) {
	root := tree(t, map[string]string{
		"proc/self/mountinfo": someMounts + `50 22 8:2 / /again ro - ext4 /dev/sda2 rw
60 22 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro
61 22 0:61 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
62 22 0:62 /@ /pool rw - btrfs /dev/mapper/vg-pool rw
63 22 0:62 /@home /pool/home rw - btrfs /dev/mapper/vg-pool rw
64 22 8:9 / /cdrom ro - iso9660 /dev/sda9 ro
`,
		"run/udev/data/b8:2":             "E:ID_FS_UUID=root-uuid\n",
		"run/udev/data/b253:0":           "E:ID_FS_UUID=pool-uuid\n",
		"sys/class/block/dm-0/dm/name":   "vg-pool\n",
		"sys/class/block/dm-0/dev":       "253:0\n",
		"sys/class/block/sda2/partition": "2\n",
	})
	got := filesystems(t, &Filesystems{Root: root, statfs: answers})
	sized := func(n int, f inventory.Filesystem) inventory.Filesystem {
		f.TotalBytes, f.UsedBytes, f.AvailableBytes = uint64(n)<<30, 1<<20, 1<<21
		return f
	}
	want := map[string]inventory.Filesystem{
		"uuid/root-uuid": sized(1, inventory.Filesystem{Source: "/dev/sda2", Type: "ext4", Mounts: []string{"/", "/again"}}),
		"dev//dev/sda3":  sized(5, inventory.Filesystem{Source: "/dev/sda3", Type: "xfs", Mounts: []string{"/home"}}),
		"uuid/pool-uuid": sized(5, inventory.Filesystem{Source: "/dev/mapper/vg-pool", Type: "btrfs", Mounts: []string{"/pool", "/pool/home"}}),
		"dev//dev/sda9":  sized(6, inventory.Filesystem{Source: "/dev/sda9", Type: "iso9660", Mounts: []string{"/cdrom"}, ReadOnly: true}),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("file systems (-want +got):\n%s", diff)
	}
}

func TestNetworkFilesystemsAreListedOnDemand(t *testing.T) {
	root := tree(t, map[string]string{"proc/self/mountinfo": someMounts})
	got, ok := filesystems(t, &Filesystems{Root: root, Network: true, statfs: answers})["dev/server:/export"]
	if !ok || !got.Network || got.Type != "nfs4" {
		t.Errorf("NFS mount = %+v, %v", got, ok)
	}
}

func TestAHiddenFilesystemIsUnknownNotEmpty(t *testing.T) {
	root := tree(t, map[string]string{"proc/self/mountinfo": someMounts + "50 30 0:50 / /home ro - tmpfs tmpfs ro\n"})
	got := filesystems(t, &Filesystems{Root: root, statfs: answers})["dev//dev/sda3"]
	if !got.Unresponsive || got.TotalBytes != 0 {
		t.Errorf("hidden file system = %+v, want it unresponsive", got)
	}
}

func TestADeadFilesystemHoldsNothingUp(t *testing.T) {
	root := tree(t, map[string]string{"proc/self/mountinfo": someMounts})
	synctest.Test(t, func(t *testing.T) {
		repaired := make(chan struct{})
		var calls atomic.Int32
		f := &Filesystems{Root: root, statfs: func(path string) (capacity, error) {
			if path == "/home" {
				calls.Add(1)
				<-repaired
			}
			return answers(path)
		}}
		start := time.Now()
		first := filesystems(t, f)
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("the first list took %v, want the limit of 2 s", took)
		}
		if !first["dev//dev/sda3"].Unresponsive || first["dev//dev/sda2"].TotalBytes == 0 {
			t.Errorf("list beside a dead file system = %+v", first)
		}
		start = time.Now()
		filesystems(t, f)
		if took := time.Since(start); took != 0 || calls.Load() != 1 {
			t.Errorf("the second list took %v and the dead one was asked %d times, want at once and 1", took, calls.Load())
		}
		close(repaired)
		synctest.Wait()
		if got := filesystems(t, f)["dev//dev/sda3"]; got.Unresponsive || calls.Load() != 2 {
			t.Errorf("after repair = %+v, asked %d times", got, calls.Load())
		}
	})
}

func TestAFailingFilesystemIsUnknown(t *testing.T) {
	root := tree(t, map[string]string{"proc/self/mountinfo": someMounts})
	f := &Filesystems{Root: root, statfs: func(string) (capacity, error) { return capacity{}, errors.New("stale file handle") }}
	if got := filesystems(t, f)["dev//dev/sda2"]; !got.Unresponsive {
		t.Errorf("failing file system = %+v", got)
	}
}

// watch runs w until the test ends and returns its hints, at most one of which
// waits.
func watch(t *testing.T, w plugin.Watcher) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	hints, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- w.Watch(ctx, func(...plugin.Key) {
			select {
			case hints <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch = %v after it was told to stop, want nil", err)
		}
	})
	return hints
}

func hinted(t *testing.T, hints <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-hints:
	case <-time.After(5 * time.Second):
		t.Fatalf("no hint after %s", what)
	}
}

func TestMountsAreHinted(t *testing.T) {
	namespaces.Need(t)
	for name, w := range map[string]plugin.Watcher{"file systems": &Filesystems{}, "devices": &Devices{}} {
		t.Run(name, func(t *testing.T) {
			hints := watch(t, w)
			hinted(t, hints, "the start")
			dir := filepath.Join(t.TempDir(), "mnt")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
				t.Skipf("may not mount here: %v", err)
			}
			hinted(t, hints, "a mount")
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
			hinted(t, hints, "an unmount")
		})
	}
}

func TestBlockUeventsAreTold(t *testing.T) {
	for text, want := range map[string]bool{
		"add@/devices/x\x00ACTION=add\x00SUBSYSTEM=block\x00DEVNAME=sdb\x00":                  true,
		"add@/devices/x\x00ACTION=add\x00SUBSYSTEM=net\x00":                                   false,
		"libudev\x00\xfe\xed\xca\xfe\x28\x00ACTION=change\x00SUBSYSTEM=block\x00SEQNUM=1\x00": true,
	} {
		if got := isBlockUevent([]byte(text)); got != want {
			t.Errorf("isBlockUevent(%q) = %v", text, got)
		}
	}
}

func TestKernelEventsAreHinted(t *testing.T) {
	const uevent = "/sys/class/block/loop7/uevent"
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make an event")
	}
	if _, err := os.Stat(uevent); err != nil {
		t.Skip("needs a loop device")
	}
	hints := watch(t, &Devices{})
	hinted(t, hints, "the start") // by mountinfo; the sockets are bound about now
	eventually := time.After(5 * time.Second)
	for {
		if err := os.WriteFile(uevent, []byte("change"), 0); err != nil {
			t.Skipf("may not make an event here: %v", err)
		}
		select {
		case <-hints:
			return
		case <-eventually:
			t.Fatal("no hint after an event of the kernel")
		case <-time.After(20 * time.Millisecond): // the watch may not have begun yet
		}
	}
}
