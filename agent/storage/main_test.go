package storage

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

// privateEnv marks the second life of the test binary, in a name space of its own.
const privateEnv = "OPENPF9_TEST_MOUNTNS"

// TestMain starts the test binary again in a mount name space of its own, so
// that tests may mount without touching the machine, and nobody else's mounts
// disturb them. Without root the tests that need it are skipped. Fuzzing stays
// where it is.
func TestMain(m *testing.M) {
	flag.Parse()
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	if os.Getenv(privateEnv) == "" && os.Geteuid() == 0 && !fuzzing {
		if code, ok := again(); ok {
			os.Exit(code)
		}
	}
	if os.Getenv(privateEnv) != "" {
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			fmt.Fprintln(os.Stderr, "make mounts private:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// again returns false if a name space may not be made here.
func again() (code int, ok bool) {
	runtime.LockOSThread() // Pdeathsig is about the thread that forks
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), privateEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if cmd.Start() != nil {
		return 0, false
	}
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); ok {
		return exit.ExitCode(), true
	}
	return 0, true
}
