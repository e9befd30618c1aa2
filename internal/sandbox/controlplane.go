package sandbox

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
)

// ControlPlane is a running control plane with one deployment unit.
type ControlPlane struct {
	*Process
	URL        string
	State      string // directory
	AdminToken string
	CAFile     string
	Client     *client.Client

	box    *Box
	config string
}

// ControlPlane starts a control plane on a free port of an address, which is
// 127.0.0.1 if empty.
func (b *Box) ControlPlane(ctx context.Context, address string) (*ControlPlane, error) {
	if address == "" {
		address = "127.0.0.1"
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	listen := net.JoinHostPort(address, fmt.Sprint(port))
	c := &ControlPlane{box: b, URL: "https://" + listen, State: filepath.Join(b.Dir, "du"), config: filepath.Join(b.Dir, "controlplane.toml")}
	c.CAFile = filepath.Join(c.State, "ca.pem")
	text := fmt.Sprintf("[du]\nstate = %q\nlisten = %q\nfqdn = \"du.sandbox.example\"\nnames = [%q]\n", c.State, listen, address)
	if err := os.WriteFile(c.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	b.OnClose(func() {
		if c.Process != nil {
			_ = c.Stop()
		}
	})
	return c, c.Restart(ctx)
}

// Restart starts the control plane again, after it was killed or stopped, and
// waits until it answers.
func (c *ControlPlane) Restart(ctx context.Context) error {
	if c.Process != nil {
		c.Kill()
	}
	var err error
	if c.Process, err = start(c.box.Dir, "controlplane", c.box.Programs.ControlPlane, "all", "--config", c.config); err != nil {
		return err
	}
	return c.wait(ctx, "ready", func() error {
		if c.Client == nil {
			token, err := os.ReadFile(filepath.Join(c.State, "admin.token"))
			if err != nil {
				return err
			}
			c.AdminToken = strings.TrimSpace(string(token))
			if c.Client, err = client.New(client.Options{URL: c.URL, Token: c.AdminToken, CAFile: c.CAFile}); err != nil {
				return err
			}
		}
		_, err := c.Client.Kinds(ctx)
		return err
	})
}

// JoinToken makes a join token and returns it whole.
func (c *ControlPlane) JoinToken(ctx context.Context, uses int) (string, error) {
	made, err := c.Client.CreateJoinToken(ctx, api.JoinTokenRequest{Uses: uses, Description: "sandbox"})
	return made.Secret, err
}
