package netconf

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

const (
	// privateEnv marks the second life of the test binary, in name spaces of its own.
	privateEnv = "OPENPF9_TEST_NETCONF"
	// victimEnv marks a third: a process that is killed in the middle of a change.
	victimEnv = "OPENPF9_TEST_NETCONF_VICTIM"
)

// TestMain starts the test binary again in name spaces for the network and the
// host's name, so that tests may change both. Without root the tests that need
// it are skipped.
func TestMain(m *testing.M) {
	flag.Parse()
	if dir := os.Getenv(victimEnv); dir != "" {
		victim(dir)
		return
	}
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	if os.Getenv(privateEnv) == "" && os.Geteuid() == 0 && !fuzzing {
		if code, ok := again(); ok {
			os.Exit(code)
		}
	}
	if os.Getenv(privateEnv) != "" {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0) // without IPv6 there is none
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

func needPrivate(t *testing.T) {
	t.Helper()
	if os.Getenv(privateEnv) == "" {
		t.Skip("needs root, for a network name space of its own")
	}
}
