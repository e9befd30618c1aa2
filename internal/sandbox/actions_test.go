package sandbox_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// TestVMsAreSwitched has pf9ctl switch a VM of a real agent and a real libvirt.
func TestVMsAreSwitched(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all programs")
	}
	ctx := t.Context()
	b := newBox(t)
	d, err := b.Libvirt()
	if err != nil {
		t.Skip(err)
	}
	cp, err := b.ControlPlane(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	a, err := b.Agent(ctx, cp, "agent", sandbox.AgentOptions{LibvirtSocket: d.Socket(), LibvirtURI: "test:///default"})
	if err != nil {
		t.Fatal(err)
	}
	state := func(want string) {
		t.Helper()
		eventually.Nil(t, func() error {
			vms, err := cp.Client.Resources(ctx, inventory.KindVM, client.Filter{})
			if err != nil || len(vms) != 1 || vms[0].State != want || vms[0].Stale {
				return fmt.Errorf("want one VM that is %s: %+v, %w", want, vms, err)
			}
			return nil
		})
	}
	run := func(line string) (string, int) {
		cmd := exec.CommandContext(ctx, b.Programs.Ctl, append([]string{
			"--config", filepath.Join(b.Dir, "none"), "--url", cp.URL, "--token-file", filepath.Join(cp.State, "admin.token"), "--ca-file", cp.CAFile,
		}, strings.Fields(line)...)...)
		out, _ := cmd.CombinedOutput() // the status says it
		return string(out), cmd.ProcessState.ExitCode()
	}
	ctl := func(line, want string, status int) {
		t.Helper()
		if out, got := run(line); got != status || !strings.Contains(out, want) {
			t.Errorf("pf9ctl %s: status %d, want %d with %q\n%s", line, got, status, want, out)
		}
	}
	state(inventory.VMRunning)
	ctl("vm stop --force test", "this host lets the deployment unit look and not act", 1)
	state(inventory.VMRunning)

	// The host's administrator allows it.
	dropIn := a.Config + ".d"
	if err := os.MkdirAll(dropIn, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dropIn, "control.conf"), []byte("[libvirt]\ncontrol = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Signal(syscall.SIGHUP)
	eventually.Nil(t, func() error {
		if out, status := run("vm stop --force test"); status != 0 {
			return fmt.Errorf("status %d: %s", status, out)
		}
		return nil
	})
	state(inventory.VMShutOff)
	ctl("vm stop test", "already off", 0)
	ctl("vm start test", "test: started", 0)
	state(inventory.VMRunning)
	ctl("vm snapshot create test x", `cannot do "snapshot-create"`, 1)
	hosts, err := cp.Client.Hosts(ctx)
	if err != nil || len(hosts) != 1 {
		t.Fatalf("%d hosts, %v", len(hosts), err)
	}
	ctl("action list --host "+string(hosts[0].ID), "test  start ", 0)
}
