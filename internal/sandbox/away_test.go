package sandbox_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/testvcenter"
)

// TestAVCenterThatIsAway lets the path to a vCenter swallow packets, and looks at
// what people read of it on the appliance and at the deployment unit.
func TestAVCenterThatIsAway(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all programs")
	}
	ctx := t.Context()
	vc, err := testvcenter.Start(testvcenter.Options{VMs: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vc.Close)
	var pairs []string
	for pin := vc.Pin(); pin != ""; pin = pin[2:] {
		pairs = append(pairs, pin[:2])
	}
	e := newEstate(t)
	e.vcenter("lab", vc.URL(), strings.Join(pairs, ":"), "gw@vsphere.local", "secret", "")
	e.start()
	gateway := func(line string) string {
		out, _ := exec.CommandContext(ctx, e.Programs.Gateway, append(strings.Fields(line), "--config", e.gateway.Config)...).CombinedOutput()
		return string(out) // doctor's status says that something is bad
	}
	ctl := func(line string) string {
		out, _ := e.ctl(ctx, strings.Fields(line)...)
		return out
	}
	shows := func(run func(string) string, line, want, not string) {
		t.Helper()
		eventually.Nil(t, func() error {
			if out := run(line); !strings.Contains(out, want) || not != "" && strings.Contains(out, not) {
				return fmt.Errorf("%s: want %q, not %q\n%s%s", line, want, not, out, e.gateway.Tail())
			}
			return nil
		})
	}
	shows(ctl, "get vm", "running", "stale")
	shows(gateway, "get vm", "running", "stale")
	shows(gateway, "vcenters", "lab   ok", "none    none")
	shows(gateway, "doctor", "logged in and followed", "")

	vc.Inject(testvcenter.Freeze)
	frozen := time.Now()
	why := strings.TrimPrefix(vc.URL(), "https://") + " does not answer: no answer within"
	shows(gateway, "vcenters", why, "lab   ok")
	t.Logf("a freeze shows after %v", time.Since(frozen))
	shows(gateway, "vcenters", "none     none", "") // neither a session nor control
	shows(gateway, "status", "lab: degraded", "session")
	shows(gateway, "sources", why, "")
	shows(gateway, "get vm", "running (stale)", "")
	shows(gateway, "get vm -o json", `"stale": true`, `"stale": false`)
	shows(ctl, "get vm", "running (stale)", "")
	shows(ctl, "get vm -o wide", why, "")
	shows(gateway, "doctor", "see that vCenter runs, and that outgoing TCP to its port", "logged in")

	vc.Clear()
	shows(gateway, "vcenters", "lab   ok", why)
	shows(gateway, "get vm", "running", "stale")
	shows(ctl, "get vm", "running", "stale")
	if n := vc.Counts().Logins; n != 1 {
		t.Errorf("%d logins, though the session lives", n)
	}
}
