package pluginhost

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/hostileplugin"
)

// serveAsSystemd listens and starts a plugin with each connection, until the
// test ends.
func serveAsSystemd(t *testing.T, path, name string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f, err := conn.(*net.UnixConn).File()
			_ = conn.Close()
			if err != nil {
				return
			}
			cmd := exec.Command(self, "be", name)
			cmd.Stdin = f
			if cmd.Start() == nil {
				wg.Go(func() { _ = cmd.Wait() })
			}
			_ = f.Close()
		}
	})
}

func TestSystemdStartsThePlugin(t *testing.T) {
	r := newRig(t)
	s, dir := r.good()
	s.Runner = RunnerSystemd
	touch(t, dir, "a", "b")
	serveAsSystemd(t, filepath.Join(r.dir, "good.sock"), "good")
	stop := r.run(s)
	r.becomes("good", "ok", "")
	r.has(hostileplugin.GoodKind, 2)
	stop()
}

func TestSocketThatOthersMayUseIsRefused(t *testing.T) {
	r := newRig(t)
	s, _ := r.good()
	s.Runner = RunnerSystemd
	path := filepath.Join(r.dir, "good.sock")
	serveAsSystemd(t, path, "good")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	r.run(s)
	r.becomes("good", "failed", "can be changed by others")
}

// alive says whether a process runs; a zombie does not.
func alive(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func TestNoPluginOutlivesTheHost(t *testing.T) {
	r := newRig(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"hang", "deaf", "half-closed", "flood"}
	for _, name := range names {
		r.manifest(name, hostileplugin.Kind)
	}
	host := exec.Command(self, append([]string{"host", r.dir}, names...)...)
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []string
	eventually.Nil(t, func() error {
		pids = nil
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", host.Process.Pid))
		for _, f := range files {
			b, _ := os.ReadFile(f) // the thread may be gone
			pids = append(pids, strings.Fields(string(b))...)
		}
		if len(pids) < len(names) {
			return fmt.Errorf("the host has %d children, %w", len(pids), err)
		}
		return nil
	})
	_ = host.Process.Signal(syscall.SIGKILL)
	_ = host.Wait() // it was killed
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, pid := range pids {
		for alive(pid) {
			if ctx.Err() != nil {
				t.Fatalf("plugin %s outlives its host", pid)
			}
		}
	}
}
