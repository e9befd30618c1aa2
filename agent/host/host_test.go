package host

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fixture unpacks testdata/name.txtar, a captured tree in one file, and returns
// its root.
func fixture(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	var at string
	content := make(map[string]*bytes.Buffer)
	for line := range bytes.Lines(b) {
		text := strings.TrimSpace(string(line))
		if inner, ok := strings.CutPrefix(text, "-- "); ok && strings.HasSuffix(inner, " --") {
			at = strings.TrimSuffix(inner, " --")
			content[at] = new(bytes.Buffer)
		} else if at != "" {
			content[at].Write(line)
		}
	}
	for path, c := range content {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, c.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFixturesMatchTheirGoldenFiles(t *testing.T) {
	for _, name := range []string{"epyc", "arm64"} {
		t.Run(name, func(t *testing.T) {
			n := &Node{ID: name, Root: fixture(t, name)}
			var got []byte
			err := n.List(t.Context(), func(r plugin.Resource) {
				b, err := json.MarshalIndent(r, "", "\t")
				if err != nil {
					t.Fatal(err)
				}
				got = append(b, '\n')
			})
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden.json")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("differs from %s; run go test -update to accept (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func TestThisHostConforms(t *testing.T) {
	plugintest.Run(t, plugintest.Options{
		New:   func(*testing.T) plugin.Source { return &Node{ID: "this"} },
		Kinds: (*Node)(nil).Kinds(),
	})
}

func TestAFixtureConforms(t *testing.T) {
	root := fixture(t, "epyc")
	plugintest.Run(t, plugintest.Options{
		New:   func(*testing.T) plugin.Source { return &Node{ID: "epyc", Root: root} },
		Kinds: (*Node)(nil).Kinds(),
	})
}

func TestAMissingTreeIsAnError(t *testing.T) {
	n := &Node{ID: "x", Root: t.TempDir()}
	if err := n.List(t.Context(), func(plugin.Resource) { t.Error("a host was made up") }); err == nil {
		t.Error("List of an empty tree = nil")
	}
}

func TestTheHypervisorUnderAGuestIsNamed(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		flags string
		want  string
	}{
		{"hardware", map[string]string{"/sys/class/dmi/id/sys_vendor": "Dell Inc."}, "fpu vmx", ""},
		{"a bare-metal cloud machine", map[string]string{"/sys/class/dmi/id/sys_vendor": "Amazon EC2", "/sys/class/dmi/id/product_name": "c5.metal"}, "fpu", ""},
		{"vmware", map[string]string{"/sys/class/dmi/id/sys_vendor": "VMware, Inc."}, "fpu hypervisor", "vmware"},
		{"openstack", map[string]string{"/sys/class/dmi/id/product_name": "OpenStack Nova"}, "fpu hypervisor", "kvm"},
		{"hyper-v", map[string]string{"/sys/class/dmi/id/sys_vendor": "Microsoft Corporation", "/sys/class/dmi/id/product_name": "Virtual Machine"}, "fpu hypervisor", "hyperv"},
		{"qemu with kvm", map[string]string{
			"/sys/class/dmi/id/sys_vendor":                                       "QEMU",
			"/sys/devices/system/clocksource/clocksource0/available_clocksource": "kvm-clock tsc acpi_pm",
		}, "fpu hypervisor", "kvm"},
		{"qemu without kvm", map[string]string{"/sys/class/dmi/id/sys_vendor": "QEMU"}, "fpu hypervisor", "qemu"},
		{"no firmware tables", map[string]string{"/sys/devices/system/clocksource/clocksource0/available_clocksource": "kvm-clock"}, "fpu hypervisor", "kvm"},
		{"nothing to go by", nil, "fpu hypervisor", "unknown"},
		{"arm guest", map[string]string{"/sys/firmware/devicetree/base/hypervisor/compatible": "linux,kvm\x00"}, "fp asimd", "kvm"},
		{"arm guest with firmware", map[string]string{"/sys/class/dmi/id/product_name": "KVM Virtual Machine", "/sys/class/dmi/id/sys_vendor": "QEMU"}, "fp asimd", "kvm"},
		{"xen", map[string]string{"/sys/hypervisor/type": "xen\n"}, "fpu hypervisor", "xen"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for path, text := range tt.files {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			flags := make(map[string]bool)
			for f := range strings.FieldsSeq(tt.flags) {
				flags[f] = true
			}
			if got := tree(root).virtualization(flags, tree(root).hardware()).Guest; got != tt.want {
				t.Errorf("guest of %q, want %q", got, tt.want)
			}
		})
	}
}

func TestUsageIsTheDifferenceSinceTheLastCall(t *testing.T) {
	root := fixture(t, "arm64")
	s := &Sampler{Root: root}
	first, err := s.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stat := filepath.Join(root, "proc/stat")
	if err := os.WriteFile(stat, []byte("cpu  150 0 125 825 0 0 0 0 0 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := s.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first.CPUPercent != 20 || second.CPUPercent != 75 {
		t.Errorf("CPU = %v %%, then %v %%, want 20 and 75", first.CPUPercent, second.CPUPercent)
	}
	want := inventory.Usage{
		CPUPercent: 20, Load1: 0, UptimeSeconds: 42,
		MemoryTotalBytes: 16234036 << 10, MemoryAvailableBytes: 12345678 << 10,
		DiskTotalBytes: first.DiskTotalBytes, DiskUsedBytes: first.DiskUsedBytes,
	}
	if diff := cmp.Diff(want, first); diff != "" || first.DiskTotalBytes == 0 {
		t.Errorf("first sample (-want +got):\n%s", diff)
	}
}

func TestUsageOfThisHost(t *testing.T) {
	u, err := new(Sampler).Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.MemoryTotalBytes == 0 || u.MemoryAvailableBytes > u.MemoryTotalBytes || u.DiskTotalBytes == 0 || u.UptimeSeconds == 0 {
		t.Errorf("usage = %+v", u)
	}
}

func FuzzParseCPUInfo(f *testing.F) {
	f.Add([]byte("processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.40GHz\nflags\t\t: fpu vmx\n"))
	f.Add([]byte("processor: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\nFeatures: fp\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		cpu, flags := parseCPUInfo(b)
		if cpu.Threads < 0 || cpu.MaxMHz < 0 || len(cpu.Features) != len(flags) {
			t.Errorf("%+v", cpu)
		}
	})
}

func FuzzParseSystemFiles(f *testing.F) {
	f.Add([]byte("MemTotal:  16234036 kB\nNode 0 MemFree: 12 kB\n"))
	f.Add([]byte("ID=\"debian\"\nNAME='x'\n#c\n"))
	f.Add([]byte("cpu  1 2 3 4 5 6 7 8 9\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseMeminfo(b)
		for k := range parseOSRelease(b) {
			if k == "" || strings.Contains(k, "=") {
				t.Errorf("key %q", k)
			}
		}
		if c, err := parseStat(b); err == nil && (c.busy > c.total || c.since(cpuTimes{}) > 100) {
			t.Errorf("%+v", c)
		}
	})
}
