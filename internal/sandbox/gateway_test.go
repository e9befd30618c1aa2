package sandbox_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// trusting is a client that believes the deployment unit's authority.
func trusting(t *testing.T, caFile string) *http.Client {
	t.Helper()
	text, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: 20 * time.Second, Transport: transport}
}

// TestGateway runs a gateway without a vCenter, and what people see of it.
func TestGateway(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all programs")
	}
	ctx := t.Context()
	b := newBox(t)
	cp, err := b.ControlPlane(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	g, err := b.Gateway(ctx, cp, "gateway", "[vcenters.main]\nurl = 'https://vc.example'\n")
	if err != nil {
		t.Fatal(err)
	}
	var found api.Host
	eventually.Nil(t, func() error {
		hosts, err := cp.Client.Hosts(ctx)
		if err != nil || len(hosts) != 1 || !hosts[0].Connected || hosts[0].Counts[inventory.KindHost] != 1 {
			return fmt.Errorf("hosts %+v, %w\n%s", hosts, err, g.Tail())
		}
		found = hosts[0]
		return nil
	})
	if found.Kind != "gateway" || found.Hypervisor != wire.HypervisorVMware || !strings.HasPrefix(found.Agent, "pf9-gateway/") {
		t.Errorf("the deployment unit shows %+v", found)
	}

	t.Run("its certificate names a gateway", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(g.Config), "certs/hostagent/cert.pem"))
		if err != nil {
			t.Fatal(err)
		}
		certs, err := pki.ParseCertificates(text)
		if err != nil {
			t.Fatal(err)
		}
		if want := "spiffe://du.sandbox.example/gateway/" + string(found.ID); len(certs[0].URIs) != 1 || certs[0].URIs[0].String() != want {
			t.Errorf("the certificate names %v, want %s", certs[0].URIs, want)
		}
	})

	t.Run("compatible clients see it", func(t *testing.T) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, cp.URL+"/resmgr/v1/hosts", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Auth-Token", cp.AdminToken)
		resp, err := trusting(t, cp.CAFile).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var hosts []struct {
			ID         wire.HostID
			Hypervisor struct {
				Type string `json:"hypervisor_type"`
			} `json:"hypervisor_info"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&hosts); err != nil || len(hosts) != 1 || hosts[0].ID != found.ID || hosts[0].Hypervisor.Type != "VMWareCluster" {
			t.Errorf("/resmgr/v1/hosts shows %+v, %v", hosts, err)
		}
	})

	t.Run("pf9ctl lists it as one", func(t *testing.T) {
		token := filepath.Join(b.Dir, "token")
		if err := os.WriteFile(token, []byte(cp.AdminToken), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(ctx, b.Programs.Ctl, "host", "list", "-o", "wide", "--url", cp.URL, "--ca-file", cp.CAFile, "--token-file", token).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "  gateway  connected") || !strings.Contains(string(out), "  VMWareCluster  ") {
			t.Errorf("%v\n%s", err, out)
		}
	})

	t.Run("the commands on the appliance answer", func(t *testing.T) {
		for args, want := range map[string]string{
			"status": "up for ", "status --json": `"connected": true`, "sources": "host", "get host": "CPUs", "get host -o json": string(found.ID), "config check": "is good",
			"config show": "vc.example", "version": "pf9-gateway ", "plugin list": "NAME",
		} {
			cmd := exec.CommandContext(ctx, b.Programs.Gateway, append(strings.Fields(args), "--config", g.Config)...)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: %v\n%s", args, err, out)
			}
		}
	})

	t.Run("doctor tells what is wrong with a vCenter that is not there", func(t *testing.T) {
		cmd := exec.CommandContext(ctx, b.Programs.Gateway, "doctor", "--config", g.Config)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("doctor: %v\n%s", err, out)
		}
		for _, want := range []string{"certificate until", "vc.example:443 does not answer: ", "no account to log in with", "pf9-gateway pair main --user NAME", "2 checks are bad"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
	})

	t.Run("neither daemon takes the other's place", func(t *testing.T) {
		host, err := cp.Client.CreateJoinToken(ctx, api.JoinTokenRequest{Kind: "host", Host: found.ID})
		if err != nil {
			t.Fatal(err)
		}
		enroll := exec.CommandContext(ctx, b.Programs.Gateway, "enroll", "--config", g.Config, "--du", cp.URL, "--token", "-")
		enroll.Stdin = strings.NewReader(host.Secret)
		if out, err := enroll.CombinedOutput(); err == nil || !strings.Contains(string(out), "the join token is for a host, this is a gateway") {
			t.Errorf("a gateway with a host's join token: %v\n%s", err, out)
		}
	})

	if err := g.Stop(); err != nil {
		t.Errorf("%v\n%s", err, g.Tail())
	}
}
