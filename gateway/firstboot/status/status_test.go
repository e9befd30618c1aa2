package status

import (
	"context"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/agent/localapi"
	"github.com/openpf9/openpf9/agent/uplink"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/internal/pki"
)

var update = flag.Bool("update", false, "write the golden files")

// full is an appliance in trouble, with everything that can be said.
func full() Report {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return Report{
		At: at, Hostname: "gw1", Addresses: []string{"eth0 192.0.2.10/24", "eth0 2001:db8::10/64"},
		Network: "static 192.0.2.10/24 via 192.0.2.1, DNS 192.0.2.53", LastChange: "2026-02-28 09:00:00 UTC, gw.ip: kept: the deployment unit https://du.example answered",
		Pending: "gw.dns, since 11:59:30 UTC", Settings: settings.Settings{DU: "https://du.example"},
		Agent: localapi.Status{Version: "1.2.3", Host: "6f1c0f0e-0000-4000-8000-000000000001", Tunnel: uplink.State{Connected: true, Endpoint: "du.example:443", Since: at.Add(-26 * time.Hour), RTT: "12ms", Unsent: 7}},
		VCenters: []VCenter{
			{Name: "vc1.example", State: "ok", Since: at.Add(-65 * time.Minute), Counts: map[string]int{"compute.vm": 1200, "vsphere.host": 40, "vsphere.cluster": 1, "vsphere.datastore": 12, "vsphere.network": 33, "vsphere.resource_pool": 1}, Changed: at.Add(-4 * time.Second), Pinned: strings.TrimSuffix(strings.Repeat("AB:", 32), ":"), Control: "read-only", Kept: []string{"/DC0/vm/vc1 (vCenter vc1.example)", "/DC0/vm/gw1 (this gateway)"}},
			{Name: "vc2\x1b[2J", State: "degraded", Problem: "the password has expired"},
			{Name: "vc3.example", State: Reading, Read: 1200, Since: at.Add(-9 * time.Second)},
			{Name: "vc4.example", State: "ok", Missing: []Lack{{User: "EXAMPLE\\gw", Function: "power", Privileges: []string{"VirtualMachine.Interact.PowerOn"}, On: "/DC0/vm", Without: "VMs are not started or stopped"}}},
		},
		Fingerprint: strings.TrimSuffix(strings.Repeat("CD:", 32), ":"), Expires: at.Add(30 * 24 * time.Hour),
		DiskFree: 1 << 30, DiskTotal: 2 << 30, Clock: Clock{Skew: -90 * time.Second, Known: true},
		Problems: []string{`gw.ntp "x/y": it is neither a name nor an address; write names or addresses of NTP servers, separated by commas`},
	}
}

