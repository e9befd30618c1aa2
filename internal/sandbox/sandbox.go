// Package sandbox runs a whole small installation on this machine from the real
// programs: a control plane, host agents, gateways, a private libvirtd. The demo and the
// system's bars stand on it. Everything lives in one directory and ends with
// Close; it is not for production.
package sandbox

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
)

// Programs are the paths of the built programs.
type Programs struct{ ControlPlane, HostAgent, Gateway, Ctl, PluginExec string }

// Build compiles the programs, as they ship, into dir. It must run inside of
// the module.
func Build(ctx context.Context, dir string) (Programs, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/",
		"github.com/openpf9/openpf9/cmd/pf9-controlplane",
		"github.com/openpf9/openpf9/cmd/pf9-hostagent",
		"github.com/openpf9/openpf9/cmd/pf9-gateway",
		"github.com/openpf9/openpf9/cmd/pf9ctl",
		"github.com/openpf9/openpf9/cmd/pf9-plugin-exec")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return Programs{}, fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return Programs{
		ControlPlane: filepath.Join(dir, "pf9-controlplane"),
		HostAgent:    filepath.Join(dir, "pf9-hostagent"),
		Gateway:      filepath.Join(dir, "pf9-gateway"),
		Ctl:          filepath.Join(dir, "pf9ctl"),
		PluginExec:   filepath.Join(dir, "pf9-plugin-exec"),
	}, nil
}

// Box is one installation in one directory.
type Box struct {
	Programs Programs
	Dir      string

	mu      sync.Mutex // guards closers
	closers []func()   // run by Close, last first
}

// New returns an empty box in an existing directory.
func New(p Programs, dir string) *Box { return &Box{Programs: p, Dir: dir} }

// OnClose adds something for Close to undo.
func (b *Box) OnClose(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closers = append(b.closers, f)
}

// Close ends everything that the box started, last first. The directory stays.
func (b *Box) Close() {
	b.mu.Lock()
	closers := b.closers
	b.closers = nil
	b.mu.Unlock()
	for i := len(closers) - 1; i >= 0; i-- {
		closers[i]()
	}
}

// freePort returns a loopback TCP port that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
