package network

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
const privateEnv = "OPENPF9_TEST_NETNS"

// TestMain starts the test binary again in a network and a mount name space of
// its own, so that tests may add links without touching the machine. Without
// root the tests that need it are skipped. Fuzzing stays where it is.
func TestMain(m *testing.M) {
	flag.Parse()
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	if os.Getenv(privateEnv) == "" && os.Geteuid() == 0 && !fuzzing {
		if code, ok := again(); ok {
			os.Exit(code)
		}
	}
	if os.Getenv(privateEnv) != "" {
		if err := showOwnSys(); err != nil {
			fmt.Fprintln(os.Stderr, "mount a private /sys:", err)
			os.Exit(1)
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if cmd.Start() != nil {
		return 0, false
	}
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); ok {
		return exit.ExitCode(), true
	}
	return 0, true
}

// showOwnSys mounts a /sys that shows this network name space, and turns
// duplicate address detection off, which takes a second for each link.
func showOwnSys() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, conf := range []string{"all", "default"} {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+conf+"/accept_dad", []byte("0"), 0) // no IPv6, no detection
	}
	return syscall.Mount("sysfs", "/sys", "sysfs", 0, "")
}

func needPrivate(t *testing.T) {
	t.Helper()
	if os.Getenv(privateEnv) == "" {
		t.Skip("needs root, for a network name space of its own")
	}
}
