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
	"syscall"
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
	if os.Geteuid() != 0 {
		return errors.New("a systemd in a container needs root")
	}
	for _, tool := range []string{"systemd-nspawn", "mmdebstrap", "nsenter", "systemd-analyze"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing (Debian: mmdebstrap systemd-container): %w", tool, err)
		}
	}
	root := filepath.Join(r.box.Dir, "root")
	if err := command(ctx, "mmdebstrap", "--quiet", "--variant=minbase", "--include=systemd,systemd-sysv,dbus", "bookworm", root); err != nil {
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
	c, err := boot(ctx, root)
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

// command runs a program to its end.
func command(ctx context.Context, words ...string) error {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, out[max(0, len(out)-2000):])
	}
	return nil
}

// installed is a plugin to put into a Debian.
type installed struct {
	name, kind string
	args       []string
}

var (
	stockPlugin = installed{"exec", "com.example.none", []string{"--kind", "com.example.none"}}
	probePlugin = installed{hostileplugin.Probe, hostileplugin.ProbeKind, []string{bePlugin, hostileplugin.Probe}}
)

// put writes a file below a root.
func put(root, path string, content []byte, mode os.FileMode) error {
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, mode)
}

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
	found := overall.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("systemd-analyze says no exposure: %w\n%s", err, out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// container is a booted Debian.
type container struct {
	cmd  *exec.Cmd
	init string // its process id, as we see it
}

func boot(ctx context.Context, root string) (*container, error) {
	c := &container{cmd: exec.Command("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
		"--directory="+root, "--boot", "--console=pipe")}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	err := until(ctx, time.Minute, func() error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.cmd.Process.Pid, c.cmd.Process.Pid))
		if c.init = strings.TrimSpace(string(b)); err != nil || c.init == "" {
			return fmt.Errorf("no init yet: %w", err)
		}
		var out strings.Builder
		err = c.run(ctx, &out, "systemctl", "is-system-running")
		if s := strings.TrimSpace(out.String()); s != "running" && s != "degraded" {
			return fmt.Errorf("systemd is %q: %w", s, err)
		}
		return nil
	})
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// run runs a program inside.
func (c *container) run(ctx context.Context, out io.Writer, words ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", c.init, "-a"}, words...)...)
	var errs strings.Builder
	cmd.Stdout, cmd.Stderr = out, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("in the container: %s: %w: %s", strings.Join(words, " "), err, errs.String())
	}
	return nil
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

// close ends the container; when its init is killed the kernel kills the rest.
func (c *container) close() {
	if pid, err := strconv.Atoi(c.init); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	late := time.AfterFunc(5*time.Second, func() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) })
	_ = c.cmd.Wait() // it was killed
	late.Stop()
}
