package paired_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/internal/paired"
	"github.com/openpf9/openpf9/internal/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var pin = strings.Repeat("AB:", 31) + "AB"

func TestText(t *testing.T) {
	west := wire.PairingResult{As: "west", Name: "VMware vCenter Server 8.0.3", Instance: "0b5c7d7e-8a52"}
	with := func(change func(*wire.PairingResult)) wire.PairingResult {
		r := west
		change(&r)
		return r
	}
	for name, r := range map[string]wire.PairingResult{
		"first": with(func(r *wire.PairingResult) {
			r.Now = wire.Pairing{Address: "https://vc.example", Thumbprint: pin, User: "gw@vsphere.local"}
		}),
		"everything": with(func(r *wire.PairingResult) {
			r.Again = true
			r.Now = wire.Pairing{
				Address: "https://vc.example", Thumbprint: pin, User: "gw@vsphere.local", Clusters: []string{"gold", "sil\x1b[2Jver"},
				Control: true, OwnControl: true, ControlUser: "act@vsphere.local", Broker: "127.0.0.1:8443",
			}
			r.Changed = []wire.PairingChange{{What: "control", From: "off", To: "on"}, {What: "account for control", To: "set"}}
			r.Missing = []wire.MissingPrivilege{
				{Name: "VApp.Import", Function: "images", Object: "/DC0/host/C0", Without: "images are not brought in"},
				{Name: "VApp.Export", Function: "images", Object: "/DC0/host/C0 and 2 more", Without: "images are not brought in"},
				{Name: "VirtualMachine.Interact.PowerOn", Function: "power", Object: "/DC0/vm", Without: "VMs are not started or stopped"},
			}
		}),
		"switched": with(func(r *wire.PairingResult) {
			r.Now = wire.Pairing{
				Address: "https://vc.example", Thumbprint: pin, User: "gw@vsphere.local", Control: true, Switch: "read-only",
				Broker: "127.0.0.1:8443", BrokerProblem: "the broker does not listen: address already in use",
			}
		}),
		"remote": with(func(r *wire.PairingResult) { // the accounts are not told
			r.Again = true
			r.Now = wire.Pairing{Address: "https://vc.example", Control: true, OwnControl: true, CAFile: "/etc/pf9/vcenter.pem"}
		}),
		"taken-back": with(func(r *wire.PairingResult) {
			r.Again = true
			r.Now = wire.Pairing{Address: "https://vc.example", User: "gw@vsphere.local", Broker: "127.0.0.1:8443"}
			r.Changed = []wire.PairingChange{{What: "control", From: "on", To: "off"}, {What: "account for control", To: "deleted"}}
		}),
		"older-gateway": west,
	} {
		t.Run(name, func(t *testing.T) {
			next := paired.OnGateway("west")
			if name == "remote" {
				next = paired.ByDeploymentUnit("gw1", "west")
			}
			got, file := paired.Text(r, next), filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("%s changed (-golden +now):\n%s", file, d)
			}
			if strings.Contains(got, "\x1b") {
				t.Error("the text steers the terminal")
			}
		})
	}
}

func TestCertificate(t *testing.T) {
	got := paired.Certificate("vc.example", wire.PairingCertificate{Thumbprint: pin, Subject: "CN=vc\x1b[2J", Issuer: "CN=CA", NotAfter: time.Unix(2e9, 0)})
	for _, want := range []string{"vc.example has this certificate", "SHA-256  " + pin, "CN=vc?[2J", "2033-05-18 03:33:20 UTC"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}
