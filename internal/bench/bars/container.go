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
	root    string
	options []string // of systemd-nspawn, besides the usual ones
	cmd     *exec.Cmd
	done    chan struct{} // closed when cmd has ended
	init    string        // its process id, as we see it
}

// boot boots a Debian. The options are systemd-nspawn's and say above all what
// network there is.
func boot(ctx context.Context, root string, options ...string) (*container, error) {
	c := &container{root: root, options: options}
	return c, c.start(ctx)
}

// start boots the container, again if it was ended. What the kernel has still to
// clear away of it, above all its network card, may be in the way for a moment.
func (c *container) start(ctx context.Context) error {
	return until(ctx, 90*time.Second, func() error {
		err := c.once(ctx)
		if err != nil {
			c.close()
			err = errors.Join(err, pause(ctx, time.Second))
		}
		return err
	})
}

// once tries to boot the container.
func (c *container) once(ctx context.Context) error {
	c.cmd = exec.Command("systemd-nspawn", append([]string{
		"--quiet", "--register=no", "--keep-unit", "--link-journal=no",
		"--resolv-conf=off", "--timezone=off", "--directory=" + c.root, "--boot", "--console=pipe",
	}, c.options...)...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said strings.Builder
	c.cmd.Stderr, c.cmd.WaitDelay = &said, 5*time.Second
	c.init, c.done = "", make(chan struct{})
	if err := c.cmd.Start(); err != nil {
		close(c.done)
		return err
	}
	running, ended := context.WithCancel(ctx)
	cmd, done := c.cmd, c.done
	go func() { // ends with the container, which close and reboot wait for
		_ = cmd.Wait() // it is killed, or powered off
		ended()
		close(done)
	}()
	err := c.up(running)
	if err != nil && running.Err() != nil && ctx.Err() == nil {
		<-done
		text := said.String()
		err = fmt.Errorf("systemd-nspawn ended: %s", text[max(0, len(text)-2000):])
	}
	return err
}

// up waits until everything that is to run after the boot does.
func (c *container) up(ctx context.Context) error {
	return until(ctx, time.Minute, func() error {
		if c.init = c.child(); c.init == "" {
			return errors.New("no init yet")
		}
		out, err := c.output(ctx, "systemctl", "is-system-running")
		if s := strings.TrimSpace(out); s != "running" && s != "degraded" {
			return fmt.Errorf("systemd is %q: %w", s, err)
		}
		return nil
	})
}

// child is the process id of the container's init, empty while it has none.
func (c *container) child() string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.cmd.Process.Pid, c.cmd.Process.Pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// reboot has the container's systemd do it.
func (c *container) reboot(ctx context.Context) error {
	_ = c.run(ctx, io.Discard, "systemctl", "reboot") // the answer may be cut short
	return c.again(ctx)
}

// again waits until a container that was told to reboot is down, and starts it:
// systemd-nspawn ends then, as whoever runs it as a unit has it.
func (c *container) again(ctx context.Context) error {
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	select {
	case <-c.done:
		return c.start(ctx)
	case <-late.C:
		return errors.New("the container does not go down within a minute")
	case <-ctx.Done():
		return ctx.Err()
	}
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

// output runs a program inside and returns what it prints.
func (c *container) output(ctx context.Context, words ...string) (string, error) {
	var out strings.Builder
	err := c.run(ctx, &out, words...)
	return out.String(), err
}

// close ends the container as a power cut does: when its init is killed the kernel
// kills the rest.
func (c *container) close() {
	select {
	case <-c.done: // its process id may be another's by now
		return
	default:
	}
	if pid, err := strconv.Atoi(c.init); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	late := time.AfterFunc(5*time.Second, func() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) })
	<-c.done
	late.Stop()
}
