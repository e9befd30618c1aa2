package sandbox_test

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// status is what the tests read of the agent's.
type status struct {
	Host   string
	Tunnel struct {
		Connected bool
		Problem   string
	}
	Kinds map[string]int
}

func newBox(t *testing.T) *sandbox.Box {
	t.Helper()
	programs, err := sandbox.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pf9") // short: sockets' paths are
	if err != nil {
		t.Fatal(err)
	}
	b := sandbox.New(programs, dir)
	t.Cleanup(func() {
		b.Close()
		_ = os.RemoveAll(dir)
	})
	return b
}

// TestInstallation runs the programs as they ship through a host's life.
func TestInstallation(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all programs")
	}
	ctx := t.Context()
	b := newBox(t)
	cp, err := b.ControlPlane(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	a, err := b.Agent(ctx, cp, "agent", sandbox.AgentOptions{LibvirtSocket: "/nonexistent"})
	if err != nil {
		t.Fatal(err)
	}
	var host api.Host
	eventually.Nil(t, func() error {
		hosts, err := cp.Client.Hosts(ctx)
		if err != nil || len(hosts) != 1 || !hosts[0].Connected || hosts[0].Counts[inventory.KindLink] == 0 || hosts[0].Counts[inventory.KindFilesystem] == 0 {
			return fmt.Errorf("hosts %+v, %w", hosts, err)
		}
		host = hosts[0]
		return nil
	})

	t.Run("the catalogue equals the mirror", func(t *testing.T) {
		eventually.Nil(t, func() error {
			for _, kind := range []string{inventory.KindHost, inventory.KindLink, inventory.KindRoute, inventory.KindDevice} {
				var mirror struct{ Items []struct{ ID string } }
				if err := a.JSON(ctx, "/v1/resources?kind="+kind, &mirror); err != nil {
					return err
				}
				catalogue, err := cp.Client.Resources(ctx, kind, client.Filter{})
				if err != nil {
					return err
				}
				if len(catalogue) != len(mirror.Items) {
					return fmt.Errorf("%s: %d in the catalogue, %d on the host", kind, len(catalogue), len(mirror.Items))
				}
				for i := range catalogue {
					if catalogue[i].ID != mirror.Items[i].ID || catalogue[i].Stale {
						return fmt.Errorf("%s: %+v, want %s", kind, catalogue[i], mirror.Items[i].ID)
					}
				}
			}
			return nil
		})
	})

	t.Run("the commands on the host answer", func(t *testing.T) {
		for _, args := range []string{"status", "sources", "get host", "get network -o wide", "get storage -o json", "config check", "doctor"} {
			cmd := exec.CommandContext(ctx, b.Programs.HostAgent, append(strings.Fields(args), "--config", a.Config)...)
			out, err := cmd.CombinedOutput()
			if err != nil || len(out) == 0 {
				t.Errorf("%s: %v\n%s", args, err, out)
			}
		}
	})

	t.Run("a killed control plane gets its hosts back", func(t *testing.T) {
		cp.Kill()
		if err := cp.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		eventually.Nil(t, func() error {
			h, err := cp.Client.Host(ctx, host.ID)
			if err != nil || !h.Connected {
				return fmt.Errorf("host %+v, %w", h, err)
			}
			return nil
		})
	})

	t.Run("another deployment unit refuses the host", func(t *testing.T) {
		other, err := sandbox.New(b.Programs, t.TempDir()).ControlPlane(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Stop() }()
		// The same host, pointed at the wrong place, with the right name.
		text, err := os.ReadFile(a.Config)
		if err != nil {
			t.Fatal(err)
		}
		token, err := cp.JoinToken(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		wrong := exec.CommandContext(ctx, b.Programs.HostAgent, "enroll", "--config", a.Config, "--du", other.URL, "--token", "-")
		wrong.Stdin = strings.NewReader(token)
		if out, err := wrong.CombinedOutput(); err == nil || !strings.Contains(string(out), "its authority is another") {
			t.Errorf("enrolment at a deployment unit that the token is not from: %v\n%s", err, out)
		}
		if again, err := os.ReadFile(a.Config); err != nil || string(again) != string(text) {
			t.Error("a failed enrolment changed the configuration")
		}
	})

	t.Run("revocation cuts the tunnel and says why", func(t *testing.T) {
		if err := cp.Client.Revoke(ctx, host.ID, "left the company"); err != nil {
			t.Fatal(err)
		}
		eventually.Nil(t, func() error {
			h, err := cp.Client.Host(ctx, host.ID)
			if err != nil || h.Connected || !strings.Contains(h.Reason, "left the company") {
				return fmt.Errorf("host %v %q, %w", h.Connected, h.Reason, err)
			}
			var st status
			if err := a.JSON(ctx, "/v1/status", &st); err != nil || st.Tunnel.Connected || !strings.Contains(st.Tunnel.Problem, "left the company") {
				return fmt.Errorf("agent says %+v, %w", st.Tunnel, err)
			}
			audit, err := cp.Client.Audit(ctx, url.Values{"action": {"tunnel.refused"}})
			if err != nil || !slices.ContainsFunc(audit.Entries, func(e api.AuditEntry) bool { return strings.Contains(e.Reason, "left the company") }) {
				return fmt.Errorf("audit %+v, %w", audit.Entries, err)
			}
			return nil
		})
	})

	t.Run("a running agent takes a new identity", func(t *testing.T) {
		again := func(cp *sandbox.ControlPlane) {
			t.Helper()
			made, err := cp.Client.CreateJoinToken(ctx, api.JoinTokenRequest{Host: host.ID, Kind: "host", Uses: 1, TTLSeconds: 3600})
			if err != nil {
				t.Fatal(err)
			}
			enroll := exec.CommandContext(ctx, b.Programs.HostAgent, "enroll", "--config", a.Config, "--du", cp.URL, "--token", "-")
			enroll.Stdin = strings.NewReader(made.Secret)
			if out, err := enroll.CombinedOutput(); err != nil || !strings.Contains(string(out), "connects now") {
				t.Fatalf("enroll: %v\n%s", err, out)
			}
			eventually.Nil(t, func() error {
				h, err := cp.Client.Host(ctx, host.ID)
				if err != nil || !h.Connected || h.Counts[inventory.KindLink] == 0 {
					return fmt.Errorf("host %+v, %w", h, err)
				}
				return nil
			})
		}
		again(cp) // revoked before
		other, err := sandbox.New(b.Programs, t.TempDir()).ControlPlane(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Stop() }()
		again(other) // moved
		eventually.Nil(t, func() error {
			h, err := cp.Client.Host(ctx, host.ID)
			if err != nil || h.Connected {
				return fmt.Errorf("still connected to the first: %+v, %w", h, err)
			}
			return nil
		})
		again(cp) // and back
	})

	t.Run("both end when told", func(t *testing.T) {
		for _, p := range []*sandbox.Process{a.Process, cp.Process} {
			if err := p.Stop(); err != nil {
				t.Errorf("%s: %v\n%s", p.Name, err, p.Tail())
			}
		}
		if _, err := os.Stat(a.Socket); !os.IsNotExist(err) {
			t.Errorf("the agent's socket is still there: %v", err)
		}
	})
}
