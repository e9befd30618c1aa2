package pluginhost

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/hostileplugin"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/protocol"
)

// TestMain is also the plugins that the tests run, and a host that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "be" {
		hostileplugin.Main(os.Args[2])
	}
	if len(os.Args) > 2 && os.Args[1] == "host" {
		var all []Settings
		for _, name := range os.Args[3:] {
			all = append(all, Settings{Name: name, Runner: RunnerExec})
		}
		_ = New(Options{Agent: "test 1", Manifests: os.Args[2], Sink: mirror.New(mirror.Options{})}).Run(context.Background(), all)
	}
	os.Exit(m.Run())
}

// rig is a host with a real mirror, in directories of a test.
type rig struct {
	t      *testing.T
	dir    string // of manifests
	mirror *mirror.Mirror
	host   *Host

	mu     sync.Mutex // guards events
	events []wire.Event
}

// newRig makes a host; it does not wait for long.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), mirror: mirror.New(mirror.Options{})}
	if err := os.Chmod(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.host = New(Options{
		Agent: "test 1", Manifests: r.dir, Sockets: r.dir, Sink: r.mirror,
		Event: func(e wire.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
	})
	r.host.grace = 200 * time.Millisecond
	r.host.tune = func(o *protocol.Options) {
		o.HelloTimeout, o.PingInterval, o.PongTimeout, o.Grace = 3*time.Second, 500*time.Millisecond, 5*time.Second, 200*time.Millisecond
	}
	return r
}

// manifest installs a plugin that this test binary is.
func (r *rig) manifest(name string, kinds ...string) {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	quoted, _ := json.Marshal(kinds)
	text := fmt.Sprintf("name = %q\nversion = '1.0'\nkinds = %s\nexec = [%q, 'be', %q]\n", name, quoted, self, name)
	if err := os.WriteFile(filepath.Join(r.dir, name+".toml"), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// good installs the good plugin and returns its settings and the directory that
// it lists.
func (r *rig) good() (Settings, string) {
	r.t.Helper()
	r.manifest(hostileplugin.Good, hostileplugin.GoodKind)
	dir := r.t.TempDir()
	config, _ := json.Marshal(map[string]string{"dir": dir})
	return Settings{Name: hostileplugin.Good, Runner: RunnerExec, Config: config}, dir
}

// run runs the host until the test ends, or the returned function is called.
func (r *rig) run(settings ...Settings) (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.host.Run(ctx, settings) })
	stop = func() { cancel(); wg.Wait() }
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) status(name string) wire.SourceStatus {
	for _, st := range r.mirror.Statuses() {
		if st.Name == name {
			return st
		}
	}
	return wire.SourceStatus{}
}

// becomes waits until a plugin is in a state, with a reason.
func (r *rig) becomes(name, state, reason string) {
	r.t.Helper()
	eventually.Nil(r.t, func() error {
		st := r.status(name)
		if st.State != state || !strings.Contains(st.Reason, reason) {
			return fmt.Errorf("%s is %s (%s), want %s (%s)", name, st.State, st.Reason, state, reason)
		}
		return nil
	})
}

// has waits until so many resources of a kind are there.
func (r *rig) has(kind string, n int) {
	r.t.Helper()
	eventually.Nil(r.t, func() error {
		if have := len(r.mirror.Kind(kind)); have != n {
			return fmt.Errorf("%d resources of %s, want %d", have, kind, n)
		}
		return nil
	})
}

// touch makes files in a directory.
func touch(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rig) report(name string) inventory.Plugin {
	r.t.Helper()
	for _, res := range r.mirror.Kind(inventory.KindPlugin) {
		if res.ID == name {
			var p inventory.Plugin
			if err := json.Unmarshal(res.Spec, &p); err != nil {
				r.t.Fatal(err)
			}
			return p
		}
	}
	return inventory.Plugin{}
}

func TestPluginIsAModule(t *testing.T) {
	r := newRig(t)
	s, dir := r.good()
	touch(t, dir, "a", "b")
	stop := r.run(s)
	r.becomes("good", "ok", "")
	r.has(hostileplugin.GoodKind, 2)
	touch(t, dir, "c")
	r.has(hostileplugin.GoodKind, 3)
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	r.has(hostileplugin.GoodKind, 2)
	eventually.Nil(t, func() error {
		p := r.report("good")
		if p.State != "ok" || p.Resources == 0 || p.Version != "1.0.0" || p.Protocol != 1 || len(p.BinarySHA256) != 64 || len(p.ManifestSHA256) != 64 || p.Runner != RunnerExec {
			return fmt.Errorf("the plugin is listed as %+v", p)
		}
		return nil
	})
	if ks := r.mirror.Kind(inventory.KindKind); len(ks) != 1 || ks[0].ID != hostileplugin.GoodKind || !strings.Contains(string(ks[0].Spec), "BYTES") {
		t.Errorf("declared kinds: %+v", ks)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	r.host.Relist()
	r.becomes("good", "degraded", "no such file")
	r.has(hostileplugin.GoodKind, 2) // an error never deletes
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	r.host.Relist()
	r.becomes("good", "ok", "")
	r.host.Set(nil)
	r.has(hostileplugin.GoodKind, 0)
	r.has(inventory.KindPlugin, 0)
	stop()
}

func TestMassDisappearanceIsAskedAgain(t *testing.T) {
	r := newRig(t)
	s, dir := r.good()
	s.Interval = time.Second
	for i := range 30 {
		touch(t, dir, fmt.Sprint(i))
	}
	r.run(s)
	r.has(hostileplugin.GoodKind, 30)
	for i := range 29 {
		if err := os.Remove(filepath.Join(dir, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	r.becomes("good", "degraded", "vanished at once")
	r.has(hostileplugin.GoodKind, 1)
	r.becomes("good", "ok", "")
}

func TestSettingsAreHeldToTheSchema(t *testing.T) {
	r := newRig(t)
	s, _ := r.good()
	s.Config = json.RawMessage(`{"dri":"/"}`)
	r.run(s)
	r.becomes("good", "failed", `plugins.good.config: unknown key "dri"; known are: dir`)
}

func TestPluginThatIsNotInstalled(t *testing.T) {
	r := newRig(t)
	r.run(Settings{Name: "absent"})
	r.becomes("absent", "failed", "the plugin is not installed")
	r.manifest("good", hostileplugin.GoodKind)
	r.host.Set([]Settings{{Name: "good"}})
	r.becomes("good", "failed", "systemctl enable --now pf9-hostagent-plugin-good.socket")
	if st := r.status("absent"); st.Name != "" {
		t.Errorf("a plugin that is not wanted any more is there: %+v", st)
	}
}

// Whoever reloads the agent has perhaps done something about what failed.
func TestSetEndsTheWaitAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		wish := []Settings{{Name: "absent"}}
		r.run(wish...)
		time.Sleep(5 * time.Hour) // of the bubble's time
		if st := r.status("absent"); !strings.Contains(st.Reason, "tried every 30m") {
			t.Fatalf("after many failures it is %+v", st)
		}
		r.manifest("absent", hostileplugin.GoodKind)
		r.host.Set(wish)
		synctest.Wait()
		if st := r.status("absent"); !strings.Contains(st.Reason, "the plugin's socket is not there") {
			t.Errorf("it was not tried at once: %+v", st)
		}
	})
}
