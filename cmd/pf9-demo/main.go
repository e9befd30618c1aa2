// Command pf9-demo runs a control plane and a host agent for this machine in a
// temporary directory, shows what is discovered and follows changes, until it
// is interrupted. It leaves nothing behind.
//
// DEMO_LIBVIRT=user starts a private libvirtd with an emulated guest, none does
// without; else the system's is used if it is there. DEMO_ONCE=1 ends after
// showing the inventory.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/testlibvirt"
	"github.com/openpf9/openpf9/plugin/inventory"
)

func main() {
	runtime.LockOSThread() // children get a SIGKILL when this thread ends
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	if err := demo(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "pf9-demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("/tmp", "pf9-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // the private libvirtd runs as nobody
		return err
	}
	for _, p := range []string{"pf9-controlplane", "pf9-hostagent", "pf9ctl"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, p), "github.com/openpf9/openpf9/cmd/"+p)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", p, err, out)
		}
	}
	libvirt := ""
	switch mode := os.Getenv("DEMO_LIBVIRT"); mode {
	case "user":
		home := filepath.Join(dir, "v")
		if err := os.Mkdir(home, 0o755); err != nil {
			return err
		}
		d, err := testlibvirt.New(home)
		if err != nil {
			return err
		}
		defer d.Close()
		if err := errors.Join(d.Restart(), d.Define(testlibvirt.GuestXML("demo", "")), d.Start("demo")); err != nil {
			return err
		}
		libvirt = fmt.Sprintf("[libvirt]\nsocket = %q\nuri = \"qemu:///session\"\n", d.Socket())
	case "none":
		libvirt = "[modules.libvirt]\ndisabled = true\n"
	case "":
	default:
		return fmt.Errorf("DEMO_LIBVIRT=%s: want user, none or nothing", mode)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := l.Addr().String()
	_ = l.Close() // only its port is wanted
	state, url := filepath.Join(dir, "state"), "https://"+address
	cp, agent := filepath.Join(dir, "controlplane.toml"), filepath.Join(dir, "etc/hostagent.conf")
	if err := os.Mkdir(filepath.Dir(agent), 0o700); err != nil {
		return err
	}
	for file, text := range map[string]string{
		cp:    fmt.Sprintf("[du]\nfqdn = \"demo.local\"\nlisten = %q\nstate = %q\n", address, state),
		agent: fmt.Sprintf("state_dir = %q\nsocket = %q\n%s", filepath.Join(dir, "agent"), filepath.Join(dir, "agent.sock"), libvirt),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	end, err := start(dir, "pf9-controlplane", "all", "--config", cp)
	if err != nil {
		return err
	}
	defer end()
	flags := []string{"--url", url, "--token-file", filepath.Join(state, "admin.token"), "--ca-file", filepath.Join(state, "ca.pem")}
	var c *client.Client
	var token string
	if err := wait(ctx, "the control plane", func() error {
		text, err := os.ReadFile(flags[3])
		if err != nil {
			return err
		}
		token = strings.TrimSpace(string(text))
		if c, err = client.New(client.Options{URL: url, Token: token, CAFile: flags[5]}); err != nil {
			return err
		}
		_, err = c.Hosts(ctx)
		return err
	}); err != nil {
		return err
	}
	join, err := exec.CommandContext(ctx, filepath.Join(dir, "pf9-controlplane"), "--config", cp, "join-token", "create").Output()
	if err != nil {
		return fmt.Errorf("make a join token: %w", err)
	}
	enroll := exec.CommandContext(ctx, filepath.Join(dir, "pf9-hostagent"), "enroll", "--config", agent, "--du", url, "--token", strings.TrimSpace(string(join)))
	if out, err := enroll.CombinedOutput(); err != nil {
		return fmt.Errorf("enrol: %w\n%s", err, out)
	}
	endAgent, err := start(dir, "pf9-hostagent", "--config", agent)
	if err != nil {
		return err
	}
	defer endAgent()
	if err := wait(ctx, "the inventory", func() error {
		hosts, err := c.Hosts(ctx)
		if err != nil || len(hosts) != 1 || !hosts[0].Connected || hosts[0].Counts[inventory.KindLink] == 0 {
			return fmt.Errorf("not there yet: %v", err)
		}
		if strings.Contains(libvirt, "qemu") && hosts[0].Counts[inventory.KindVM] == 0 {
			return errors.New("no VM yet")
		}
		return nil
	}); err != nil {
		return err
	}
	fmt.Printf("control plane: %s\nadmin token:   %s\ntry:           %s/pf9ctl %s host list\n\n", url, token, dir, strings.Join(flags, " "))
	for _, line := range []string{"host list", "vm list", "network list", "storage list", "host watch"} {
		if line == "host watch" && os.Getenv("DEMO_ONCE") != "" {
			return nil
		}
		show := exec.CommandContext(ctx, filepath.Join(dir, "pf9ctl"), append(strings.Fields(line), flags...)...)
		show.Stdout, show.Stderr = os.Stdout, os.Stderr
		if err := show.Run(); err != nil {
			return fmt.Errorf("pf9ctl %s: %w", line, err)
		}
		fmt.Println()
	}
	return nil
}

// start starts a program; end stops it and waits.
func start(dir, name string, args ...string) (end func(), err error) {
	out, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
	}, nil
}

// wait tries for 30 s.
func wait(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, err)
		case <-tick.C:
		}
	}
}
