// Package namespaces runs tests in name spaces of their own, so that they may
// change networks, mounts and the host's name without touching the machine. It
// is for TestMain, and needs root: without, [Inside] is false and tests that need
// them skip.
package namespaces

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

// mark is in the environment of the second life of a test binary.
const mark = "OPENPF9_TEST_NAMESPACES"

// Inside says whether this process is in name spaces of its own.
func Inside() bool { return os.Getenv(mark) != "" }

// Main runs the tests and ends the process. With root it starts the test binary
// again first, in new name spaces of the flags' kinds such as
// syscall.CLONE_NEWNET, and runs prepare in there, which may be nil. Fuzzing
// stays where it is, for its workers are processes that it starts itself.
func Main(m *testing.M, flags uintptr, prepare func() error) {
	flag.Parse()
	if fuzzing := flag.Lookup("test.fuzz").Value.String() != ""; !Inside() && os.Geteuid() == 0 && !fuzzing {
		if code, ok := again(flags); ok {
			os.Exit(code)
		}
	}
	if Inside() && prepare != nil {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare name spaces:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// again returns false if name spaces may not be made here.
func again(flags uintptr) (code int, ok bool) {
	runtime.LockOSThread() // Pdeathsig is about the thread that forks
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "no name spaces:", err)
		return 0, false
	}
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); ok {
		return exit.ExitCode(), true
	}
	return 0, true
}

// Need skips a test outside of name spaces.
func Need(t testing.TB) {
	t.Helper()
	if !Inside() {
		t.Skip("needs root, for name spaces of its own")
	}
}
