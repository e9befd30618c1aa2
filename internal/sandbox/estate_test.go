package sandbox_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/internal/sandbox"
)

// An estate is a control plane and, once it is started, a gateway.
type estate struct {
	*sandbox.Box
	t       *testing.T
	cp      *sandbox.ControlPlane
	gateway *sandbox.Agent
	conf    strings.Builder // the gateway's, of vCenters
}

// newEstate starts the control plane.
func newEstate(t *testing.T) *estate {
	t.Helper()
	e := &estate{Box: newBox(t), t: t}
	var err error
	if e.cp, err = e.ControlPlane(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	return e
}

// vcenter has the gateway know a vCenter and its account; more are further lines of
// its configuration.
func (e *estate) vcenter(name, url, thumbprint, user, password, more string) {
	e.t.Helper()
	v, err := vault.Open(vault.Options{Dir: filepath.Join(e.Dir, "gateway/state/vault")})
	if err == nil {
		err = v.Set(name, vault.Secret{User: user, Password: password})
	}
	if err != nil {
		e.t.Fatal(err)
	}
	fmt.Fprintf(&e.conf, "[vcenters.%s]\nurl = %q\nthumbprint = %q\n%s", name, url, thumbprint, more)
}

// start starts the gateway.
func (e *estate) start() {
	e.t.Helper()
	var err error
	if e.gateway, err = e.Gateway(e.t.Context(), e.cp, "gateway", e.conf.String()); err != nil {
		e.t.Fatal(err)
	}
}

// ctl runs pf9ctl for the estate's administrator.
func (e *estate) ctl(ctx context.Context, args ...string) (string, error) {
	args = append(args, "--url", e.cp.URL, "--token-file", filepath.Join(e.cp.State, "admin.token"), "--ca-file", e.cp.CAFile)
	out, err := exec.CommandContext(ctx, e.Programs.Ctl, args...).CombinedOutput()
	return string(out), err
}
