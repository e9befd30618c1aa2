package conformance

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

const commandTime = 10 * time.Second // for a command of BreakBy

// BreakBy returns what Options.BreakList needs, made of two commands for a shell:
// one that makes the plugin's List fail, and one that mends that. Each may take
// ten seconds. If the first one fails, the second one still runs, in case half was
// done. unmended is called if the second one fails after the first one did not,
// so that the world stays broken.
func BreakBy(breaks, mends string, unmended func(error)) func() (mend func(), err error) {
	return func() (func(), error) {
		if err := shell(breaks); err != nil {
			_ = shell(mends) // it may have broken something, and mostly has not
			return nil, err
		}
		return func() {
			if err := shell(mends); err != nil {
				unmended(err)
			}
		}, nil
	}
}

// shell runs a command to its end, or kills it with all that it started. It
// heeds no context of its caller: half of a change to the world is worse than
// ten seconds.
func shell(command string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	var out tail
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: not done after %v, and killed", command, commandTime)
	case errors.Is(err, exec.ErrWaitDelay):
		return fmt.Errorf("%s: it left something running that holds its output", command)
	case err != nil && out.last() != "":
		return fmt.Errorf("%s: %w: %s", command, err, out.last())
	case err != nil:
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}
