package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// threads is what each thread of a process has had of the processors, by its id.
type threads map[string]use

// use is a thread's time on a processor, and its time of waiting for one.
type use struct{ ran, waited time.Duration }

// threadsOf looks at a process; it is empty if that is gone.
func threadsOf(pid int) threads {
	all := make(threads)
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is right
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		var u use
		if _, err := fmt.Sscan(string(b), &u.ran, &u.waited); err == nil {
			all[filepath.Base(filepath.Dir(file))] = u
		}
	}
	return all
}

// share is how much of one processor the threads used in a time since before,
// had they never waited for one: on a busy machine a thread that wants all of a
// processor gets little, and it is still too much.
func (t threads) share(before threads, wall time.Duration) float64 {
	var sum float64
	for id, u := range t {
		ran, waited := u.ran-before[id].ran, u.waited-before[id].waited
		sum += ran.Seconds() / max(wall-waited, wall/20).Seconds()
	}
	return sum
}

// mostResident is the most memory that a process had resident, in bytes.
func mostResident(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}
