// Package daemon is what every daemon of ours shares: a strict configuration
// file, a logger that speaks to the journal, systemd's notifications and a
// watchdog that is fed only while the daemon's loops turn.
package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// ExitConfig is the exit status for a bad configuration (EX_CONFIG of
// sysexits.h), for which a unit should not be restarted.
const ExitConfig = 78

// Version is what the build said, or what the module says.
func Version() string {
	if stamp != "" {
		return stamp
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "0.1.0-dev"
}

// stamp is set by the linker: -X github.com/openpf9/openpf9/internal/daemon.stamp=1.2.3
var stamp string

// Signals returns a context that ends with SIGTERM or SIGINT, and calls reload
// on SIGHUP from one goroutine until then. stop releases both.
func Signals(ctx context.Context, reload func()) (_ context.Context, stop func()) {
	ctx, cancel := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-hup:
				if reload != nil {
					reload()
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return ctx, func() {
		signal.Stop(hup)
		cancel()
		wg.Wait()
	}
}

// Service speaks to systemd. Without systemd every method does nothing.
type Service struct {
	log *slog.Logger

	mu    sync.Mutex // guards beats and line
	beats []*Beat
	line  string
}

// New returns a service that has said nothing yet.
func New(log *slog.Logger) *Service {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Service{log: log}
}

// Ready says that the daemon has started.
func (s *Service) Ready(status string) { s.notify("READY=1\nSTATUS=" + status) }

// Status says in one line, for people, how the daemon is. It is sent on change.
func (s *Service) Status(line string) {
	s.mu.Lock()
	same := line == s.line
	s.line = line
	s.mu.Unlock()
	if !same {
		s.notify("STATUS=" + line)
	}
}

// Stopping says that the daemon has begun to stop.
func (s *Service) Stopping() { s.notify("STOPPING=1") }

// Reloading says that the configuration is read again; Reloaded ends it.
func (s *Service) Reloading() {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil { // as sd_notify(3) asks for
		return
	}
	s.notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// Reloaded says that the daemon is ready again.
func (s *Service) Reloaded() { s.notify("READY=1") }

func (s *Service) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		s.log.Warn("systemd does not listen", "err", err)
	}
}

// Beat is the sign of life of one loop.
type Beat struct {
	name  string
	limit time.Duration
	last  atomic.Int64 // nanoseconds since start
	start time.Time
}

// Loop registers a loop that must tick within limit, from now on.
func (s *Service) Loop(name string, limit time.Duration) *Beat {
	b := &Beat{name: name, limit: limit, start: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats = append(s.beats, b)
	return b
}

// Tick says that the loop turns.
func (b *Beat) Tick() { b.last.Store(int64(time.Since(b.start))) }

// late says by how much the loop is behind its limit; 0: it is not.
func (b *Beat) late() time.Duration {
	return max(0, time.Since(b.start)-time.Duration(b.last.Load())-b.limit)
}

// Alive says whether all loops turn, and if not, which does not.
func (s *Service) Alive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.beats {
		if late := b.late(); late > 0 {
			return fmt.Errorf("the %s loop has not turned for %v", b.name, (b.limit + late).Round(time.Second))
		}
	}
	return nil
}

// RunWatchdog feeds systemd's watchdog while all loops turn, until ctx ends. A
// daemon that hangs is then ended and started again by systemd.
func (s *Service) RunWatchdog(ctx context.Context) error {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := s.Alive(); err != nil {
				s.log.Error("not feeding the watchdog", "err", err)
				continue
			}
			s.notify("WATCHDOG=1")
		}
	}
}
