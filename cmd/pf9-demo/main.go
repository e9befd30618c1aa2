// Command pf9-demo runs a control plane, a host agent for this machine and a
// gateway beside a simulated vCenter in a temporary directory, shows what is
// discovered and follows changes, until it is interrupted. It leaves nothing
// behind.
//
// DEMO_LIBVIRT says whose VMs: "user" starts a private libvirtd with an emulated
// guest, "none" does without, and by default it is the system's, which the demo
// offers to install if it is missing. --once ends after showing the inventory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const discovered = time.Minute // for the whole inventory to arrive

func main() {
	once := flag.Bool("once", os.Getenv("DEMO_ONCE") != "", "end after showing the inventory")
	flag.Parse()
	runtime.LockOSThread() // children get a SIGKILL when this thread ends
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	err := demo(ctx, *once)
	if err != nil && ctx.Err() == nil { // what fails after an interrupt fails because of it
		fmt.Fprintln(os.Stderr, "pf9-demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, once bool) (err error) {
	o, guest, err := chooseLibvirt(ctx, os.Getenv("DEMO_LIBVIRT"))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pf9-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Println("building the programs; the first time takes a minute or two ...")
	programs, err := sandbox.Build(ctx, dir)
	if err != nil {
		return err
	}
	box := sandbox.New(programs, dir)
	defer box.Close()
	if guest {
		fmt.Println("starting a private libvirtd with an emulated guest ...")
		if o, err = startGuest(box); err != nil {
			return err
		}
	}
	cp, err := box.ControlPlane(ctx, "")
	if err != nil {
		return err
	}
	agent, err := box.Agent(ctx, cp, "agent", o)
	if err != nil {
		return err
	}
	gateway, err := startVCenter(ctx, box, cp)
	if err != nil {
		return err
	}
	if err := waitForInventory(ctx, cp.Client, guest); err != nil {
		return err
	}
	flags := []string{"--url", cp.URL, "--token-file", filepath.Join(cp.State, "admin.token"), "--ca-file", cp.CAFile}
	for _, line := range []string{"host list", "vm list", "get cluster", "network list", "storage list"} {
		fmt.Printf("\n$ pf9ctl %s\n", line)
		show := exec.CommandContext(ctx, programs.Ctl, append(strings.Fields(line), flags...)...)
		show.Stdout, show.Stderr = os.Stdout, os.Stderr
		if err := show.Run(); err != nil {
			return fmt.Errorf("pf9ctl %s: %w", line, err)
		}
	}
	fmt.Printf("\ncontrol plane  %s\nadmin token    %s\ncontext        %s context set demo %s\non this host   %s status --config %s\n",
		cp.URL, cp.AdminToken, programs.Ctl, strings.Join(flags, " "), programs.HostAgent, agent.Config)
	if once {
		return nil
	}
	fmt.Printf("beside vCenter %s vcenters --config %s\n", programs.Gateway, gateway.Config)
	fmt.Printf("\nChanges follow: start a VM, add an address, or, in another terminal,\n  %s vm stop --force DC0_C0_RP0_VM0 %s\nCtrl-C ends and removes everything.\n\n", programs.Ctl, strings.Join(flags, " "))
	return follow(ctx, cp, agent, gateway)
}

// waitForInventory waits until every module has listed once, or said why not.
func waitForInventory(ctx context.Context, c *client.Client, guest bool) error {
	ctx, cancel := context.WithTimeout(ctx, discovered)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := whole(ctx, c, guest)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the inventory is not whole: %w", err)
		}
	}
}

func whole(ctx context.Context, c *client.Client, guest bool) error {
	hosts, err := c.Hosts(ctx)
	if err != nil {
		return err
	}
	if len(hosts) != 2 {
		return errors.New("a host or the gateway has not reported")
	}
	for _, h := range hosts {
		if !h.Connected || len(h.Sources) == 0 {
			return fmt.Errorf("%s has not reported", h.Hostname)
		}
		for _, s := range h.Sources {
			if s.State == "starting" {
				return fmt.Errorf("the module %s of %s is still starting", s.Name, h.Hostname)
			}
		}
		if missing(h, guest) {
			return fmt.Errorf("what %s must have is not there yet", h.Hostname)
		}
	}
	return nil
}

func missing(h api.Host, guest bool) bool {
	if h.Hypervisor == wire.HypervisorVMware {
		return h.Counts[inventory.KindVM] == 0 || h.Counts[inventory.KindCluster] == 0
	}
	return h.Counts[inventory.KindLink] == 0 || guest && h.Counts[inventory.KindVM] == 0
}

// follow prints changes until ctx ends or a program does.
func follow(ctx context.Context, cp *sandbox.ControlPlane, agents ...*sandbox.Agent) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	programs := []*sandbox.Process{cp.Process}
	for _, a := range agents {
		programs = append(programs, a.Process)
	}
	for _, p := range programs {
		go func() { // ends with the program, which the box ends
			<-p.Done()
			cancel(fmt.Errorf("%s has ended:\n%s", p.Name, p.Tail()))
		}()
	}
	synced := false
	err := cp.Client.Watch(ctx, nil, func(e client.Event) {
		stamp := time.Now().Format("15:04:05.000")
		switch e.Type {
		case api.Synced:
			synced = true
		case api.Added, api.Modified:
			var r api.Resource
			if synced && json.Unmarshal(e.Data, &r) == nil {
				fmt.Println(stamp, e.Type, r.Kind, r.Name, r.State)
			}
		case api.Deleted:
			var g api.Gone
			if json.Unmarshal(e.Data, &g) == nil {
				fmt.Println(stamp, e.Type, g.Kind, g.Name)
			}
		}
	}, func(err error) { fmt.Println("watch interrupted:", err) })
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
