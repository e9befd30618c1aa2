package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os/exec"
	"strings"

	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/internal/vcsim"
)

const vcenterUser = "gateway@vsphere.local"

// startVCenter starts govmomi's simulator of vCenter and a gateway, and pairs
// the two as a customer's administrator does.
func startVCenter(ctx context.Context, box *sandbox.Box, cp *sandbox.ControlPlane) (*sandbox.Agent, error) {
	fmt.Println("starting a simulated vCenter and a gateway beside it ...")
	password := rand.Text()
	vc, err := vcsim.Start(vcsim.Options{Clusters: 1, Hosts: 2, VMs: 4, User: vcenterUser, Password: password})
	if err != nil {
		return nil, err
	}
	box.OnClose(vc.Close)
	gateway, err := box.Gateway(ctx, cp, "gateway", "")
	if err != nil {
		return nil, err
	}
	pair := exec.CommandContext(ctx, box.Programs.Gateway, "pair", "demo", "--config", gateway.Config,
		"--url", vc.URL, "--thumbprint", vc.Thumbprint, "--control", "--user", vcenterUser, "--password-file", "-")
	pair.Stdin = strings.NewReader(password + "\n")
	if out, err := pair.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pair with the simulated vCenter: %w\n%s", err, out)
	}
	return gateway, nil
}
