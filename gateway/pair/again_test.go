package pair_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/gateway/session"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/internal/pki"
	"github.com/openpf9/openpf9/internal/wire"
)

// full pairs a vCenter with everything that can be set.
func full(t *testing.T) (*vcenter, *site, wire.Pairing) {
	t.Helper()
	v := start(t, "uuid-1", nil)
	s, p := fullAt(t, v)
	return v, s, p
}

// fullAt does so with a vCenter that is there.
func fullAt(t *testing.T, v *vcenter) (*site, wire.Pairing) {
	t.Helper()
	s := gateway(t, nil)
	r := s.request(t, v, "east")
	on, broker := true, "127.0.0.1:8443"
	r.Control, r.Clusters, r.Broker = &on, []string{"DC0_C0"}, &broker
	r.ControlUser, r.ControlPassword = "act@vsphere.local", "secret-2"
	res := s.pair(t, r)
	want := wire.Pairing{
		Address: "https://" + v.host, Thumbprint: r.Thumbprint, Clusters: r.Clusters, Control: true, Broker: broker,
		User: r.User, ControlUser: r.ControlUser, OwnControl: true,
	}
	if d := cmp.Diff(want, res.Now); d != "" || res.Again || res.Changed != nil {
		t.Fatalf("%+v: %s", res, d)
	}
	v.took()
	return s, want
}

