package pluginhost

import (
	"context"
	"errors"
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

// StartUnits lets systemd listen for the agent on a plugin's socket, now and
// after each boot.
func StartUnits(ctx context.Context, plugin string) error {
	return systemctl(ctx, "enable", "--now", UnitName(plugin)+".socket")
}

// StopUnits undoes StartUnits, and ends what runs of the plugin, by force if it
// does not leave. It is no error if the units are not there.
func StopUnits(ctx context.Context, plugin string) error {
	socket, instances := UnitName(plugin)+".socket", UnitName(plugin)+"@*.service"
	// disable refuses units whose files have gone, and stop those that it does
	// not know; a pattern may match nothing.
	var errs error
	if systemctl(ctx, "cat", socket) == nil {
		errs = systemctl(ctx, "disable", socket)
	}
	return errors.Join(errs, systemctl(ctx, "stop", UnitName(plugin)+"[.]socket", instances))
}

func systemctl(ctx context.Context, args ...string) error {
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
