package pluginhost

import (
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/hostileplugin"
	"github.com/openpf9/openpf9/plugin/protocol"
)

var long = flag.Bool("long", false, "run what takes minutes")

const maxGrowth = 8 << 20 // of the heap, under one hostile plugin

// heapPeak samples the heap until told to stop, and returns the most.
func heapPeak() (stop func() uint64) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	most := uint64(0)
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() uint64 { close(done); wg.Wait(); return most }
}

func TestHostilePluginsHarmNobody(t *testing.T) {
	old := debug.SetGCPercent(50) // the agent's
	defer debug.SetGCPercent(old)
	for _, mode := range hostileplugin.Modes() {
		t.Run(mode.Name, func(t *testing.T) {
			r := newRig(t)
			s, dir := r.good()
			r.manifest(mode.Name, hostileplugin.Kind, "compute.vm")
			touch(t, dir, "a")
			stop := r.run(s)
			r.becomes("good", "ok", "")
			r.has(hostileplugin.GoodKind, 1)
			runtime.GC()
			debug.FreeOSMemory()
			var before runtime.MemStats
			runtime.ReadMemStats(&before)
			peak := heapPeak()
			r.host.Set([]Settings{s, {Name: mode.Name, Runner: RunnerExec}})
			eventually.Nil(t, func() error {
				if st := r.status(mode.Name); mode.Reason != "" && !strings.Contains(st.Reason, mode.Reason) || st.State == "" {
					return fmt.Errorf("it is %s (%s), want a reason with %q", st.State, st.Reason, mode.Reason)
				}
				return nil
			})
			grown := int64(peak()) - int64(before.HeapInuse)
			t.Logf("heap growth %.1f MiB; %s", float64(grown)/(1<<20), r.status(mode.Name).Reason)
			if grown > maxGrowth {
				t.Errorf("the heap has grown by %d bytes, more than %d", grown, maxGrowth)
			}
			touch(t, dir, "b")
			r.has(hostileplugin.GoodKind, 2)
			r.becomes("good", "ok", "")
			stop()
			if left := children(t); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
		})
	}
}

// children are the living children of this process.
func children(t *testing.T) (pids []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f) // the thread may be gone
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}

func TestHostileCrashLoopBacksOff(t *testing.T) {
	for failures, most := range map[int]time.Duration{1: time.Second, 3: 4 * time.Second, 9: 256 * time.Second, 10: 30 * time.Minute, 99: 30 * time.Minute} {
		for range 100 {
			if d := backOff(failures); d < most/2 || d > most {
				t.Errorf("after %d failures it waits %v, want %v to %v", failures, d, most/2, most)
			}
		}
	}
}

// pair is a runner that hands over one end of a pair of sockets.
type pair struct{ *net.UnixConn }

func (p pair) End() string { _ = p.Close(); return "" }

func sockets(t testing.TB) (pair, net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	return pair{ends[0].(*net.UnixConn)}, ends[1]
}

// Whatever a plugin says, its session ends or goes on, and the sum is bounded.
func TestHostileNoise(t *testing.T) {
	sessions := 100
	if *long {
		sessions = 1000
	}
	r := newRig(t)
	m := Manifest{Name: "noise", Kinds: []string{hostileplugin.Kind}}
	g := newGuest(r.host, Settings{Name: "noise"})
	ends := make(map[string]int)
	for seed := range uint64(sessions) {
		link, far := sockets(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			w := protocol.NewWriter(far)
			_ = w.Frame(protocol.Frame{Hello: &protocol.Hello{Protocols: []int{1}, Name: "noise", Version: "1", Kinds: []protocol.Kind{{Name: hostileplugin.Kind}}}})
			_, _ = far.Write(hostileplugin.Noise(seed))
			_ = far.(*net.UnixConn).CloseWrite()
			b := make([]byte, 4096)
			for {
				if _, err := far.Read(b); err != nil {
					break
				}
			}
			_ = far.Close()
		})
		g.well = time.Time{}
		err := g.talk(t.Context(), &m, link)
		wg.Wait()
		if err == nil {
			t.Fatalf("seed %d: the session ended without a reason", seed)
		}
		text := err.Error()
		if i := strings.LastIndexByte(text, '('); i > 0 {
			text = text[i:]
		}
		ends[text]++
		if n := len(r.mirror.Kind(hostileplugin.Kind)); n > 50 {
			t.Fatalf("seed %d: %d resources of 50 possible keys", seed, n)
		}
	}
	t.Log(ends)
}
