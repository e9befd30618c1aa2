package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/internal/hostileplugin"
	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// bePlugin, as the first argument, makes this program the plugin that the
// second one names.
const bePlugin = "be-plugin"

// stand is an agent with plugins that this program is.
type stand struct {
	agent     *sandbox.Agent
	cp        *sandbox.ControlPlane
	manifests string
	dir       string // whose files are the good plugin's resources
	files     int
}

// pluginsBar lets an agent run every hostile plugin, and looks at what it costs
// the agent and a good plugin beside them; then it kills the agent.
func pluginsBar(ctx context.Context, r *run) error {
	s, err := newStand(ctx, r.box)
	if err != nil {
		return err
	}
	if err := s.judged(ctx, hostileplugin.Mode{Name: hostileplugin.Good}); err != nil {
		return err
	}
	rounds := 100
	if r.quick {
		rounds = 20
	}
	alone, err := s.latency(ctx, rounds)
	if err != nil {
		return err
	}
	before, err := settled(ctx, s.agent.Process)
	if err != nil {
		return err
	}
	worst, name, err := s.oneByOne(ctx)
	if err != nil {
		return err
	}
	most(r, "agent's RSS growth under each hostile plugin in turn, MiB", mebibytes(worst, before), 8, "")
	note(r, "  worst is "+name+"; of how many", len(hostileplugin.Modes()), "")
	beside, all, cpu, err := s.together(ctx, rounds)
	if err != nil {
		return err
	}
	note(r, "  all of them at once, MiB", mebibytes(all, before), "")
	note(r, "  processor of the agent meanwhile, %", cpu, "")
	p50, p := p99(alone)
	note(r, "a change until the mirror has it, no other plugin, median", p50, "")
	note(r, "  99th percentile", p, "")
	p50, p = p99(beside)
	note(r, "  beside all hostile plugins, median", p50, "")
	most(r, "  99th percentile", p, 500*time.Millisecond, "")
	return s.orphans(ctx, r)
}

func mebibytes(after, before uint64) float64 { return (float64(after) - float64(before)) / (1 << 20) }

func newStand(ctx context.Context, box *sandbox.Box) (*stand, error) {
	cp, err := box.ControlPlane(ctx, "")
	if err != nil {
		return nil, err
	}
	s := &stand{cp: cp, manifests: filepath.Join(box.Dir, "manifests"), dir: filepath.Join(box.Dir, "things")}
	for _, dir := range []string{s.manifests, s.dir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := s.manifest(hostileplugin.Good, hostileplugin.GoodKind); err != nil {
		return nil, err
	}
	for _, m := range hostileplugin.Modes() {
		if err := s.manifest(m.Name, hostileplugin.Kind, inventory.KindVM); err != nil {
			return nil, err
		}
	}
	s.agent, err = box.Agent(ctx, cp, "agent", sandbox.AgentOptions{
		LibvirtSocket: "/nonexistent", PluginDir: s.manifests,
		Settings: fmt.Sprintf("[plugins.good]\nenabled = true\nrunner = 'exec'\nconfig = { dir = %q }\n", s.dir),
	})
	return s, err
}

func (s *stand) manifest(name string, kinds ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	list, err := json.Marshal(kinds)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("name = %q\nversion = '1'\nkinds = %s\nexec = [%q, %q, %q]\n", name, list, self, bePlugin, name)
	return os.WriteFile(filepath.Join(s.manifests, name+".toml"), []byte(text), 0o644)
}

// enable makes the agent run these hostile plugins and no others.
func (s *stand) enable(modes ...hostileplugin.Mode) error {
	var text strings.Builder
	for _, m := range modes {
		fmt.Fprintf(&text, "[plugins.%s]\nenabled = true\nrunner = 'exec'\n", m.Name)
	}
	dir := s.agent.Config + ".d"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "70-hostile.conf"), []byte(text.String()), 0o600); err != nil {
		return err
	}
	s.agent.Signal(syscall.SIGHUP)
	return nil
}

