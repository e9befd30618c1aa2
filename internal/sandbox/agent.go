package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
)

// Agent is a running host agent or gateway.
type Agent struct {
	*Process
	Config string // file
	Socket string // of its API

	box     *Box
	program string
	name    string
	wrap    []string
	http    *http.Client
}

// AgentOptions say what an agent looks at. Zero fields mean this machine's own.
type AgentOptions struct {
	LibvirtSocket, LibvirtURI string
	Disabled                  []string // modules
	Wrap                      []string // a command to run the agent under, "ip netns exec x"
	PluginDir                 string   // of manifests
	Settings                  string   // more of the configuration file, after its tables
}

// Agent enrols and starts a host agent of this machine.
func (b *Box) Agent(ctx context.Context, c *ControlPlane, name string, o AgentOptions) (*Agent, error) {
	var text strings.Builder
	if o.PluginDir != "" {
		fmt.Fprintf(&text, "plugin_dir = %q\n", o.PluginDir)
	}
	fmt.Fprintf(&text, "[libvirt]\nsocket = %q\nuri = %q\n", o.LibvirtSocket, o.LibvirtURI)
	for _, m := range o.Disabled {
		fmt.Fprintf(&text, "[modules.%s]\ndisabled = true\n", m)
	}
	text.WriteString(o.Settings)
	a := &Agent{box: b, program: b.Programs.HostAgent, name: name, wrap: o.Wrap}
	return a, a.begin(ctx, c, api.JoinTokenRequest{Kind: "host"}, text.String())
}

// Gateway enrols and starts a gateway on this machine. The settings are of its
// configuration file.
func (b *Box) Gateway(ctx context.Context, c *ControlPlane, name, settings string) (*Agent, error) {
	a := &Agent{box: b, program: b.Programs.Gateway, name: name}
	return a, a.begin(ctx, c, api.JoinTokenRequest{Kind: "gateway"}, settings)
}

// begin writes the configuration, enrols and starts the agent.
func (a *Agent) begin(ctx context.Context, c *ControlPlane, q api.JoinTokenRequest, settings string) error {
	dir := filepath.Join(a.box.Dir, a.name)
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		return err
	}
	a.Config, a.Socket = filepath.Join(dir, "etc/agent.conf"), filepath.Join(dir, "agent.sock")
	text := fmt.Sprintf("state_dir = %q\nsocket = %q\n%s", filepath.Join(dir, "state"), a.Socket, settings)
	if err := os.WriteFile(a.Config, []byte(text), 0o600); err != nil {
		return err
	}
	token, err := c.Client.CreateJoinToken(ctx, q)
	if err != nil {
		return fmt.Errorf("make a join token: %w", err)
	}
	args := append(append([]string{}, a.wrap...), a.program, "enroll", "--config", a.Config, "--du", c.URL, "--token", "-")
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(token.Secret)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("enrol %s: %w\n%s", a.name, err, out)
	}
	a.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", a.Socket)
	}}}
	a.box.OnClose(func() {
		a.http.CloseIdleConnections()
		if a.Process != nil {
			_ = a.Stop()
		}
	})
	return a.Restart(ctx)
}

// Restart starts the agent again, after it was killed or stopped, and waits
// until its API answers.
func (a *Agent) Restart(ctx context.Context) error {
	if a.Process != nil {
		a.Kill()
	}
	args := append(append([]string{}, a.wrap...), a.program, "run", "--config", a.Config)
	var err error
	if a.Process, err = start(a.box.Dir, a.name, args[0], args[1:]...); err != nil {
		return err
	}
	return a.wait(ctx, "ready", func() error {
		c, err := net.DialTimeout("unix", a.Socket, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// Get asks the agent's API. The caller closes the body.
func (a *Agent) Get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		return nil, err
	}
	return a.http.Do(req)
}

// JSON asks the agent's API for a document.
func (a *Agent) JSON(ctx context.Context, path string, out any) error {
	resp, err := a.Get(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return json.NewDecoder(resp.Body).Decode(out)
}
