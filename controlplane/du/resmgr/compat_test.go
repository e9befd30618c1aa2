package resmgr

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

var update = flag.Bool("update", false, "write the golden files")

func resource(kind, id, name, source string, spec any) wire.Resource {
	b, err := json.Marshal(spec)
	if err != nil {
		panic(err)
	}
	return wire.Resource{Key: plugin.Key{Kind: kind, ID: id}, Name: name, Spec: b, Source: source, Generation: 1}
}

// The golden files are what the field's clients read. A change of them breaks
// somebody.
func TestCompatibleHosts(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	cert := api.Certificate{Serial: "1f00", NotBefore: at.Add(-time.Hour), NotAfter: at.Add(23 * time.Hour)}
	full := []wire.Resource{
		resource(inventory.KindHost, "h", "kvm1", "host", inventory.Host{
			Hostname: "kvm1", OS: inventory.OS{ID: "debian", Version: "12", Arch: "x86_64"},
			CPU:            inventory.CPU{Vendor: "GenuineIntel", Model: "Xeon", ModelID: 85, Sockets: 2, Cores: 16, Threads: 32, MaxMHz: 2600, Features: []string{"sse2", "vmx"}},
			MemoryBytes:    64 << 30,
			Virtualization: inventory.Virtualization{Extension: "vmx", KVM: true},
		}),
		resource(inventory.KindLink, "name/lo", "lo", "network", inventory.Link{Name: "lo", Addresses: []inventory.Address{{CIDR: "127.0.0.1/8"}}}),
		resource(inventory.KindLink, "mac/1", "eth0", "network", inventory.Link{Name: "eth0", MAC: "52:54:00:00:00:01", Addresses: []inventory.Address{{CIDR: "192.0.2.2/24"}, {CIDR: "2001:db8::2/64"}}}),
		resource(inventory.KindLink, "mac/2", "eth1", "network", inventory.Link{Name: "eth1", MAC: "52:54:00:00:00:02"}),
		resource(inventory.KindOVSBridge, "u", "br-int", "network", inventory.OVSBridge{Name: "br-int"}),
		resource(inventory.KindVolumeGroup, "v", "vg0", "storage", inventory.VolumeGroup{SizeBytes: 100 << 30, FreeBytes: 25 << 30}),
	}
	executables := []wire.Resource{
		resource(inventory.KindExtension, "pf9_kube_status", "", "extensions", inventory.Extension{Status: inventory.ExtensionOK, Data: json.RawMessage(`{"pf9_kube_node_state":"ok"}`)}),
		resource(inventory.KindExtension, "listened_ports", "", "extensions", inventory.Extension{Status: inventory.ExtensionTimedOut, Data: json.RawMessage(`"no answer within 2m0s"`)}),
		resource(inventory.KindExtension, "cloud_metadata", "", "extensions", inventory.Extension{Status: inventory.ExtensionError}),
		resource(inventory.KindExtension, "of_tomorrow", "", "extensions", map[string]any{"status": "fine", "data": 1}),
		resource(inventory.KindExtension, "no_object", "", "extensions", "?"),
		resource(inventory.KindExtension, "ip_address", "", "extensions", inventory.Extension{Status: inventory.ExtensionOK, Data: json.RawMessage(`"not ours"`)}),
	}
	ok := []wire.SourceStatus{{Name: "host", State: "ok"}, {Name: "network", State: "ok"}, {Name: "storage", State: "ok"}, {Name: "extensions", State: "ok"}}
	for name, tc := range map[string]struct {
		resources []wire.Resource
		change    func(h *host)
		settings  bool
	}{
		"full":    {full, func(*host) {}, true},
		"bare":    {nil, func(h *host) { h.usage, h.sources = nil, nil }, false},
		"gateway": {full[:1], func(h *host) { h.kind, h.hypervisor = "gateway", wire.HypervisorVMware }, false},
		"disconnected": {full, func(h *host) {
			h.session, h.reason, h.seen = 0, "timeout", at
			h.cert.NotAfter = at.Add(-time.Minute)
		}, false},
		"executables":       {executables, func(*host) {}, false},
		"executables stale": {executables, func(h *host) { h.sources[3].State, h.sources[3].Reason = "degraded", "slow" }, false},
		"time drift":        {nil, func(h *host) { h.drift = -125 * time.Second }, false},
		"module fails":      {full, func(h *host) { h.sources[1].State, h.sources[1].Reason = "failed", "netlink" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, Limits{})
			p := Peer{Host: hostID(1), Kind: "host", Session: 1, Certificate: cert}
			m.Connected(p)
			if _, err := m.Hello(p, &wire.Hello{
				Version: 1, Hostname: "kvm1", Hypervisor: "kvm", Epoch: 1, Sources: ok,
				Usage: &inventory.Usage{CPUPercent: 3.1, MemoryTotalBytes: 64 << 30, MemoryAvailableBytes: 48 << 30, DiskTotalBytes: 1000, DiskUsedBytes: 125},
			}); err != nil {
				t.Fatal(err)
			}
			digests := map[string]wire.Digest{}
			for _, k := range []string{inventory.KindHost, inventory.KindLink, inventory.KindOVSBridge, inventory.KindVolumeGroup, inventory.KindExtension} {
				digests[k] = wire.Digest{}
			}
			if _, err := m.Report(p, &wire.Report{Epoch: 1, Seq: 1, Upserts: tc.resources, Digests: digests}); err != nil {
				t.Fatal(err)
			}
			h := m.hosts[p.Host]
			tc.change(h)
			f := h.facts()
			got, err := json.MarshalIndent(f.compat(at, tc.settings), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "compat", name+".json")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
				t.Errorf("-golden +got:\n%s", d)
			}
		})
	}
}
