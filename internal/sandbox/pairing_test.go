package sandbox_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/vcsim"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// TestPairing makes a vCenter known to a running gateway, on the gateway and then
// by way of the deployment unit, which must not learn the password.
func TestPairing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all programs")
	}
	ctx := t.Context()
	const password = "s3cret-of-the-site"
	vc, err := vcsim.Start(vcsim.Options{Clusters: 1, Hosts: 1, VMs: 2, User: "pf9", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vc.Close)
	b := newBox(t)
	cp, err := b.ControlPlane(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	g, err := b.Gateway(ctx, cp, "gateway", "")
	if err != nil {
		t.Fatal(err)
	}
	vms := func(want int) {
		t.Helper()
		eventually.Nil(t, func() error {
			hosts, err := cp.Client.Hosts(ctx)
			if err != nil || len(hosts) != 1 || !hosts[0].Connected || hosts[0].Counts[inventory.KindVM] != want {
				return fmt.Errorf("hosts %+v, %w\n%s", hosts, err, g.Tail())
			}
			return nil
		})
	}
	run := func(in, program string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Stdin = strings.NewReader(in)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s\n%s", args, err, out, g.Tail())
		}
		return string(out)
	}
	vms(0)
	out := run(password+"\n", b.Programs.Gateway, "pair", "lab", "--config", g.Config, "--url", vc.URL, "--thumbprint", vc.Thumbprint, "--user", "pf9", "--password-file", "-", "--control")
	if !strings.Contains(out, "lab is paired: VMware vCenter Server") {
		t.Error(out)
	}
	vms(2)
	if out := run("", b.Programs.Gateway, "vcenters", "--config", g.Config); !strings.Contains(out, "lab") || !strings.Contains(out, "ok") {
		t.Error(out)
	}
	run("", b.Programs.Gateway, "unpair", "lab", "--yes", "--config", g.Config)
	vms(0)

	files := map[string]string{"code": filepath.Join(b.Dir, "code"), "password": filepath.Join(b.Dir, "password")}
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(files[name], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("password", password)
	hosts, err := cp.Client.Hosts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	remotely := func(args ...string) string {
		t.Helper()
		put("code", strings.Fields(run("", b.Programs.Gateway, "pairing-code", "--config", g.Config))[0])
		return run("", b.Programs.Ctl, append([]string{
			"gateway", "pair", string(hosts[0].ID), "lab", "--code-file", files["code"],
			"--url", cp.URL, "--token-file", filepath.Join(cp.State, "admin.token"), "--ca-file", cp.CAFile,
		}, args...)...)
	}
	out = remotely("--vcenter", vc.URL, "--thumbprint", vc.Thumbprint, "--user", "pf9", "--password-file", files["password"])
	for _, want := range []string{"lab is paired: VMware vCenter Server", "address   " + vc.URL, vc.Thumbprint, "account   pf9", "control   off", "No privilege is missing."} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	out = remotely("--control")
	if !strings.Contains(out, "Changed: control off -> on. The rest is as it was.") || !strings.Contains(out, "account   the one that was set before") {
		t.Error(out)
	}
	if out := run("", b.Programs.Gateway, "control", "lab", "--config", g.Config); !strings.HasPrefix(out, "open\n") {
		t.Errorf("control is %s", out)
	}
	vms(2)
	if err := os.Remove(files["password"]); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(b.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(password)) {
			t.Errorf("%s has the password", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
