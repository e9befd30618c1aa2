package wire_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

var update = flag.Bool("update", false, "rewrite the golden files of the current version")

var (
	now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	vm  = wire.Resource{
		Key:  plugin.Key{Kind: inventory.KindVM, ID: "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a"},
		Name: "web <1>", Parent: plugin.Key{Kind: inventory.KindHost, ID: "h"},
		Spec: json.RawMessage(`{"state":"running","name":"a\u003cb"}`), Ext: json.RawMessage(`{"acme.com/rack":"B7"}`),
		Generation: 3, Source: "libvirt",
	}
	source = wire.SourceStatus{
		Name: "libvirt", State: "degraded", Reason: "libvirtd does not answer", Since: now,
		Kinds: []string{inventory.KindVM}, Listed: now, Count: 12,
	}
	declaration = resource(inventory.KindKind, "com.acme.lun", inventory.Kind{
		Version: 2, Schema: json.RawMessage(`{"type":"object"}`),
		Columns: []plugin.Column{{Name: "SIZE", Path: "size_bytes"}, {Name: "PATH", Path: "paths.0.target", Wide: true}},
		Modules: []string{"acme"},
	})
	failed    = 1
	extension = resource(inventory.KindExtension, "volumes_present", inventory.Extension{
		Status: inventory.ExtensionError, Data: json.RawMessage(`"vgs: command not found"`), Check: true,
		Path: "/opt/pf9/hostagent/extensions/check_volumes_present", ExitStatus: &failed,
	})
	usage = &inventory.Usage{CPUPercent: 12.5, Load1: 0.5, MemoryTotalBytes: 1 << 35}
)

func resource(kind, id string, spec any) *wire.Resource {
	b, err := json.Marshal(spec)
	if err != nil {
		panic(err)
	}
	return &wire.Resource{Key: plugin.Key{Kind: kind, ID: id}, Name: id, Spec: b, Generation: 1}
}

// messages holds one full example of each.
var messages = map[string]any{
	"hello": &wire.Hello{
		Version: 1, Agent: "pf9-hostagent/0.1.0", Hostname: "kvm1", Hypervisor: "kvm", Epoch: 7, Time: now,
		Sources: []wire.SourceStatus{source}, Digests: map[string]wire.Digest{inventory.KindVM: {Count: 12, Sum: 0x0123456789abcdef}}, Usage: usage,
	},
	"pairingkey":         &wire.PairingKey{PublicKey: []byte{1, 2}, Until: now},
	"pairinglook":        &wire.PairingLook{Address: "vc.example:8443", Sealed: []byte{5, 6}},
	"pairingaddress":     &wire.PairingAddress{Look: "vc.example:8443"},
	"pairingcertificate": &wire.PairingCertificate{Thumbprint: "AB:CD", Subject: "CN=vc.example", Issuer: "CN=CA", NotAfter: now},
	"sealedpairing":      &wire.SealedPairing{Sealed: []byte{3, 4}},
	"pairingrequest": &wire.PairingRequest{
		Name: "main", Address: "vc.example", Thumbprint: "AB:CD", User: "gw@vsphere.local", Password: "hush",
		Clusters: []string{"gold"}, Control: new(bool), Broker: new(string), ControlUser: "act@vsphere.local", ControlPassword: "hush too",
	},
	"pairingresult": &wire.PairingResult{As: "main", Name: "VMware vCenter Server 8.0.3", Instance: "0b5c7d7e", Now: wire.Pairing{
		Address: "https://vc.example", Thumbprint: "AB:CD", CAFile: "/etc/pf9/vcenter.pem", Clusters: []string{"gold"}, Control: true, Broker: "127.0.0.1:8443", Switch: "read-only", BrokerProblem: "address in use",
		User: "gw@vsphere.local", ControlUser: "act@vsphere.local", OwnControl: true,
	}, Again: true, Changed: []wire.PairingChange{{What: "control", From: "off", To: "on"}}, Missing: []wire.MissingPrivilege{
		{Name: "VApp.Import", Function: "images", Object: "/DC0/host/C0", Without: "images are not brought in"},
	}},
	"welcome": &wire.Welcome{Version: 1, Need: []string{inventory.KindVM}, UsageSeconds: 60, Time: now},
	"report": &wire.Report{
		Epoch: 7, Seq: 9, Upserts: []wire.Resource{vm}, Deletes: []plugin.Key{{Kind: inventory.KindLink, ID: "name/br0"}},
		Full: inventory.KindVM, Begin: true, End: true, Digests: map[string]wire.Digest{inventory.KindVM: {Count: 1, Sum: 1}},
		Sources: []wire.SourceStatus{source}, Usage: usage,
	},
	"ack":          &wire.Ack{Epoch: 7, Seq: 9, Need: []string{inventory.KindVM}},
	"events":       &wire.Events{Events: []wire.Event{{Epoch: 7, Seq: 1, Time: now, Type: "gap", About: vm.Key, Name: "web", Detail: "running -> crashed", Lost: 4}}},
	"eventsack":    &wire.EventsAck{Epoch: 7, Seq: 1},
	"enroll":       &wire.EnrollRequest{Token: "pf9j1.x.y.z", CSR: "PEM", HostID: "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a", Hostname: "kvm1", Kind: "host"},
	"renew":        &wire.RenewRequest{CSR: "PEM"},
	"kind":         declaration,
	"extension":    extension,
	"actionsoffer": &wire.ActionsOffer{Actions: wire.Actions(), Reason: "control is switched off on the gateway"},
	"actionrequest": &wire.ActionRequest{
		ID: "a1b2c3d4e5f6", Action: wire.ActionSnapshotCreate, Target: vm.Key, RequestedBy: "ops", Requested: now, Deadline: now.Add(time.Minute),
		Arguments: wire.ActionArguments{Name: "before", Description: "the upgrade", Memory: true, Quiesce: true, Snapshot: "snapshot-7", Children: true},
	},
	"actionoutcome": &wire.ActionOutcome{
		ID: "a1b2c3d4e5f6", State: wire.ActionFailed, Reason: "vCenter did not answer", Uncertain: true, Progress: 40, Started: now, Ended: now,
		Result: &wire.ActionResult{Unchanged: true, Snapshot: "snapshot-8", Console: &wire.ConsoleTicket{Type: "webmks", URL: "wss://esx1:443/ticket/x", Fingerprint: "AA:BB", Expires: now}},
	},
	"certificate": &wire.Certificate{
		HostID: "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a", Certificate: "PEM", CA: "PEM", NotAfter: now, RenewAt: now,
	},
}

