package testlibvirt

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// A reaper does for the guests what init does on a host: it takes away those
// that died. libvirtd says that a guest stopped only when its process is gone,
// and where PID 1 reaps slowly, as in many containers, that is 1.6 s later.
type reaper struct {
	signals chan os.Signal
	wg      sync.WaitGroup
}

const prSetChildSubreaper = 36 // of prctl(2)

// reap makes this process the parent of orphans below it, for the rest of its
// life, and takes away dead guests until close.
func reap() (*reaper, error) {
	if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); e != 0 {
		return nil, fmt.Errorf("become a subreaper: %w", e)
	}
	r := &reaper{signals: make(chan os.Signal, 1)} // full: a look is due anyway
	signal.Notify(r.signals, syscall.SIGCHLD)
	r.wg.Go(func() {
		for range r.signals {
			reapGuests()
		}
	})
	return r, nil
}

func (r *reaper) close() {
	signal.Stop(r.signals)
	close(r.signals)
	r.wg.Wait()
	reapGuests()
}

// reapGuests takes away the children that were QEMU, by number, so that it
// does not take those that package os/exec waits for.
func reapGuests() {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, l := range lists {
		text, _ := os.ReadFile(l)
		for _, f := range strings.Fields(string(text)) {
			name, _ := os.ReadFile("/proc/" + f + "/comm")
			if pid, err := strconv.Atoi(f); err == nil && strings.HasPrefix(string(name), "qemu") {
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			}
		}
	}
}
