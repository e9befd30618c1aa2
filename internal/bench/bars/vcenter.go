package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/internal/testvcenter"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const vcenterPackage = "github.com/openpf9/openpf9/gateway/vcenter"

// vcenterBar measures the gateway's discovery of a vCenter with 10,000 VMs, and
// the whole gateway beside it.
func vcenterBar(ctx context.Context, r *run) error {
	probe := filepath.Join(r.box.Dir, "vcprobe")
	if err := goCommand(ctx, io.Discard, "build", "-o", probe, vcenterPackage+"/vcprobe"); err != nil {
		return err
	}
	if err := vcenterScale(ctx, r, probe); err != nil {
		return fmt.Errorf("scale: %w", err)
	}
	if err := vcenterGateway(ctx, r, probe); err != nil {
		return fmt.Errorf("the whole gateway: %w", err)
	}
	return nil
}

// goCommand runs the go command; what it prints goes to progress, and into the error.
func goCommand(ctx context.Context, progress io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, progress), &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, &out)
	}
	return nil
}

// vcEvent is a line of vcprobe.
type vcEvent struct {
	Event     string          `json:"event"`
	State     string          `json:"state"`
	Reason    string          `json:"reason"`
	Kinds     map[string]int  `json:"kinds"`
	Took      time.Duration   `json:"took"`
	CPU       time.Duration   `json:"cpu"`
	RSS       int             `json:"rss"`
	Peak      int             `json:"peak"`
	Latencies []time.Duration `json:"latencies"`
}

// vcenterScale reads 10,000 VMs, follows 500 updates a second, and freezes the path.
func vcenterScale(ctx context.Context, r *run, probe string) error {
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // the server's inventory is large, and its collection is not what is measured
	v, err := testvcenter.Start(testvcenter.Options{VMs: 10_000, Hosts: 128, Clusters: 4, Datastores: 8, Networks: 20})
	if err != nil {
		return err
	}
	defer v.Close()
	p, err := startProbe(ctx, probe, v)
	if err != nil {
		return err
	}
	defer p.kill()
	e, err := p.next(ctx, time.Minute, func(e vcEvent) bool { return e.Event == "listed" && e.Kinds[inventory.KindVM] == 10_000 })
	if err != nil {
		return err
	}
	n := v.Counts()
	if _, err := p.next(ctx, time.Minute, func(e vcEvent) bool { return e.Event == "sent" }); err != nil {
		return err
	}
	most(r, "10,000 VMs read whole: processor time of the client", e.CPU, 5*time.Second, "")
	most(r, "10,000 VMs read whole: calls", n.Calls-n.Waits, 110, "")
	most(r, "10,000 VMs read whole: resident memory", float64(e.RSS)/(1<<20), 80, " MiB")
	note(r, "10,000 VMs read whole: resident memory at most", float64(e.Peak)/(1<<20), " MiB")
	note(r, "10,000 VMs read whole: time, the server's work included", e.Took, "")
	note(r, "10,000 VMs read whole: read from the server", float64(n.BytesOut)/(1<<20), " MiB")
	if err := vcenterDeltas(ctx, r, v, p); err != nil {
		return err
	}
	return vcenterFreeze(ctx, r, v, p)
}

// vcenterDeltas changes 500 VMs a second and measures until each change would be sent.
func vcenterDeltas(ctx context.Context, r *run, v *testvcenter.Server, p *vcProbe) error {
	length := 30 * time.Second
	if r.quick {
		length = 5 * time.Second
	}
	vms := v.IDs("VirtualMachine")
	const every, each = 20 * time.Millisecond, 10
	tick := time.NewTicker(every)
	defer tick.Stop()
	sent, began := 0, time.Now()
	for time.Since(began) < length {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for ; sent < int(time.Since(began)/every)*each; sent++ { // also those that a late tick missed
			v.Stamp(vms[sent%len(vms)], time.Now())
		}
	}
	rate := float64(sent) / time.Since(began).Seconds()
	var all []time.Duration
	for len(all) < sent {
		e, err := p.next(ctx, 20*time.Second, func(e vcEvent) bool { return e.Event == "seen" })
		if err != nil {
			return fmt.Errorf("%d of %d changes seen: %w", len(all), sent, err)
		}
		all = append(all, e.Latencies...)
	}
	p50, p99 := p99(all)
	note(r, "changes a second", rate, "")
	note(r, "a change until it would be sent, median", p50, "")
	most(r, "a change until it would be sent, 99th percentile", p99, 50*time.Millisecond, "")
	return nil
}

