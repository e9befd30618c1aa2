package ctl

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/pairingcode"
	"github.com/openpf9/openpf9/internal/wire"
)

var pin = strings.Repeat("AB:", 31) + "AB"

const (
	pairedID = "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a"
	kvmID    = "0b5c7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a"
)

// between is a deployment unit in front of a gateway.
type between struct {
	gateway *pairingcode.Offer
	key     []byte // that it hands on
	passed  []byte // what it saw of the account
	looked  int
}

func (b *between) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v1/hosts") {
	case "GET ":
		answer = api.Hosts{Items: []api.Host{{ID: pairedID, Hostname: "gw1", Connected: true, Kind: "gateway"}, {ID: kvmID, Hostname: "kvm1", Kind: "host"}}}
	case "GET /" + pairedID + "/pairing":
		answer = wire.PairingKey{PublicKey: b.key}
	case "POST /" + pairedID + "/pairing/look":
		b.looked++
		answer = wire.PairingCertificate{Thumbprint: pin}
	case "POST /" + pairedID + "/pairing":
		var in wire.SealedPairing
		_ = json.NewDecoder(r.Body).Decode(&in) // what is wrong is seen in passed
		b.passed = in.Sealed
		answer = wire.PairingResult{As: "east", Name: "VMware vCenter Server 8.0.3", Now: wire.Pairing{Address: "https://vc.example", Thumbprint: pin, Control: true, OwnControl: true}, Missing: []wire.MissingPrivilege{
			{Name: "VApp.Import", Function: "images", Object: "/DC0/host/C0\x1b[2J", Without: "images are not brought in"},
		}}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func TestALookIsSealedWithTheCode(t *testing.T) {
	offer, err := pairingcode.NewOffer()
	if err != nil {
		t.Fatal(err)
	}
	look, err := sealLook(offer.Code(), wire.PairingKey{PublicKey: offer.PublicKey()}, "vc.example")
	if err != nil || look.Address != "vc.example" {
		t.Fatalf("%+v, %v", look, err)
	}
	var got wire.PairingAddress
	if plain, err := offer.Open(look.Sealed); err != nil || json.Unmarshal(plain, &got) != nil || got.Look != "vc.example" {
		t.Errorf("the gateway reads %s, %v", plain, err)
	}
}

func TestGatewayPair(t *testing.T) {
	offer, err := pairingcode.NewOffer()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := pairingcode.NewOffer()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"code": offer.Code().String(), "password": "correct horse\n", "other-code": theirs.Code().String(), "typo": "abc", "empty": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := &between{gateway: offer, key: offer.PublicKey()}
	s := httptest.NewTLSServer(b)
	t.Cleanup(s.Close)
	ca, token := credentials(t, s)
	run := func(line string) (int, string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		args := append([]string{"--config", filepath.Join(dir, "none"), "--url", s.URL, "--ca-file", ca, "--token-file", token}, strings.Fields(strings.ReplaceAll(line, "@", dir+"/"))...)
		return Main(t.Context(), "test", args, &out, &errs), out.String(), errs.String()
	}

	status, out, errs := run("gateway pair gw1 east --vcenter https://vc.example --thumbprint " + strings.ToLower(strings.ReplaceAll(pin, ":", "")) + " --user gw --password-file @password --code-file @code --control --broker 127.0.0.1:8443 --clusters gold,silver")
	for _, want := range []string{
		"east is paired: VMware vCenter Server 8.0.3", pin, "account   gw\n", "control   on, with an account of its own: the one that was set before",
		"images: images are not brought in\n    VApp.Import on /DC0/host/C0?[2J", "pf9ctl gateway pair gw1 east\n", "pf9ctl get vcenter --host gw1\n",
	} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("status %d, %s\nwithout %q:\n%s", status, errs, want, out)
		}
	}
	if bytes.Contains(b.passed, []byte("horse")) || bytes.Contains(b.passed, []byte("vc.example")) {
		t.Error("the deployment unit can read the account")
	}
	opened, err := offer.Open(b.passed)
	if err != nil {
		t.Fatal(err)
	}
	on, broker := true, "127.0.0.1:8443"
	want := wire.PairingRequest{Broker: &broker, Name: "east", Address: "https://vc.example", Thumbprint: pin, User: "gw", Password: "correct horse", Control: &on, Clusters: []string{"gold", "silver"}}
	var got wire.PairingRequest
	if err := json.Unmarshal(opened, &got); err != nil || !cmp.Equal(got, want) {
		t.Errorf("the gateway reads %s, %v", opened, err)
	}

	// Of a vCenter that is known nothing has to be given, and nothing else is asked to change.
	status, out, errs = run("gateway pair gw1 east --control=false --code-file @code -o json")
	var res wire.PairingResult
	if err := json.Unmarshal([]byte(out), &res); status != 0 || err != nil || res.As != "east" || !res.Now.Control || len(res.Missing) != 1 {
		t.Errorf("again: status %d, %s, %v\n%s", status, errs, err, out)
	}
	off := false
	want, got = wire.PairingRequest{Name: "east", Control: &off}, wire.PairingRequest{}
	if opened, err := offer.Open(b.passed); err != nil || json.Unmarshal(opened, &got) != nil || !cmp.Equal(got, want) {
		t.Errorf("again: the gateway reads %s, %v", opened, err)
	}

	if status, out, errs := run("gateway list"); status != 0 || !strings.Contains(out, "gw1") || strings.Contains(out, "kvm1") {
		t.Errorf("list: status %d, %s\n%s", status, errs, out)
	}

	b.passed = nil
	for name, test := range map[string]struct {
		line, says string
		status     int
	}{
		"a SHA-1":            {"gateway pair gw1 east --thumbprint " + strings.Repeat("ab", 20), "this is a SHA-1 thumbprint", 2},
		"two from one input": {"gateway pair gw1 east --code-file - --password-file -", "only one secret", 2},
		"no name":            {"gateway pair gw1", "NAME is missing", 2},
		"another's code":     {"gateway pair gw1 east --vcenter vc --thumbprint " + pin + " --user gw --password-file @password --code-file @other-code", "somebody between has put in a key of his own", 1},
		"half a code":        {"gateway pair gw1 east --vcenter vc --code-file @typo", "four groups of six", 1},
		"no password":        {"gateway pair gw1 east --vcenter vc --thumbprint " + pin + " --user gw --password-file @empty --code-file @code", "want one line", 1},
		"password as a flag": {"gateway pair gw1 east --vcenter vc --password hush", "unknown flag", 2},
		"a host":             {"gateway pair kvm1 east --vcenter vc", "kvm1 (" + kvmID + ") is a host with its own VMs, not a gateway", 1},
		"unknown gateway":    {"gateway pair gw2 east --vcenter vc", `no host is called "gw2"`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if status, _, errs := run(test.line); status != test.status || !strings.Contains(errs, test.says) {
				t.Errorf("status %d, %s, want %d with %q", status, errs, test.status, test.says)
			}
		})
	}
	b.key = theirs.PublicKey() // it puts in a key of its own
	if status, _, errs := run("gateway pair gw1 east --vcenter vc --thumbprint " + pin + " --user gw --password-file @password --code-file @code"); status != 1 || !strings.Contains(errs, "nothing was sent") {
		t.Errorf("with a key of its own: status %d, %s", status, errs)
	}
	if b.passed != nil || b.looked > 0 {
		t.Error("something was sent all the same")
	}
}