// judged waits until the agent says of a plugin what it must.
func (s *stand) judged(ctx context.Context, m hostileplugin.Mode) error {
	return until(ctx, 90*time.Second, func() error {
		var list []wire.SourceStatus
		if err := s.agent.JSON(ctx, "/v1/sources", &list); err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(st wire.SourceStatus) bool { return st.Name == m.Name })
		switch {
		case i < 0:
			return fmt.Errorf("%s is not known", m.Name)
		case m.Name == hostileplugin.Good && list[i].State != "ok":
			return fmt.Errorf("%s is %s: %s", m.Name, list[i].State, list[i].Reason)
		case !strings.Contains(list[i].Reason, m.Reason):
			return fmt.Errorf("%s is %s (%s), want %q", m.Name, list[i].State, list[i].Reason, m.Reason)
		}
		return nil
	})
}

// settled is a process's resident memory when it does not grow any more.
func settled(ctx context.Context, p *sandbox.Process) (uint64, error) {
	most := uint64(0)
	for range 20 {
		rss, err := p.RSS()
		if err != nil {
			return 0, err
		}
		most = max(most, rss)
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return most, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// peak watches a process's memory until done is closed.
func peak(p *sandbox.Process, done <-chan struct{}) (most uint64) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if rss, err := p.RSS(); err == nil {
			most = max(most, rss)
		}
		select {
		case <-tick.C:
		case <-done:
			return most
		}
	}
}

// during runs f and returns the most memory that the agent had meanwhile.
func (s *stand) during(f func() error) (most uint64, err error) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() { most = peak(s.agent.Process, done) })
	err = f()
	close(done)
	wg.Wait()
	return most, err
}

// oneByOne runs the hostile plugins alone, each until it is judged.
func (s *stand) oneByOne(ctx context.Context) (worst uint64, name string, err error) {
	for _, m := range hostileplugin.Modes() {
		rss, err := s.during(func() error {
			if err := s.enable(m); err != nil {
				return err
			}
			return s.judged(ctx, m)
		})
		if err != nil {
			return 0, "", err
		}
		if rss > worst {
			worst, name = rss, m.Name
		}
	}
	return worst, name, nil
}

// together runs all hostile plugins at once, and changes what the good one lists
// meanwhile.
func (s *stand) together(ctx context.Context, rounds int) (took []time.Duration, most uint64, cpu float64, err error) {
	before, err := s.agent.CPU()
	if err != nil {
		return nil, 0, 0, err
	}
	began := time.Now()
	most, err = s.during(func() error {
		if err := s.enable(hostileplugin.Modes()...); err != nil {
			return err
		}
		if took, err = s.latency(ctx, rounds); err != nil {
			return err
		}
		for _, m := range hostileplugin.Modes() {
			if err := s.judged(ctx, m); err != nil {
				return err
			}
		}
		return s.judged(ctx, hostileplugin.Mode{Name: hostileplugin.Good})
	})
	if err != nil {
		return nil, 0, 0, err
	}
	after, err := s.agent.CPU()
	return took, most, 100 * float64(after-before) / float64(time.Since(began)), err
}

// latency makes files and waits until the agent has each.
func (s *stand) latency(ctx context.Context, rounds int) (took []time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := s.agent.Get(ctx, "/v1/watch?kind="+hostileplugin.GoodKind)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := json.NewDecoder(resp.Body)
	for range rounds {
		s.files++
		id := strconv.Itoa(s.files)
		began := time.Now()
		if err := os.WriteFile(filepath.Join(s.dir, id), nil, 0o600); err != nil {
			return nil, err
		}
		for seen := false; !seen; {
			var c change
			if err := lines.Decode(&c); err != nil {
				return nil, err
			}
			seen = slices.ContainsFunc(c.Upserts, func(r wire.Resource) bool { return r.ID == id })
		}
		took = append(took, time.Since(began))
		if err := pause(ctx, 300*time.Millisecond); err != nil { // a source is listed so often only
			return nil, err
		}
	}
	return took, nil
}

// orphans kills the agent while all plugins run, and counts what is left of them.
func (s *stand) orphans(ctx context.Context, r *run) error {
	ran := len(plugins())
	s.agent.Kill()
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	note(r, "plugins that run when the agent is killed", ran, "")
	most(r, "  left 1 s later", len(plugins()), 0, "")
	return nil
}

// plugins are the processes that are plugins of this program.
func plugins() (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	for _, f := range files {
		words, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(words, []byte("\x00"+bePlugin+"\x00")) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(f), "stat"))
		if err == nil && !bytes.Contains(stat, []byte(") Z ")) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}
