package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Clocks reads a process's clocks and memory; both children embed it.
type Clocks struct {
	start time.Time
	read  *atomic.Int64 // bytes that left the tunnel in this process
}

// Mark is a reading of a child's clocks.
type Mark struct {
	At    time.Duration // since the process started
	CPU   time.Duration // of the whole process
	Bytes int64         // taken out of streams so far
}

// Mark reads the clocks.
func (c *Clocks) Mark(_ int, m *Mark) error {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return fmt.Errorf("read CPU clock: %w", err)
	}
	*m = Mark{At: time.Since(c.start), CPU: time.Duration(ts.Nano()), Bytes: c.read.Load()}
	return nil
}

// Memory is a child's memory after a forced collection.
type Memory struct {
	RSS        int64 // resident bytes
	Heap       int64 // bytes of heap in use
	Stacks     int64 // bytes of goroutine stacks
	Goroutines int
}

// Memory collects garbage twice, which also empties pools, gives free memory
// back and reads what is left.
func (c *Clocks) Memory(_ int, m *Memory) error {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	rss, err := residentBytes()
	*m = Memory{
		RSS: rss, Heap: int64(ms.HeapInuse), Stacks: int64(ms.StackInuse),
		Goroutines: runtime.NumGoroutine(),
	}
	return err
}

func residentBytes() (int64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var total, resident int64
	if _, err := fmt.Fscan(bytes.NewReader(b), &total, &resident); err != nil {
		return 0, fmt.Errorf("parse statm: %w", err)
	}
	return resident * int64(os.Getpagesize()), nil
}
