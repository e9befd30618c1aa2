package console

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// privateEnv marks the second life of the test binary, in name spaces of its own.
const privateEnv = "OPENPF9_TEST_CONSOLE"

// TestMain starts the test binary again in name spaces for the network and the
// host's name. Without root the tests that need it are skipped.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(privateEnv) == "" && os.Geteuid() == 0 {
		if code, ok := again(); ok {
			os.Exit(code)
		}
	}
	os.Exit(m.Run())
}

// again returns false if name spaces may not be made here.
func again() (code int, ok bool) {
	runtime.LockOSThread() // Pdeathsig is about the thread that forks
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), privateEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "no name spaces:", err)
		return 0, false
	}
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); ok {
		return exit.ExitCode(), true
	}
	return 0, true
}