func TestText(t *testing.T) {
	down := full()
	down.AgentError, down.Agent, down.VCenters = "it is not running", localapi.Status{}, nil
	for name, text := range map[string]string{
		"full": full().Text(80), "narrow": full().Text(40), "down": down.Text(80), "empty": Report{At: full().At}.Text(80),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCounted(t *testing.T) {
	for want, counts := range map[string]map[string]int{
		"":                      {"compute.vm": 0},
		"9 objects":             {"objects": 9},
		"1 VM, 1 other object":  {"compute.vm": 1, "vsphere.resource_pool": 1},
		"2 hosts, 3 datastores": {"vsphere.datastore": 3, "vsphere.host": 2},
	} {
		if got := counted(counts); got != want {
			t.Errorf("%v: %q, want %q", counts, got, want)
		}
	}
}

func TestWrapLeavesWordsWhole(t *testing.T) {
	for text, want := range map[string][]string{
		"it is since 22:28:10 UTC":        {"it is since", "22:28:10 UTC"},
		"see vc.example:443/sdk":          {"see", "vc.example:443/sdk"},
		"CD:CD:CD:CD:CD:CD:CD:CD":         {"CD:CD:CD:CD:CD:CD:", "CD:CD"},
		"exactly eighteen c":              {"exactly eighteen c"},
		"exactly eighteen12 and more":     {"exactly eighteen12", "and more"},
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": {"aaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaa"},
	} {
		if d := cmp.Diff(want, wrap(text, 18)); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func TestTroubleFitsTheFirstScreen(t *testing.T) {
	screen := strings.Join(strings.SplitAfter(full().Text(80), "\n")[:21], "") // 80x25, less the title, the notice and the keys
	for _, want := range []string{"gw.ntp", "vc2?[2J: degraded", "the password has expired", "VirtualMachine.Interact.PowerOn"} {
		if !strings.Contains(screen, want) {
			t.Errorf("%q is not in\n%s", want, screen)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("vc1.example", "a problem", 80)
	f.Add("\x1b[2J\xff\u202e", strings.Repeat("long:", 100), 1)
	f.Fuzz(func(t *testing.T, name, problem string, width int) {
		width = min(max(width, -5), 300)
		r := Report{Hostname: name, VCenters: []VCenter{{Name: name, Problem: problem}}, Problems: []string{problem}}
		for line := range strings.Lines(r.Text(width)) {
			line = strings.TrimSuffix(line, "\n")
			if utf8.RuneCountInString(line) > max(width, 40) {
				t.Errorf("%q is wider than %d", line, width)
			}
			if strings.ContainsFunc(line, func(c rune) bool { return !unicode.IsPrint(c) }) {
				t.Errorf("%q steers the terminal", line)
			}
		}
	})
}

// socket serves a daemon's answers.
func socket(t *testing.T, answers map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(text))
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return path
}

func options(t *testing.T, socket string) Options {
	t.Helper()
	return Options{Store: settings.Store{Dir: t.TempDir()}, Paths: enroll.PathsUnder(t.TempDir()), Socket: socket}
}

func TestCollectAsksTheDaemon(t *testing.T) {
	const agent = `{"version":"1","tunnel":{"connected":true},"problems":["tunnel: slow","vcenter-a: degraded: it does not answer","vcenter-z: failed"],"sources":[{"name":"vcenter:vc1","state":"failed","reason":"no session","count":9},{"name":"host","state":"ok"}]}`
	old := Collect(t.Context(), options(t, socket(t, map[string]string{"GET /v1/status": agent})))
	if len(old.VCenters) != 1 || old.VCenters[0].Name != "vcenter:vc1" || old.VCenters[0].Counts["objects"] != 9 || old.VCenters[0].Problem != "no session" {
		t.Errorf("from its sources: %+v", old.VCenters)
	}
	if old.AgentError != "" || len(old.Problems) != 3 || !old.Agent.Tunnel.Connected || old.DiskTotal == 0 || old.Hostname == "" {
		t.Errorf("%+v", old)
	}
	list := `[{"name":"b","state":"ok"},{"name":"a","state":"ok","session_since":"2026-01-01T00:00:00Z"}]`
	r := Collect(t.Context(), options(t, socket(t, map[string]string{"GET /v1/status": agent, "GET /v1/vcenters": list})))
	if len(r.VCenters) != 2 || r.VCenters[0].Name != "a" || r.VCenters[0].Since.IsZero() {
		t.Errorf("from its list: %+v", r.VCenters)
	}
	if diff := cmp.Diff([]string{"tunnel: slow", "vcenter-z: failed"}, r.Problems); diff != "" { // what a vCenter says itself is said once
		t.Error(diff)
	}
	if r := Collect(t.Context(), options(t, socket(t, nil))); !strings.Contains(r.AgentError, "404") {
		t.Errorf("a daemon that knows nothing: %q", r.AgentError)
	}
	if r := Collect(t.Context(), options(t, "/nowhere/s")); !strings.Contains(r.AgentError, "nobody listens on /nowhere/s") {
		t.Errorf("no daemon: %q", r.AgentError)
	}
}

func TestCollectTakesFromTheConfigurationWhatTheSettingsLeaveOpen(t *testing.T) {
	conf := Configured{DU: "https://du.example", Proxy: "http://proxy.example:3128", VCenters: []VCenter{{Name: "a", Address: "a.example:443", State: NotKnown}}}
	o := options(t, "/nowhere/s")
	o.Configured = func() Configured { return conf }
	if r := Collect(t.Context(), o); r.Settings.DU != conf.DU || r.Settings.Proxy != conf.Proxy || len(r.VCenters) != 1 {
		t.Errorf("nothing typed: %+v, %+v", r.Settings, r.VCenters)
	}
	typed := settings.State{Version: 1, Settings: settings.Settings{DU: "https://typed.example"}}
	if err := o.Store.Save(typed); err != nil {
		t.Fatal(err)
	}
	if r := Collect(t.Context(), o); r.Settings.DU != "https://typed.example" {
		t.Errorf("another typed: %q", r.Settings.DU)
	}
	o.Socket = socket(t, map[string]string{"GET /v1/status": "{}", "GET /v1/vcenters": "[]"})
	if r := Collect(t.Context(), o); len(r.VCenters) != 0 {
		t.Errorf("the daemon says what is paired: %+v", r.VCenters)
	}
}

func TestCollectDoesNotWaitForADaemonThatHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path) // and nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if r := Collect(ctx, options(t, path)); !strings.Contains(r.AgentError, "it has not answered on "+path) || r.Hostname == "" {
		t.Errorf("%+v", r)
	}
}

func TestCollectReadsTheCertificate(t *testing.T) {
	o := options(t, "/nowhere/s")
	authority, err := pki.NewAuthority("du.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(o.Paths.Cert), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Paths.Cert, pki.EncodeCertificates(authority.Cert), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := Collect(t.Context(), o); len(r.Fingerprint) != 32*3-1 || !r.Expires.Equal(authority.Cert.NotAfter) {
		t.Errorf("%q until %s", r.Fingerprint, r.Expires)
	}
	if err := os.WriteFile(o.Paths.Cert, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := Collect(t.Context(), o); r.Fingerprint != "" || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], o.Paths.Cert) {
		t.Errorf("a damaged one: %+v", r)
	}
}

func TestCollectSaysWhatOnlyRootKnows(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root knows everything")
	}
	o := options(t, "/nowhere/s")
	if err := os.WriteFile(filepath.Join(o.Store.Dir, "appliance.json"), nil, 0); err != nil {
		t.Fatal(err)
	}
	if r := Collect(t.Context(), o); len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "for root") {
		t.Errorf("problems = %q", r.Problems)
	}
}
