package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine tells what the figures were measured on and how much of the CPUs
// other programs took meanwhile: with much of that, only ratios mean something.
type machine struct {
	start      time.Time
	busy, ours time.Duration
}

func startMachine() machine {
	return machine{start: time.Now(), busy: busyTime(), ours: ownTime()}
}

func (m machine) String() string {
	all := time.Since(m.start) * time.Duration(runtime.NumCPU())
	others := busyTime() - m.busy - (ownTime() - m.ours)
	cc, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	return fmt.Sprintf("%d CPUs, %s, congestion control %s, %.0f s; other programs took %.0f %% of the CPUs",
		runtime.NumCPU(), runtime.Version(), strings.TrimSpace(string(cc)),
		time.Since(m.start).Seconds(), max(0, 100*others.Seconds()/all.Seconds()))
}

// busyTime is the time that all CPUs together worked since boot, 0 if unknown.
func busyTime() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	var name string
	var user, nice, system, idle, iowait, irq, softirq int64
	if _, err := fmt.Sscan(string(line), &name, &user, &nice, &system, &idle, &iowait, &irq, &softirq); err != nil {
		return 0
	}
	const tick = time.Second / 100 // USER_HZ on every Linux
	return time.Duration(user+nice+system+irq+softirq) * tick
}

// ownTime is what this process and its children that ended used.
func ownTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			continue
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