// vcenterFreeze lets the path swallow packets, and pass them again: first by the
// connections that there were, then by new ones only.
func vcenterFreeze(ctx context.Context, r *run, v *testvcenter.Server, p *vcProbe) error {
	for _, fault := range []testvcenter.Fault{testvcenter.Freeze, testvcenter.Drop} {
		v.Inject(fault)
		began := time.Now()
		e, err := p.next(ctx, 2*time.Minute, func(e vcEvent) bool { return e.Event == "status" && e.State == "degraded" })
		if err != nil {
			return err
		}
		most(r, fault.String()+": a path that swallows packets is found after", time.Since(began), time.Minute, "")
		if r.quick {
			fmt.Println("  it says:", e.Reason)
		}
		v.Clear()
		began = time.Now()
		if _, err := p.next(ctx, time.Minute, func(e vcEvent) bool { return e.Event == "listed" }); err != nil {
			return err
		}
		most(r, fault.String()+": when packets pass again all is right after", time.Since(began), 5*time.Second, "")
	}
	most(r, "sessions after that", v.Sessions(), 1, "")
	p.stop()
	most(r, "sessions after the end", v.Sessions(), 0, "")
	return nil
}

// vcenterFaults runs the test of faults, at length.
func vcenterFaults(ctx context.Context, r *run) error {
	faults := 10_000
	if r.quick {
		faults = 200
	}
	report := filepath.Join(r.box.Dir, "faults.json")
	err := goCommand(ctx, os.Stdout, "test", vcenterPackage, "-v", "-count=1", "-timeout=4h", "-run=^TestNoFaultDeletesWhatIsThere$",
		"-args", fmt.Sprint("-faults=", faults), "-report="+report)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(report)
	if err != nil {
		return err
	}
	var f struct {
		Faults, Deleted, Sessions, Refused int
		REST                               int `json:"rest_sessions"`
		RESTPeak                           int `json:"rest_sessions_at_once"`
		Recovery                           time.Duration
		SlowestKind                        string `json:"slowest_kind"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	note(r, "faults", f.Faults, "")
	most(r, "live objects that a fault deleted", f.Deleted, 0, "")
	most(r, "sessions on the server after all faults", f.Sessions, 1, "")
	most(r, "REST sessions on the server after all faults", f.REST, 1, "")
	note(r, "REST sessions on the server at once, at most", f.RESTPeak, "")
	most(r, "refused logins", f.Refused, 0, "")
	most(r, "from a fault's end until all is right again, at most (after "+f.SlowestKind+")", f.Recovery, 5*time.Second, "")
	return nil
}

// vcProbe is a running vcprobe.
type vcProbe struct {
	cmd    *exec.Cmd
	events chan vcEvent
	done   chan struct{} // closed when it has ended
}

func startProbe(ctx context.Context, program string, v *testvcenter.Server) (*vcProbe, error) {
	conf, err := json.Marshal(map[string]string{"url": v.URL(), "pin": v.Pin(), "user": "gw@vsphere.local", "password": "secret"})
	if err != nil {
		return nil, err
	}
	file := program + ".json"
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &vcProbe{cmd: cmd, events: make(chan vcEvent, 1024), done: make(chan struct{})}
	go func() { // ends with the child, which kill or stop end
		p.read(out)
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *vcProbe) read(out io.Reader) {
	defer close(p.events)
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var e vcEvent
		if json.Unmarshal(line, &e) == nil {
			p.events <- e
		}
	}
}

// next returns the next event of that kind.
func (p *vcProbe) next(ctx context.Context, limit time.Duration, is func(vcEvent) bool) (vcEvent, error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	last := vcEvent{}
	for {
		select {
		case e, ok := <-p.events:
			if !ok {
				return e, errors.New("vcprobe has ended")
			}
			if is(e) {
				return e, nil
			}
			last = e
		case <-late.C:
			return last, fmt.Errorf("not within %v; vcprobe says %+v", limit, last)
		case <-ctx.Done():
			return last, ctx.Err()
		}
	}
}

// stop ends the probe politely.
func (p *vcProbe) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	for {
		select {
		case <-p.events:
		case <-p.done:
			return
		}
	}
}

func (p *vcProbe) kill() {
	_ = p.cmd.Process.Kill()
	p.stop()
}
