package daemon_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/daemon"
)

type config struct {
	Name string `toml:"name"`
	Size int    `toml:"size"`
	In   struct {
		Deep bool `toml:"deep"`
	} `toml:"in"`
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadMergesDropIns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.conf")
	var c config
	if err := daemon.Load(path, &c); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without files: %v", err)
	}
	write(t, path+".d/20-b.conf", "size = 3")
	write(t, path+".d/10-a.conf", "size = 2\n[in]\ndeep = true")
	write(t, path, "name = 'main'\nsize = 1")
	if err := daemon.Load(path, &c); err != nil || c.Name != "main" || c.Size != 3 || !c.In.Deep {
		t.Errorf("Load = %+v, %v", c, err)
	}
}

func TestLoadPointsAtMistakes(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"unknown key": {"name = 'x'\nsizze = 1\n", `:2: there is no setting ["sizze"]`},
		"wrong type":  {"name = 'x'\nsize = 'big'\n", ":2: "},
		"bad syntax":  {"name = 'x'\n\nsize = = 1\n", ":3: "},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.conf")
			write(t, path, test.text)
			err := daemon.Load(path, &config{})
			if _, ok := errors.AsType[*daemon.ConfigError](err); !ok || !strings.Contains(err.Error(), path+test.want) {
				t.Errorf("Load = %v, want %q", err, path+test.want)
			}
		})
	}
}

func TestSystemdIsToldAndTheWatchdogFedOnlyWhileLoopsTurn(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "60000")
	s := daemon.New(slog.New(slog.DiscardHandler))
	read := func(want string) {
		t.Helper()
		b := make([]byte, 4096)
		_ = l.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := l.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Fatalf("systemd heard %q, %v, want %q", b[:n], err, want)
		}
	}
	s.Ready("starting")
	read("READY=1\nSTATUS=starting")
	s.Status("fine")
	s.Status("fine")
	read("STATUS=fine")
	s.Reloading()
	read("RELOADING=1\nMONOTONIC_USEC=")
	s.Reloaded()
	read("READY=1")
	beat := s.Loop("mirror", time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.RunWatchdog(ctx) })
	read("WATCHDOG=1")
	beat.Tick()
	read("WATCHDOG=1")
	cancel()
	wg.Wait()
	stuck := daemon.New(slog.New(slog.DiscardHandler))
	stuck.Loop("uplink", 0)
	for stuck.Alive() == nil { // the clock has to move
	}
	if err := stuck.Alive(); err == nil || !strings.Contains(err.Error(), "uplink loop") {
		t.Errorf("Alive = %v", err)
	}
}
