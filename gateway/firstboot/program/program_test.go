package program_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/gateway/firstboot/program"
	"github.com/openpf9/openpf9/internal/eventually"
)

func TestRun(t *testing.T) {
	tests := []struct {
		name, script string
		want, fails  string
	}{
		{"prints", "echo yes; echo no >&2", "yes\n", ""},
		{"fails with a reason", "echo why >&2; exit 3", "", "exit status 3: why"},
		{"fails with the reason on standard output", "echo why; exit 3", "", "exit status 3: why"},
		{"fails silently", "exit 3", "", "exit status 3"},
		{"prints without end", "yes", "", "printed more than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := program.Run(t.Context(), 20*time.Second, "/bin/sh", "-c", test.script)
			if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
				t.Fatalf("error = %v, want one with %q", err, test.fails)
			}
			if string(out) != test.want {
				t.Errorf("output = %q, want %q", out, test.want)
			}
		})
	}
}

func TestRunTellsWhatIsNotInstalled(t *testing.T) {
	for _, name := range []string{"pf9-no-such-program", "/nowhere/pf9"} {
		if _, err := program.Run(t.Context(), time.Second, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", name, err)
		}
	}
}

func TestRunEndsWithItsChildren(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "alive")
	script := "sleep 1000 & echo $! >" + pipe + "; wait"
	began := time.Now()
	_, err := program.Run(t.Context(), 500*time.Millisecond, "/bin/sh", "-c", script)
	if err == nil || !strings.Contains(err.Error(), "no answer within 500ms") {
		t.Fatalf("error = %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	pid, err := os.ReadFile(pipe)
	if err != nil {
		t.Skip("the machine was too busy for the script to begin")
	}
	eventually.Nil(t, func() error {
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err == nil && !strings.Contains(string(state), ") Z ") {
			return fmt.Errorf("the grandchild lives: %s", state)
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := program.Run(ctx, time.Second, "/bin/sh", "-c", "sleep 1000"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