// A golden file, once written, must decode for ever: they are the promise to
// agents and deployment units of other ages.
func TestMessagesKeepTheirForm(t *testing.T) {
	for name, message := range messages {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".v1.json")
			got, err := json.MarshalIndent(message, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s changed (-golden +now):\n%s", name, diff)
			}
		})
	}
}

func TestHashSurvivesTheWire(t *testing.T) {
	want := vm.Hash()
	for range 3 {
		b, err := json.Marshal(vm)
		if err != nil {
			t.Fatal(err)
		}
		var back wire.Resource
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if got := back.Hash(); got != want {
			t.Fatalf("hash after a trip = %x, want %x", got, want)
		}
		vm = back
	}
}

func TestHashTellsFieldsApart(t *testing.T) {
	seen := make(map[wire.Hash]string)
	for name, change := range map[string]func(*wire.Resource){
		"none":          func(*wire.Resource) {},
		"id":            func(r *wire.Resource) { r.ID += "x" },
		"name":          func(r *wire.Resource) { r.Name = "x" },
		"parent":        func(r *wire.Resource) { r.Parent = plugin.Key{} },
		"spec":          func(r *wire.Resource) { r.Spec = json.RawMessage(`{}`) },
		"ext":           func(r *wire.Resource) { r.Ext = nil },
		"spec into ext": func(r *wire.Resource) { r.Spec, r.Ext = append(append(json.RawMessage{}, r.Spec...), r.Ext...), nil },
		"id into name":  func(r *wire.Resource) { r.Name, r.ID = r.ID[35:]+r.Name, r.ID[:35] },
	} {
		r := vm
		change(&r)
		if other, twice := seen[r.Hash()]; twice {
			t.Errorf("changing %s and changing %s give the same hash", name, other)
		}
		seen[r.Hash()] = name
	}
	again := vm
	again.Generation, again.Source = 99, "other"
	if again.Hash() != vm.Hash() {
		t.Error("generation and source must not count: the far side sets its own")
	}
}

func TestDigestForgetsOrder(t *testing.T) {
	var a, b wire.Digest
	for _, h := range []wire.Hash{1, 2, 3, 4} {
		a.Add(h)
	}
	for _, h := range []wire.Hash{4, 2, 9, 1, 3} {
		b.Add(h)
	}
	b.Remove(9)
	if a != b {
		t.Errorf("digests differ: %v, %v", a, b)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		got  error
		want string // "" for none
	}{
		{"good resource", vm.Validate(), ""},
		{"no kind", (&wire.Resource{Key: plugin.Key{ID: "x"}}).Validate(), "kind"},
		{"long id", (&wire.Resource{Key: plugin.Key{Kind: "k", ID: strings.Repeat("x", 256)}}).Validate(), "255 bytes"},
		{"large spec", (&wire.Resource{Key: plugin.Key{Kind: "k", ID: "x"}, Spec: make([]byte, 256<<10+1)}).Validate(), "256 KiB"},
		{"large ext", (&wire.Resource{Key: plugin.Key{Kind: "k", ID: "x"}, Ext: make([]byte, 16<<10+1)}).Validate(), "16 KiB"},
		{"good host id", wire.HostID("0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a").Validate(), ""},
		{"upper-case host id", wire.HostID("0B5C7D7E-8A52-4A0C-9A3F-1F2E3D4C5B6A").Validate(), "lower-case UUID"},
		{"path as host id", wire.HostID("../../etc/passwd").Validate(), "lower-case UUID"},
		{"hello", (&wire.Hello{Version: 1}).Validate(), ""},
		{"old hello", (&wire.Hello{}).Validate(), "without a version"},
		{"new hello", (&wire.Hello{Version: 99}).Validate(), "upgrade the deployment unit"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			switch {
			case test.want == "" && test.got != nil:
				t.Errorf("got %v, want no error", test.got)
			case test.want != "" && (test.got == nil || !strings.Contains(test.got.Error(), test.want)):
				t.Errorf("got %v, want something with %q", test.got, test.want)
			}
		})
	}
}

func FuzzDigestText(f *testing.F) {
	f.Add("0123456789abcdef")
	f.Add("xyz")
	f.Fuzz(func(t *testing.T, s string) {
		var h wire.Hash
		if h.UnmarshalText([]byte(s)) != nil {
			return
		}
		if b, err := h.MarshalText(); err != nil || string(b) != s {
			t.Errorf("%q came back as %q, %v", s, b, err)
		}
	})
}
