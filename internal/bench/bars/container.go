package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// debian makes the root of a small Debian with systemd, and more packages.
func debian(ctx context.Context, root string, more ...string) error {
	if os.Geteuid() != 0 {
		return errors.New("a systemd in a container needs root")
	}
	for _, tool := range []string{"systemd-nspawn", "mmdebstrap", "nsenter", "systemd-analyze"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing (Debian: mmdebstrap systemd-container): %w", tool, err)
		}
	}
	packages := strings.Join(append([]string{"systemd", "systemd-sysv", "dbus"}, more...), ",")
	return command(ctx, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+packages, "bookworm", root)
}

// command runs a program to its end.
func command(ctx context.Context, words ...string) error {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, out[max(0, len(out)-2000):])
	}
	return nil
}

// put writes a file below a root.
func put(root, path string, content []byte, mode os.FileMode) error {
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, mode)
}

// container is a booted Debian.
type container struct {
	cmd  *exec.Cmd
	init string // its process id, as we see it
}

func boot(ctx context.Context, root string) (*container, error) {
	c := &container{cmd: exec.Command("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
		"--directory="+root, "--boot", "--console=pipe")}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	err := until(ctx, time.Minute, func() error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.cmd.Process.Pid, c.cmd.Process.Pid))
		if c.init = strings.TrimSpace(string(b)); err != nil || c.init == "" {
			return fmt.Errorf("no init yet: %w", err)
		}
		var out strings.Builder
		err = c.run(ctx, &out, "systemctl", "is-system-running")
		if s := strings.TrimSpace(out.String()); s != "running" && s != "degraded" {
			return fmt.Errorf("systemd is %q: %w", s, err)
		}
		return nil
	})
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// run runs a program inside.
func (c *container) run(ctx context.Context, out io.Writer, words ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", c.init, "-a"}, words...)...)
	var errs strings.Builder
	cmd.Stdout, cmd.Stderr = out, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("in the container: %s: %w: %s", strings.Join(words, " "), err, errs.String())
	}
	return nil
}

// close ends the container; when its init is killed the kernel kills the rest.
func (c *container) close() {
	if pid, err := strconv.Atoi(c.init); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	late := time.AfterFunc(5*time.Second, func() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) })
	_ = c.cmd.Wait() // it was killed
	late.Stop()
}
