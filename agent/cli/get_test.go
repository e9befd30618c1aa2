package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/agent/mirror"
	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// hostAgent is a host agent's command line, without what only it has.
var hostAgent = Program{
	Name: "pf9-hostagent", Kind: "host",
	Load: func(file string) (core.Config, any, error) {
		var c core.Config
		if err := daemon.Load(file, &c); err != nil {
			return c, c, err
		}
		return c, c, c.Complete(file, "pf9-hostagent", nil)
	},
}

func main1(args []string, out, errs io.Writer) int { return Main(hostAgent, args, nil, out, errs) }

// agentWith serves the local API of a mirror and returns a configuration file
// that leads there.
func agentWith(t *testing.T, m *mirror.Mirror) string {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	l, err := localapi.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	a := &localapi.Agent{Mirror: m, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.Serve(ctx, l) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	file := filepath.Join(dir, "agent.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "socket = %q\n", socket), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestGet(t *testing.T) {
	m := mirror.New(mirror.Options{})
	lun := func(id, name string, spec map[string]any) plugin.Resource {
		return plugin.Resource{Key: plugin.Key{Kind: "com.acme.lun", ID: id}, Name: name, Spec: spec}
	}
	kinds := []string{"com.acme.lun", "com.acme.tape", "org.other.tape"}
	m.Listed("acme", kinds, []plugin.Resource{
		lun("a", "one", map[string]any{"state": "on", "size_bytes": 1 << 30, "wwn": "600a", "odd": 1}),
		lun("c", "a", map[string]any{}),
		lun("b", "two\x1b", map[string]any{}),
		{Key: plugin.Key{Kind: "com.acme.tape", ID: "t"}, Spec: map[string]any{"slots": 4}},
		{Key: plugin.Key{Kind: "org.other.tape", ID: "t"}, Spec: 1},
	})
	m.Declared("acme", kinds, []plugin.Kind{{Name: "com.acme.lun", Version: 1, Columns: []plugin.Column{
		{Name: "WWN", Path: "wwn", Wide: true}, {Name: "SIZE", Path: "size_bytes"},
	}}})
	m.Listed("libvirt", []string{inventory.KindVM}, []plugin.Resource{{Key: plugin.Key{Kind: inventory.KindVM, ID: "v"}, Name: "web", Spec: inventory.VM{State: "running"}}})
	m.Listed("vcenter-east", []string{inventory.KindCluster, inventory.KindESXi}, []plugin.Resource{
		{Key: plugin.Key{Kind: inventory.KindCluster, ID: "6a/c1"}, Name: "prod", Spec: inventory.Cluster{Hosts: 2, Warnings: []string{"DRS is off", "no hosts"}}},
		{Key: plugin.Key{Kind: inventory.KindCluster, ID: "6a/c2"}, Name: "dev", Spec: inventory.Cluster{Hosts: 1}},
		{Key: plugin.Key{Kind: inventory.KindCluster, ID: "6b/c3"}, Name: "dev", Spec: inventory.Cluster{Hosts: 1}},
		{Key: plugin.Key{Kind: inventory.KindESXi, ID: "6a/h1"}, Name: "esx1", Spec: inventory.ESXi{State: "connected", Cluster: "prod"}},
	})
	file := agentWith(t, m)
	tests := []struct {
		name, line string
		status     int
		want       string
	}{
		{"a cluster", "get cluster", 0, "vsphere.cluster  prod         hosts 2, cores 0, memory 0 B, ha false, drs false, warnings DRS is off (and 1 more)\n"},
		{"an ESXi host", "get esxi", 0, "vsphere.host  esx1  connected  cluster prod, cores 0, memory 0 B\n"},
		{"declared columns", "get com.acme.lun", 0, "ID  NAME  STATE  SIZE\na   one   on     1.0 GiB\nb   two?         \n"},
		{"wide, by the last part", "get -o wide luns", 0, "SIZE     WWN   SOURCE  GENERATION  WHY STALE\na   one   on     1.0 GiB  600a  acme    1           \n"},
		{"no declaration", "get com.acme.tape", 0, "ID  NAME  STATE  SLOTS\nt                4\n"},
		{"one", "get lun a", 0, `"wwn": "600a"`},
		{"JSON", "get -o json com.acme.tape", 0, `"slots": 4`},
		{"JSON by its other name", "get com.acme.tape --json", 0, `"slots": 4`},
		{"no such format", "get vm -o yaml", 2, "get: invalid value \"yaml\" for flag -o: want table, wide or json; --help has more\n"},
		{"core", "get vm", 0, "compute.vm  web   running"},
		{"declarations", "get kind", 0, "agent.kind  com.acme.lun"},
		{"ambiguous", "get tape", 1, "com.acme.tape, org.other.tape"},
		{"unknown", "get disk", 1, `nothing here lists a kind "disk"`},
		{"one by its name", "get vm web", 0, `"id": "v"`},
		{"an id before a name", "get lun a", 0, `"name": "one"`},
		{"a name of two", "get cluster dev", 1, "2 clusters are called dev; give the id: 6a/c2, 6b/c3\n"},
		{"no such id", "get lun z", 1, "no lun with the id or name z"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			args := strings.Fields(test.line)
			args = append([]string{args[0], "--config", file}, args[1:]...)
			if status := main1(args, &out, &out); status != test.status || !strings.Contains(out.String(), test.want) {
				t.Errorf("%s: status %d\n%s\nwant %q", test.line, status, &out, test.want)
			}
		})
	}
}

func TestGetMarksWhatIsStale(t *testing.T) {
	m := mirror.New(mirror.Options{})
	m.Listed("vcenter-lab", []string{inventory.KindVM, "com.acme.lun"}, []plugin.Resource{
		{Key: plugin.Key{Kind: inventory.KindVM, ID: "v"}, Name: "web", Spec: inventory.VM{State: "running"}},
		{Key: plugin.Key{Kind: "com.acme.lun", ID: "a"}, Name: "one", Spec: map[string]any{}},
	})
	m.Listed("libvirt", []string{inventory.KindVM}, []plugin.Resource{{Key: plugin.Key{Kind: inventory.KindVM, ID: "w"}, Name: "db", Spec: inventory.VM{State: "running"}}})
	m.Status(wire.SourceStatus{Name: "libvirt", State: "ok"})
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	m.Status(wire.SourceStatus{Name: "vcenter-lab", State: "degraded", Reason: "vc.example:443 does not answer", Since: since})
	file := agentWith(t, m)
	get := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if status := main1(append([]string{"get", "--config", file}, args...), &out, &out); status != 0 {
			t.Fatalf("%q: status %d\n%s", args, status, &out)
		}
		return out.String()
	}
	const why = "module vcenter-lab is degraded: vc.example:443 does not answer"
	for name, test := range map[string]struct{ args, want, not string }{
		"a table":                        {"vm", "web   running (stale)", "db    running (stale)"},
		"a wide one":                     {"vm -o wide", why, ""},
		"a plugin's, which has no state": {"lun", "one   (stale)", ""},
		"JSON":                           {"vm -o json", `"stale_reason": "` + why + `"`, ""},
		"one":                            {"vm v", `"stale_since": "2026-01-02T03:04:05Z"`, ""},
		"one that is not":                {"vm w", `"stale": false`, "stale_since"},
	} {
		t.Run(name, func(t *testing.T) {
			got := get(strings.Fields(test.args)...)
			if !strings.Contains(got, test.want) || test.not != "" && strings.Contains(got, test.not) {
				t.Errorf("%s\nwant %q, not %q", got, test.want, test.not)
			}
		})
	}
	m.Status(wire.SourceStatus{Name: "vcenter-lab", State: "ok"})
	if got := get("vm"); strings.Contains(got, "stale") {
		t.Errorf("when it answers again:\n%s", got)
	}
}

func TestAnAgentThatHangsIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "agent.toml")
	l, err := net.Listen("unix", socket) // and nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := os.WriteFile(file, fmt.Appendf(nil, "socket = %q\n", socket), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &command{program: hostAgent, config: file, lookLimit: 50 * time.Millisecond}
	err = c.fetch(t.Context(), "/v1/status", new(localapi.Status))
	if err == nil || !strings.Contains(err.Error(), socket+" has not answered within 50ms") || !strings.Contains(err.Error(), "systemctl restart pf9-hostagent starts") {
		t.Errorf("error = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.fetch(ctx, "/v1/status", new(localapi.Status)); err == nil || strings.Contains(err.Error(), "has not answered") {
		t.Errorf("interrupted: %v", err)
	}
}

func TestHelpOfACommand(t *testing.T) {
	p := hostAgent
	p.Commands = map[string]Command{"lamp": {Usage: "  lamp                    light it,\n                          and put it out\n", Run: func(_ context.Context, c *Call) error {
		_, err := c.Parse(0, "", nil)
		return err
	}}}
	for line, want := range map[string]string{
		"lamp --help":   "usage: pf9-hostagent lamp [flags]\n\nlight it,\nand put it out\n  --config file\n",
		"enroll --help": "usage: pf9-hostagent enroll [flags]\n\ntrade a join token for this machine's certificate;\n\"-\" reads the token from standard input\n  --config file\n",
		"status --help": "\n\nhow the agent is\n  --config file\n    \tconfiguration file (default \"/etc/pf9/hostagent.conf\")\n  --json\n    \tprint JSON, as -o json\n  -o format\n    \tformat of the output: text or json; text without it\n",
		"doctor extra":  "doctor: unexpected argument \"extra\"\nusage: pf9-hostagent doctor [flags]\n\nlook for what may be wrong",
	} {
		var errs bytes.Buffer
		if Main(p, strings.Fields(line), nil, io.Discard, &errs); !strings.Contains(errs.String(), want) {
			t.Errorf("%s:\n%s\nwant %q", line, &errs, want)
		}
	}
	for line, want := range map[string]string{
		"status --jsn":   "pf9-hostagent status: flag provided but not defined: -jsn; --help has more\n",
		"doctor -o wide": "pf9-hostagent doctor: invalid value \"wide\" for flag -o: want text or json; --help has more\n",
	} {
		var errs bytes.Buffer
		if status := Main(p, strings.Fields(line), nil, io.Discard, &errs); status != 2 || errs.String() != want {
			t.Errorf("%s: status %d\n%s\nwant %q", line, status, &errs, want)
		}
	}
}

