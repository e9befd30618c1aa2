package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/internal/testvcenter"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const (
	gatewayUser     = "gateway@vsphere.local"
	gatewayPassword = "only for the measurement"
)

// vcenterGateway runs a whole gateway beside a vCenter of 10,000 VMs, and the
// deployment unit that it reports to.
func vcenterGateway(ctx context.Context, r *run, probe string) error {
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // of the vCenter, which is not what is measured
	v, err := testvcenter.Start(testvcenter.Options{
		VMs: 10_000, Hosts: 128, Clusters: 4, Datastores: 8, Networks: 20, User: gatewayUser, Password: gatewayPassword,
	})
	if err != nil {
		return err
	}
	defer v.Close()
	cp, err := r.box.ControlPlane(ctx, "")
	if err != nil {
		return err
	}
	state := filepath.Join(r.box.Dir, "gateway/state/vault")
	account := exec.CommandContext(ctx, probe, "-", state, "main")
	account.Stdin = strings.NewReader(fmt.Sprintf(`{"user":%q,"password":%q}`, gatewayUser, gatewayPassword))
	if out, err := account.CombinedOutput(); err != nil {
		return fmt.Errorf("set the account: %w\n%s", err, out)
	}
	sum := sha256.Sum256(v.Certificate().Certificate[0])
	thumbprint := pki.Colons(sum[:])
	began := time.Now()
	g, err := r.box.Gateway(ctx, cp, "gateway", fmt.Sprintf("[vcenters.main]\nurl = %q\nthumbprint = %q\n", v.URL(), thumbprint))
	if err != nil {
		return err
	}
	if err := fullInventory(ctx, cp, 10_000); err != nil {
		return err
	}
	note(r, "10,000 VMs at the deployment unit after the start", time.Since(began), "")
	settle := time.Minute
	if r.quick {
		settle = 20 * time.Second
	}
	if err := steady(ctx, r, g, "beside 10,000 VMs", settle, 80, 0.5); err != nil {
		return err
	}
	first, err := sentUp(ctx, cp, g, 0)
	if err != nil {
		return err
	}
	most(r, "10,000 VMs: bytes to the deployment unit", float64(first)/1e6, 2, " MB")
	if err := g.Restart(ctx); err != nil {
		return err
	}
	if err := until(ctx, time.Minute, func() error { return listsAgain(ctx, cp) }); err != nil {
		return err
	}
	again, err := sentUp(ctx, cp, g, first)
	if err != nil {
		return err
	}
	most(r, "unchanged inventory after a restart of the gateway: bytes to the deployment unit", float64(again-first)/1e6, 0.1, " MB")
	calls := v.Counts().RESTCalls
	if calls == 0 {
		return errors.New("no tags were read")
	}
	open, peak := v.RESTSessions()
	note(r, "calls by REST for one tag, of two starts", calls, "")
	most(r, "REST sessions at once", peak, 1, "")
	most(r, "sessions after the end, REST's too", open+v.Sessions(), 0, "")
	return nil
}

// sentUp ends a gateway and returns how many bytes its deployment unit has
// received from tunnels that have ended, which was before until now.
func sentUp(ctx context.Context, cp *sandbox.ControlPlane, g *sandbox.Agent, before uint64) (bytes uint64, err error) {
	if err := g.Stop(); err != nil {
		return 0, err
	}
	err = until(ctx, 20*time.Second, func() error {
		hosts, err := cp.Client.Hosts(ctx)
		if err != nil || len(hosts) != 1 || hosts[0].Connected {
			return fmt.Errorf("the gateway is still connected, %w", err)
		}
		n, err := cp.Client.Metric(ctx, `tunnelserver_bytes_total{direction="received"}`)
		if bytes = uint64(n); err == nil && bytes == before {
			err = errors.New("nothing has been counted")
		}
		return err
	})
	return bytes, err
}

// listsAgain says why the gateway is not back with its whole inventory.
func listsAgain(ctx context.Context, cp *sandbox.ControlPlane) error {
	hosts, err := cp.Client.Hosts(ctx)
	if err != nil {
		return err
	}
	if len(hosts) != 1 || !hosts[0].Connected || hosts[0].Counts[inventory.KindVM] != 10_000 {
		return fmt.Errorf("hosts %+v", hosts)
	}
	for _, s := range hosts[0].Sources {
		if s.State != "ok" {
			return fmt.Errorf("the module %s is %s: %s", s.Name, s.State, s.Reason)
		}
	}
	return nil
}
