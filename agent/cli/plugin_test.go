package cli

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/internal/hostileplugin"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// TestMain is also the plugins that the tests run.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "be" {
		hostileplugin.Main(os.Args[2])
	}
	os.Exit(m.Run())
}

// hostWith makes a configuration of a host with one plugin installed.
func hostWith(t *testing.T) (file string) {
	t.Helper()
	m := mirror.New(mirror.Options{})
	m.Listed("plugins", []string{inventory.KindPlugin}, []plugin.Resource{{
		Key:  plugin.Key{Kind: inventory.KindPlugin, ID: "acme"},
		Spec: inventory.Plugin{State: "degraded", Reason: "array 7 does not answer", Version: "1.2.1", Resources: 42, Runner: "systemd"},
	}})
	file = agentWith(t, m)
	dir := filepath.Join(t.TempDir(), "plugins")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "plugin_dir = %q\n", dir)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"acme": "name = 'acme'\nversion = '1.2.0'\nkinds = ['com.acme.lun']\nexec = ['/usr/libexec/acme']\n",
		"bad":  "name = 'bad'\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func TestPluginCommands(t *testing.T) {
	file := hostWith(t)
	for _, test := range []struct {
		line   string
		status int
		want   string
	}{
		{"list", 0, "acme  1.2.1    no       degraded  42         array 7 does not answer"},
		{"list", 0, "bad"},
		{"list -o json", 0, `"com.acme.lun"`},
		{"show acme", 0, "may list   com.acme.lun"},
		{"show acme --json", 0, `"state": "degraded"`},
		{"show emca", 1, "there is no plugin emca"},
		{"show", 2, "want one plugin"},
		{"enable emca", 1, "not installed"},
		{"units " + filepath.Join(filepath.Dir(file), "none"), 1, "no such file"},
		{"wrong", 2, `no command "wrong"`},
		{"--help", 0, "attach SOCKET"},
	} {
		var out bytes.Buffer
		args := append([]string{"plugin"}, strings.Fields(test.line)...)
		if len(args) > 2 || args[1] == "list" {
			args = append(args, "--config", file)
		}
		if status := main1(args, &out, &out); status != test.status || !strings.Contains(out.String(), test.want) {
			t.Errorf("plugin %s: status %d\n%s\nwant %q", test.line, status, &out, test.want)
		}
	}
}

func TestPluginIsEnabledAndDisabled(t *testing.T) {
	file := hostWith(t)
	c := &command{program: hostAgent, config: file}
	for _, want := range []bool{true, true, false, false, true} {
		if err := c.setEnabled("acme", want); err != nil {
			t.Fatal(err)
		}
		all, err := (&command{program: hostAgent, config: file}).plugins(t.Context())
		if err != nil || all[0].Name != "acme" || all[0].Enabled != want {
			t.Errorf("after enabled = %v: %+v, %v", want, all, err)
		}
	}
}

func TestPluginIsTried(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thing"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"dir":%q}`, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("plugin.sh", fmt.Appendf(nil, "exec %s be good\n", self), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{self, "be", "good"}, {"sh", "plugin.sh"}} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		out := &until{want: "com.example.thing  thing", met: cancel}
		c := &command{program: hostAgent, name: "plugin run", args: append([]string{"--config", config}, args...), out: out, errs: out}
		if err := pluginRun(ctx, c); ctx.Err() != context.Canceled {
			t.Errorf("run %v: %v\n%s", args, err, &out.all)
		}
	}
	var wrong bytes.Buffer
	c := &command{program: hostAgent, name: "plugin run", args: []string{"--config", "-", self, "be", "good"}, in: strings.NewReader(`{"dri":"x"}`), out: &wrong, errs: &wrong}
	if err := pluginRun(t.Context(), c); err == nil || !strings.Contains(err.Error(), `unknown key "dri"`) {
		t.Errorf("run with a wrong configuration from standard input: %v", err)
	}
	c = &command{program: hostAgent, name: "plugin run", args: []string{self, "be", "duplicates"}, out: &wrong, errs: &wrong}
	if err := pluginRun(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no-duplicate-ids") {
		t.Errorf("run of a plugin that breaks a rule: %v", err)
	}
}

// Whoever of the two comes first listens.
func TestPluginIsAttached(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, listens := range map[string]bool{"it listens": true, "it connects": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			config, socket := filepath.Join(dir, "config"), filepath.Join(dir, "socket")
			if err := os.WriteFile(filepath.Join(dir, "thing"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(config, fmt.Appendf(nil, `{"dir":%q}`, dir), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			connect := func() (net.Conn, error) { return connectSoon(ctx, socket) }
			if listens {
				l, err := net.Listen("unix", socket)
				if err != nil {
					t.Fatal(err)
				}
				context.AfterFunc(ctx, func() { _ = l.Close() })
				connect = l.Accept
			}
			var wg sync.WaitGroup
			defer func() { cancel(); wg.Wait() }()
			wg.Go(func() {
				if err := serveOn(ctx, connect, self, "be", "good"); err != nil {
					t.Error(err)
					cancel()
				}
			})
			out := &until{want: "com.example.thing  thing", met: cancel}
			c := &command{program: hostAgent, name: "plugin attach", args: []string{"--config", config, socket}, out: out, errs: out}
			if err := pluginAttach(ctx, c); ctx.Err() != context.Canceled || !strings.Contains(out.all.String(), out.want) {
				t.Errorf("attach: %v\n%s", err, &out.all)
			}
		})
	}
}

// connectSoon connects with a socket as soon as somebody listens.
func connectSoon(ctx context.Context, socket string) (net.Conn, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// serveOn runs a plugin to its end with a connection as its standard input.
func serveOn(ctx context.Context, connect func() (net.Conn, error), program string, args ...string) error {
	conn, err := connect()
	if err != nil {
		return err
	}
	stdin, err := conn.(*net.UnixConn).File()
	if err != nil {
		return err
	}
	defer stdin.Close()
	if err := conn.Close(); err != nil { // the file is another descriptor
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	cmd.Stdin = stdin
	return cmd.Run()
}

// until is a writer that waits for a text.
type until struct {
	all  bytes.Buffer
	want string
	met  func()
}

func (u *until) Write(b []byte) (int, error) {
	u.all.Write(b)
	if strings.Contains(u.all.String(), u.want) {
		u.met()
	}
	return len(b), nil
}
