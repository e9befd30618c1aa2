package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/hostileplugin"
	"github.com/openpf9/openpf9/internal/pluginhost"
	"github.com/openpf9/openpf9/plugin/protocol"
)

// dialPlugin, as the first argument, makes this program dial a plugin's socket a
// number of times and print what came of it.
const dialPlugin = "dial-plugin"

// dialled is what it prints.
type dialled struct {
	Took  []time.Duration     `json:"took"` // from the dial to the hello
	Facts hostileplugin.Facts `json:"facts"`
}

func runDialPlugin(socket, times string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	var d dialled
	for range n {
		if err := d.dial(socket); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(d)
}

// dial holds one conversation, until the first list.
func (d *dialled) dial(socket string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	began := time.Now()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	s, err := protocol.Open(ctx, conn, protocol.Options{
		Agent: "bars", Interval: time.Minute,
		Admit: func(protocol.Hello) (json.RawMessage, error) {
			d.Took = append(d.Took, time.Since(began))
			return nil, nil
		},
		Apply: func(b protocol.Batch) error {
			defer cancel()
			if len(b.Upserts) == 0 {
				return nil // the stock plugin has nothing to list
			}
			return json.Unmarshal(b.Upserts[0].Spec, &d.Facts)
		},
	})
	if err != nil {
		return err
	}
	if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// sandboxBar runs a plugin under a real systemd, in a container, from the units
// that its manifest makes.
func sandboxBar(ctx context.Context, r *run) error {
	root := filepath.Join(r.box.Dir, "root")
	if err := debian(ctx, root); err != nil {
		return err
	}
	if err := errors.Join(stockPlugin.furnish(root, r.box.Programs.PluginExec), probePlugin.furnish(root, ""), populate(root)); err != nil {
		return err
	}
	exposure, err := exposed(ctx, root)
	if err != nil {
		return err
	}
	most(r, "exposure of a plugin's unit, by systemd-analyze", exposure, 3.5, "")
	c, err := boot(ctx, root, "--private-network")
	if err != nil {
		return err
	}
	defer c.close()
	d, err := c.dial(ctx, stockPlugin.name, 20)
	if err != nil {
		return err
	}
	p50, p := p99(d.Took)
	note(r, "dial until the hello of the stock plugin, in its sandbox, median", p50, "")
	most(r, "  longest of 20", p, 100*time.Millisecond, "")
	if d, err = c.dial(ctx, probePlugin.name, 1); err != nil {
		return err
	}
	f := d.Facts
	note(r, "its uid", f.UID, "")
	most(r, "  is root or the agent", b2i(f.UID < 61184 || f.UID > 65519), 0, "")
	most(r, "  network interfaces and sockets that it has", len(f.Interfaces)+b2i(f.Socket), 0, "")
	most(r, "  directories that it can write, "+strings.Join(f.Writable, " "), len(f.Writable), 0, "")
	most(r, "  directories of the agent that it can read, "+strings.Join(f.Readable, " "), len(f.Readable), 0, "")
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// installed is a plugin to put into a Debian.
type installed struct {
	name, kind string
	args       []string
}

var (
	stockPlugin = installed{"exec", "com.example.none", []string{"--kind", "com.example.none"}}
	deafPlugin  = installed{"deaf", hostileplugin.Kind, []string{bePlugin, "deaf"}} // heeds neither its end nor SIGTERM
	probePlugin = installed{hostileplugin.Probe, hostileplugin.ProbeKind, []string{bePlugin, hostileplugin.Probe}}
)

// furnish installs the plugin, whose program is this one if none is given, with
// the units of its manifest.
func (p installed) furnish(root, program string) error {
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		program = self
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	words, err := json.Marshal(append([]string{"/usr/libexec/pf9-" + p.name}, p.args...))
	if err != nil {
		return err
	}
	manifest := fmt.Sprintf("name = %q\nversion = '1'\nkinds = [%q]\nexec = %s\n", p.name, p.kind, words)
	if err := errors.Join(
		put(root, "/usr/libexec/pf9-"+p.name, text, 0o755),
		put(root, pluginhost.DefaultManifests+"/"+p.name+".toml", []byte(manifest), 0o644),
	); err != nil {
		return err
	}
	m, err := pluginhost.LoadManifest(filepath.Join(root, pluginhost.DefaultManifests), p.name)
	if err != nil {
		return err
	}
	for _, u := range pluginhost.Units(m) {
		if err := put(root, "/etc/systemd/system/"+u.Name, []byte(u.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// populate makes the agent's user and what a plugin must not see.
func populate(root string) error {
	return errors.Join(
		put(root, "/etc/pf9/certs/hostagent/key.pem", []byte("secret"), 0o644),
		put(root, "/var/lib/pf9/epoch", []byte("1"), 0o644),
		put(root, "/etc/sysusers.d/pf9.conf", []byte("u pf9 -\n"), 0o644),
		command(context.Background(), "systemd-sysusers", "--root="+root),
	)
}

var overall = regexp.MustCompile(`Overall exposure level for \S+: (\d+\.\d+)`)

// exposed is what systemd-analyze thinks of a plugin's service.
func exposed(ctx context.Context, root string) (float64, error) {
	text, err := os.ReadFile(filepath.Join(root, "/etc/systemd/system", pluginhost.UnitName(probePlugin.name)+"@.service"))
	if err != nil {
		return 0, err
	}
	instance := filepath.Join(root, "exposed@1.service")
	if err := os.WriteFile(instance, text, 0o644); err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, "systemd-analyze", "security", "--offline=true", "--no-pager", instance).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("systemd-analyze security: %w\n%s", err, out)
	}
	return exposure(string(out))
}

// exposure is what systemd-analyze says in the end.
func exposure(said string) (float64, error) {
	found := overall.FindStringSubmatch(said)
	if found == nil {
		return 0, fmt.Errorf("systemd-analyze says no exposure:\n%s", said)
	}
	return strconv.ParseFloat(found[1], 64)
}

// dial starts a plugin's socket and dials it.
func (c *container) dial(ctx context.Context, name string, times int) (d dialled, err error) {
	if err := c.run(ctx, io.Discard, "systemctl", "start", pluginhost.UnitName(name)+".socket"); err != nil {
		return d, err
	}
	var out strings.Builder
	if err := c.run(ctx, &out, "/usr/libexec/pf9-"+probePlugin.name, dialPlugin, pluginhost.DefaultSockets+"/"+name+".sock", strconv.Itoa(times)); err != nil {
		return d, err
	}
	return d, json.Unmarshal([]byte(out.String()), &d)
}
