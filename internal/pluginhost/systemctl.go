package pluginhost

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const systemctlTime = 30 * time.Second

// Booted says whether systemd runs this machine.
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Systemctl runs systemctl, for the command line.
func Systemctl(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, systemctlTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// ShowLogs becomes journalctl, which shows what a plugin has logged. It returns
// only if that is not to be.
func ShowLogs(plugin string, more ...string) error {
	path, err := exec.LookPath("journalctl")
	if err != nil {
		return err
	}
	args := append([]string{"journalctl", "-u", UnitName(plugin) + "@*"}, more...)
	return fmt.Errorf("start %s: %w", path, syscall.Exec(path, args, os.Environ()))
}