func TestTheManPageHasEachCommand(t *testing.T) {
	page, err := os.ReadFile("../../packaging/linux/pf9-hostagent.8")
	if err != nil {
		t.Fatal(err)
	}
	synopsis, _, _ := strings.Cut(string(page), ".SH DESCRIPTION")
	for name := range commands {
		if !strings.Contains(synopsis, ".B pf9-hostagent "+name+"\n") && !strings.Contains(synopsis, "\n.B "+name+"\n") && name != "run" {
			t.Errorf("the synopsis has no %q", name)
		}
	}
}

func TestADaemonWithoutStatsOffersNone(t *testing.T) {
	gateway := hostAgent
	gateway.NoStats = true
	for name, want := range map[string]bool{"host agent": true, "gateway": false} {
		p := hostAgent
		if name == "gateway" {
			p = gateway
		}
		var out, errs bytes.Buffer
		if status := Main(p, []string{"--help"}, nil, &out, &errs); status != 0 || strings.Contains(out.String(), "stats") != want || strings.Contains(out.String(), "%!") {
			t.Errorf("%s: status %d, help\n%s%s", name, status, &out, &errs)
		}
		errs.Reset()
		if status := Main(p, []string{"stats", "--help"}, nil, &out, &errs); (status == 0) != want {
			t.Errorf("%s: status %d of stats --help\n%s", name, status, &errs)
		}
	}
}

func TestDoctorNamesThePortThatItNeeds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close() // and nobody answers
	conf := core.Config{EtcDir: t.TempDir()}
	found := checkDU(t.Context(), conf, fmt.Sprintf("https://127.0.0.1:%d", port))
	last := found[len(found)-1]
	if last.State != "bad" || !strings.Contains(last.Remedy, fmt.Sprintf("TCP to port %d must", port)) {
		t.Errorf("%+v", found)
	}
}

// after is a buffer that calls then when it holds the text.
type after struct {
	bytes.Buffer
	text string
	then func()
}

func (a *after) Write(p []byte) (int, error) {
	n, err := a.Buffer.Write(p)
	if a.then != nil && strings.Contains(a.String(), a.text) {
		then := a.then
		a.then = nil
		then()
	}
	return n, err
}

func TestWatchShowsThatAModuleTurns(t *testing.T) {
	m := mirror.New(mirror.Options{})
	status := func(name, kind, state, reason string) {
		m.Status(wire.SourceStatus{Name: name, State: state, Reason: reason, Kinds: []string{kind}})
	}
	status("vcenter-lab", inventory.KindVM, "ok", "")
	status("tags-lab", inventory.KindTag, "degraded", "no answer")
	file := agentWith(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &after{text: "changes follow"}
	out.then = func() {
		out.text, out.then = "does not answer", func() {
			out.text, out.then = "is ok", cancel
			status("vcenter-lab", inventory.KindVM, "ok", "")
		}
		status("vcenter-lab", inventory.KindVM, "degraded", "vCenter lab: stale since 2026-01-02T03:04:05Z: vc:443 does not answer")
	}
	c := &command{program: hostAgent, name: "watch", config: file, args: []string{"vm"}, out: out, errs: io.Discard}
	if err := watch(ctx, c); ctx.Err() == nil {
		t.Fatal(err)
	}
	for _, want := range []string{" stale vcenter-lab is degraded: vc:443 does not answer\n", " fresh vcenter-lab is ok\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s\nwant %q", out, want)
		}
	}
	if strings.Contains(out.String(), "tags-lab") {
		t.Errorf("%s\nwhich lists no VMs", out)
	}
}