func TestPairingAgainChangesWhatIsGivenAndNothingElse(t *testing.T) {
	v := start(t, "uuid-1", nil)
	off, empty, other := false, "", "127.0.0.1:9443"
	for name, test := range map[string]struct {
		give func(*pairing.Request)
		want func(*wire.Pairing)
		say  []wire.PairingChange
	}{
		"nothing": {func(*pairing.Request) {}, func(*wire.Pairing) {}, nil},
		"control is taken back": {
			func(r *pairing.Request) { r.Control = &off },
			func(p *wire.Pairing) { p.Control, p.OwnControl, p.ControlUser = false, false, "" },
			[]wire.PairingChange{{What: "control", From: "on", To: "off"}, {What: "account for control", To: "deleted"}},
		},
		"the broker moves": {
			func(r *pairing.Request) { r.Broker = &other },
			func(p *wire.Pairing) { p.Broker = other },
			[]wire.PairingChange{{What: "broker", From: "127.0.0.1:8443", To: other}},
		},
		"no broker": {
			func(r *pairing.Request) { r.Broker = &empty },
			func(p *wire.Pairing) { p.Broker = "" },
			[]wire.PairingChange{{What: "broker", From: "127.0.0.1:8443", To: "none"}},
		},
		"all clusters": {
			func(r *pairing.Request) { r.Clusters = []string{} },
			func(p *wire.Pairing) { p.Clusters = nil },
			[]wire.PairingChange{{What: "clusters", From: "DC0_C0", To: "all"}},
		},
		"another user": {
			func(r *pairing.Request) { r.User, r.Password = "act@vsphere.local", "secret-2" },
			func(p *wire.Pairing) { p.User = "act@vsphere.local" },
			[]wire.PairingChange{{What: "account", To: "another user"}},
		},
		"another user for control": {
			func(r *pairing.Request) { r.ControlUser, r.ControlPassword = "look@vsphere.local", "secret-1" },
			func(p *wire.Pairing) { p.ControlUser = "look@vsphere.local" },
			[]wire.PairingChange{{What: "account for control", To: "another user"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, want := fullAt(t, v)
			r := pairing.Request{Name: "east"}
			test.give(&r)
			test.want(&want)
			res := s.pair(t, r)
			if d := cmp.Diff(test.say, res.Changed); d != "" || !res.Again {
				t.Errorf("it says (-want +got): %s", d)
			}
			if len(res.Now.Clusters) == 0 {
				res.Now.Clusters = nil
			}
			if d := cmp.Diff(want, res.Now); d != "" {
				t.Errorf("it is (-want +got): %s", d)
			}
		})
	}
}

func TestTheBrokerComesBackWithControl(t *testing.T) {
	_, s, want := full(t)
	on, off := true, false
	s.pair(t, pairing.Request{Name: "east", Control: &off})
	if res := s.pair(t, pairing.Request{Name: "east", Control: &on}); res.Now.Broker != want.Broker || !res.Now.Control || res.Now.OwnControl {
		t.Errorf("it is %+v", res.Now)
	}
}

func TestWhatTheSwitchAndTheBrokerSayIsTold(t *testing.T) {
	on, broker := true, "127.0.0.1:8443"
	v := start(t, "uuid-1", nil)
	s := gateway(t, func(o *pair.Options) {
		o.Broker = func(name string) (string, error) {
			return "read-only", fmt.Errorf("the broker of %s is not there", name)
		}
	})
	r := s.request(t, v, "east")
	if res := s.pair(t, r); res.Now.Switch != "" || res.Now.BrokerProblem != "" {
		t.Errorf("without control it is %+v", res.Now)
	}
	r.Control, r.Broker = &on, &broker
	if res := s.pair(t, r); res.Now.Switch != "read-only" || res.Now.BrokerProblem != "the broker of east is not there" {
		t.Errorf("with control it is %+v", res.Now)
	}
}

func TestANewPasswordAlone(t *testing.T) {
	v, s, want := full(t)
	v.passwords["look@vsphere.local"] = "secret-3"
	s.refuses(t, pairing.Request{Name: "east"}, "the account that was set before: ")
	res := s.pair(t, pairing.Request{Name: "east", Password: "secret-3"})
	if d := cmp.Diff([]wire.PairingChange{{What: "account", To: "another password"}}, res.Changed); d != "" || !cmp.Equal(res.Now, want) {
		t.Errorf("%s, %+v", d, res.Now)
	}
	if got, err := s.vault.Get("east"); err != nil || got.Password != "secret-3" {
		t.Errorf("the vault has %v, %v", got, err)
	}
	v.passwords["act@vsphere.local"] = "secret-4"
	s.refuses(t, pairing.Request{Name: "east"}, "the account for control that was set before: ")
}

// The privileges that are missed are those of who acts, also where that account
// was set before.
func TestTheKeptAccountForControlIsLookedAt(t *testing.T) {
	v, s, _ := full(t)
	v.lacks = []string{"VApp.Import"}
	res := s.pair(t, pairing.Request{Name: "east", Password: "secret-1"})
	if got := v.took(); len(res.Missing) != 1 || !slices.Equal(got, []string{"look@vsphere.local", "act@vsphere.local"}) {
		t.Errorf("missing %+v, logins %q", res.Missing, got)
	}
}

func TestAKeptAccountGoesNowhereElse(t *testing.T) {
	v, s, _ := full(t)
	other := start(t, "uuid-2", nil)
	cert := s.request(t, other, "").Thumbprint
	s.refuses(t, pairing.Request{Name: "east", Address: other.host}, "the thumbprint of the certificate of https://"+other.host+" is missing")
	s.refuses(t, pairing.Request{Name: "east", Address: other.host, Thumbprint: cert, ControlUser: "act@vsphere.local", ControlPassword: "secret-2"}, "a user and a password are needed")
	if got := other.took(); len(got) > 0 {
		t.Errorf("another vCenter was told %q", got)
	}
	r := pairing.Request{Name: "east", Address: other.host, Thumbprint: cert, User: "look@vsphere.local", Password: "secret-1"}
	s.refuses(t, r, "the account for control was set for https://"+v.host)
	r.ControlUser, r.ControlPassword = "act@vsphere.local", "secret-2"
	s.refuses(t, r, "is paired with the vCenter instance uuid-1")
	if got := other.took(); len(got) > 0 {
		t.Errorf("another vCenter was told %q, though it said which it is", got)
	}
}

func TestOneThatIsUnknownNeedsAnAddress(t *testing.T) {
	_, s, _ := full(t)
	s.refuses(t, pairing.Request{Name: "west"}, `no vCenter is paired as "west", so that its address is needed, by --url or, of pf9ctl, --vcenter; there are: east`)
	s.refuses(t, pairing.Request{}, "its address is needed")
}

// Of one that the administrator configured the authorities may vouch.
func TestTheConfiguredAuthoritiesAreTrusted(t *testing.T) {
	v := start(t, "uuid-1", nil)
	certs, err := session.Probe(t.Context(), v.host)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pki.EncodeCertificates(certs[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	configured := map[string]pair.VCenter{"east": {URL: "https://" + v.host, CAFile: ca}, "west": {URL: "https://" + v.host}}
	s := gateway(t, func(o *pair.Options) {
		o.Configured = func() (map[string]pair.VCenter, error) { return configured, nil }
	})
	res := s.pair(t, pairing.Request{Name: "east", User: "look@vsphere.local", Password: "secret-1"})
	if res.Now.CAFile != ca || res.Now.Thumbprint != "" || s.file(t) != "" {
		t.Errorf("it is %+v, and kept is %s", res.Now, s.file(t))
	}
	s.refuses(t, pairing.Request{Name: "west", User: "look@vsphere.local", Password: "secret-1"}, "unknown authority: look at it and, if it is right, give its thumbprint")
}

func TestAFailedPairingIsInTheJournal(t *testing.T) {
	var journal bytes.Buffer
	v, s := start(t, "uuid-1", nil), gateway(t, func(o *pair.Options) { o.Log = slog.New(slog.NewTextHandler(&journal, nil)) })
	good := s.request(t, v, "east")
	for words, spoil := range map[string]func(*pairing.Request){
		"refuses the account": func(r *pairing.Request) { r.Password = "typo-hush" },
		"accepted was":        func(r *pairing.Request) { r.Thumbprint = strings.Repeat("ab", 32) },
		"holds an account":    func(r *pairing.Request) { r.Address = "https://look:typo-hush@" + v.host },
	} {
		journal.Reset()
		r := good
		spoil(&r)
		s.refuses(t, r, words)
		line := journal.String()
		if !strings.Contains(line, "level=WARN msg=\"pairing failed\" vcenter=east user=look@vsphere.local") || !strings.Contains(line, words) || !strings.Contains(line, v.host) {
			t.Errorf("the journal has %s", line)
		}
		if strings.Contains(line, "hush") || strings.Contains(line, "secret") {
			t.Errorf("the journal has a password: %s", line)
		}
	}
}

// It is the certificate's fault alone, not that of the account that was set before.
func TestAChangedCertificateIsToldFromTheAccount(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	r := s.request(t, v, "east")
	s.pair(t, r)
	old := strings.Repeat("AB:", 31) + "AB"
	if err := os.WriteFile(pair.File(s.dir), []byte(strings.ReplaceAll(s.file(t), r.Thumbprint, old)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.Pair(t.Context(), pairing.Request{Name: "east"})
	if err == nil || !strings.HasPrefix(err.Error(), "the certificate of 127.0.0.1 is not the pinned one: expected SHA-256 "+old) || !strings.Contains(err.Error(), "by --thumbprint "+r.Thumbprint+"; no account was sent") {
		t.Errorf("another certificate: %v", err)
	}
	s.pair(t, pairing.Request{Name: "east", Thumbprint: r.Thumbprint})
	if err := s.vault.Set("east", vault.Secret{User: r.User, Password: "typo-hush"}); err != nil {
		t.Fatal(err)
	}
	s.refuses(t, pairing.Request{Name: "east"}, "the account that was set before: https://"+v.host+" refuses the account")
}
