package pair_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	daemon "github.com/openpf9/openpf9/gateway"
	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/internal/wire"
)

var (
	_ pairing.Pairer = (*pair.Daemon)(nil)
	_ pairing.Pairer = (*pair.Client)(nil)
)

// vcenter is a vcsim that knows two accounts and counts who logs in.
type vcenter struct {
	*simulator.AuthorizationManager
	host     string
	instance string

	mu        sync.Mutex
	passwords map[string]string
	logins    []string // users, also refused ones
	lacks     []string // privileges, on all objects
}

func (v *vcenter) HasPrivilegeOnEntities(req *types.HasPrivilegeOnEntities) soap.HasFault {
	body := &methods.HasPrivilegeOnEntitiesBody{Res: &types.HasPrivilegeOnEntitiesResponse{}}
	for _, e := range req.Entity {
		said := types.EntityPrivilege{Entity: e}
		for _, id := range req.PrivId {
			said.PrivAvailability = append(said.PrivAvailability, types.PrivilegeAvailability{PrivId: id, IsGranted: !slices.Contains(v.lacks, id)})
		}
		body.Res.Returnval = append(body.Res.Returnval, said)
	}
	return body
}

func (v *vcenter) validLogin(req *types.Login) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.logins = append(v.logins, req.UserName)
	return v.passwords[req.UserName] == req.Password
}

// took returns who logged in since the last call.
func (v *vcenter) took() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.logins
	v.logins = nil
	return l
}

func start(t *testing.T, instance string, change func(*simulator.Model)) *vcenter {
	t.Helper()
	model := simulator.VPX()
	model.Machine, model.Host = 0, 0
	if change != nil {
		change(model)
	}
	if err := model.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Remove)
	v := &vcenter{instance: instance, passwords: map[string]string{"look@vsphere.local": "secret-1", "act@vsphere.local": "secret-2"}}
	content := model.Map().Get(types.ManagedObjectReference{Type: "ServiceInstance", Value: "ServiceInstance"}).(*simulator.ServiceInstance)
	content.Content.About.InstanceUuid = instance
	v.AuthorizationManager = model.Map().Get(*model.ServiceContent.AuthorizationManager).(*simulator.AuthorizationManager)
	model.Map().Put(v)
	model.Map().SessionManager().ValidLogin = v.validLogin
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.User("ours")}
	model.Service.TLS = new(tls.Config)
	server := model.Service.NewServer()
	t.Cleanup(server.Close)
	v.host = server.URL.Host
	return v
}

// site is a gateway that pairs.
type site struct {
	*pair.Daemon
	dir     string
	vault   *vault.Vault
	reloads int
	options pair.Options
}

func gateway(t *testing.T, change func(*pair.Options)) *site {
	t.Helper()
	s := &site{dir: t.TempDir()}
	id := filepath.Join(s.dir, "machine-id")
	if err := os.WriteFile(id, []byte("4c4c4544\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.vault, err = vault.Open(vault.Options{Dir: filepath.Join(s.dir, "vault"), MachineID: id, ProductUUID: filepath.Join(s.dir, "none")}); err != nil {
		t.Fatal(err)
	}
	s.options = pair.Options{StateDir: s.dir, Vault: s.vault, Reload: func() error { s.reloads++; return nil }, Distant: func(netip.Addr) error { return nil }} // vcsim is on this machine
	if change != nil {
		change(&s.options)
	}
	s.Daemon = pair.New(s.options)
	return s
}

// request is one that is right for a vCenter.
func (s *site) request(t *testing.T, v *vcenter, name string) pairing.Request {
	t.Helper()
	c, err := s.Look(t.Context(), v.host)
	if err != nil {
		t.Fatal(err)
	}
	return pairing.Request{Name: name, Address: v.host, Thumbprint: c.Thumbprint, User: "look@vsphere.local", Password: "secret-1"}
}

func (s *site) pair(t *testing.T, r pairing.Request) pairing.Result {
	t.Helper()
	res, err := s.Pair(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (s *site) file(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(pair.File(s.dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// refuses says whether pairing fails with words, and keeps nothing.
func (s *site) refuses(t *testing.T, r pairing.Request, words string) {
	t.Helper()
	before := s.file(t)
	accounts, _ := s.vault.Names()
	if res, err := s.Pair(t.Context(), r); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("Pair(%v) = %+v, %v, want an error with %q", r, res, err, words)
	} else if strings.Contains(err.Error(), r.Password) && r.Password != "" {
		t.Errorf("the error shows the password: %v", err)
	}
	after, _ := s.vault.Names()
	if s.file(t) != before || !slices.Equal(accounts, after) {
		t.Errorf("a refused pairing changed what is kept:\n%s\naccounts %q, before %q", s.file(t), after, accounts)
	}
}

func TestAPairingIsKept(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	r := s.request(t, v, "east")
	res := s.pair(t, r)
	if want := (pairing.Result{As: "east", Name: "VMware vCenter Server " + strings.TrimPrefix(res.Name, "VMware vCenter Server "), Instance: "uuid-1", Missing: []pairing.Privilege{}, Now: wire.Pairing{
		Address: "https://" + v.host, Thumbprint: r.Thumbprint, User: r.User,
	}}); !cmp.Equal(res, want) {
		t.Errorf("Pair = %+v, want %+v", res, want)
	}
	want := fmt.Sprintf("# Written by pairing; change it with pf9-gateway pair and unpair.\n\n[vcenters]\n[vcenters.east]\nurl = 'https://%s'\nthumbprint = '%s'\ncontrol = false\ninstance_uuid = 'uuid-1'\n", v.host, r.Thumbprint)
	if d := cmp.Diff(want, s.file(t)); d != "" {
		t.Error(d)
	}
	if info, err := os.Stat(pair.File(s.dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	if got, err := s.vault.Get("east"); err != nil || got.User != r.User || got.Password != r.Password {
		t.Errorf("the vault has %v, %v", got, err)
	}
	if got := v.took(); len(got) != 1 || s.reloads != 1 {
		t.Errorf("logins %q, reloads %d, want one of each", got, s.reloads)
	}
	if err := s.Unpair(t.Context(), "east"); err != nil {
		t.Fatal(err)
	}
	if names, err := s.vault.Names(); len(names) > 0 || err != nil || strings.Contains(s.file(t), "east") || s.reloads != 2 {
		t.Errorf("after Unpair accounts %q, %v, reloads %d, and\n%s", names, err, s.reloads, s.file(t))
	}
	if err := s.Unpair(t.Context(), "east"); err == nil || !strings.Contains(err.Error(), `no vCenter is paired as "east"`) {
		t.Errorf("second Unpair: %v", err)
	}
}

func TestARefusedAccountIsTriedOnce(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	r := s.request(t, v, "east")
	wrong := r
	wrong.Password, wrong.ControlUser, wrong.ControlPassword = "typo", "act@vsphere.local", "secret-2"
	s.refuses(t, wrong, "refuses the account look@vsphere.local: the user name or the password is wrong, or the account is locked")
	if got := v.took(); !slices.Equal(got, []string{"look@vsphere.local"}) {
		t.Errorf("logins %q, want one, and none of the second account", got)
	}
	s.refuses(t, wrong, "within 15 minutes: 2). The password was tried twice, and is not tried again before") // it could have been unlocked
	if got := v.took(); len(got) != 1 {
		t.Errorf("logins %q of the person who pairs again, want one", got)
	}
	for range 3 {
		s.refuses(t, wrong, "refused this password of look@vsphere.local twice")
	}
	if got := v.took(); len(got) != 0 {
		t.Errorf("logins %q, want none more", got)
	}
	wrong.Password = "other typo"
	s.refuses(t, wrong, "within 15 minutes: 3). Give the right one; if this one is right by now")
	s.pair(t, r)
	wrong.Password = "typo"
	s.refuses(t, wrong, "within 15 minutes: 1).") // the right one was in between
}

func TestOnlyTheAcceptedCertificateIsToldAPassword(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	r := s.request(t, v, "east")
	r.Thumbprint = strings.Repeat("AB:", 31) + "AB"
	right := s.request(t, v, "east").Thumbprint
	for _, words := range []string{"shows the certificate with the SHA-256 " + right, "accepted was " + r.Thumbprint, "--thumbprint " + right, "no account was sent"} {
		s.refuses(t, r, words)
	}
	s = gateway(t, func(o *pair.Options) {
		o.Configured = func() (map[string]pair.VCenter, error) {
			return map[string]pair.VCenter{"east": {URL: "https://" + v.host, Thumbprint: r.Thumbprint}}, nil
		}
	})
	for _, words := range []string{"expected SHA-256 " + r.Thumbprint, "seen " + right, "renewed, or somebody between", "in the gateway's configuration; no account was sent"} {
		s.refuses(t, pairing.Request{Name: "east", User: r.User, Password: r.Password}, words)
	}
	s = gateway(t, nil)
	r.Thumbprint = ""
	s.refuses(t, r, "thumbprint")
	if got := v.took(); len(got) > 0 {
		t.Errorf("logins %q, want none", got)
	}
}

func TestTheAccountForControl(t *testing.T) {
	v, s := start(t, "uuid-1", func(m *simulator.Model) { m.Datastore = 3 }), gateway(t, nil)
	r := s.request(t, v, "east")
	r.ControlUser, r.ControlPassword, r.Clusters = "act@vsphere.local", "secret-2", []string{"DC0_C0"}
	v.lacks = []string{"VirtualMachine.Interact.PowerOn"}
	res := s.pair(t, r)
	want := []pairing.Privilege{{Name: "VirtualMachine.Interact.PowerOn", Function: "power", Object: "/DC0/vm", Without: "VMs are not started or stopped"}}
	if d := cmp.Diff(want, res.Missing); d != "" {
		t.Error(d)
	}
	if got, err := s.vault.Get(pair.ControlAccount("east")); err != nil || got.Password != "secret-2" {
		t.Errorf("the vault has %v, %v", got, err)
	}
	if got := v.took(); !slices.Equal(got, []string{"look@vsphere.local", "act@vsphere.local"}) {
		t.Errorf("logins %q", got)
	}
	conf := filepath.Join(s.dir, "gateway.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "state_dir = %q\n", s.dir), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := daemon.LoadConfig(conf)
	if east := c.VCenters["east"]; err != nil || east.URL.String() != "https://"+v.host || east.Thumbprint.String() != r.Thumbprint ||
		!slices.Equal(east.Clusters, r.Clusters) || !east.Control || east.InstanceUUID != "uuid-1" {
		t.Errorf("the daemon reads %+v, %v", c.VCenters, err)
	}
	rotated := s.request(t, v, "east") // says nothing of clusters and control
	v.passwords["look@vsphere.local"], rotated.Password = "secret-3", "secret-3"
	s.pair(t, rotated)
	if text := s.file(t); !strings.Contains(text, "clusters = ['DC0_C0']\ncontrol = true\n") {
		t.Errorf("after a new password:\n%s", text)
	}
	if got, err := s.vault.Get(pair.ControlAccount("east")); err != nil || got.Password != "secret-2" {
		t.Errorf("after a new password the vault has %v, %v", got, err)
	}
	broker := "127.0.0.1:8443"
	rotated.Broker = &broker
	s.pair(t, rotated)
	rotated.Broker = nil
	s.pair(t, rotated)
	if c, err := daemon.LoadConfig(conf); err != nil || c.VCenters["east"].Broker != broker {
		t.Errorf("the broker's address is not kept: %+v, %v", c.VCenters["east"], err)
	}
	off := false
	rotated.Control, rotated.Clusters = &off, []string{}
	s.pair(t, rotated)
	if text := s.file(t); strings.Contains(text, "clusters") || !strings.Contains(text, "broker = '"+broker) || !strings.Contains(text, "control = false") {
		t.Errorf("without control:\n%s", text)
	}
	if c, err := daemon.LoadConfig(conf); err != nil || c.VCenters["east"].Broker != "" {
		t.Errorf("without control the daemon has a broker: %+v, %v", c.VCenters["east"], err)
	}
	if got, err := s.vault.Get(pair.ControlAccount("east")); !errors.Is(err, vault.ErrNoAccount) {
		t.Errorf("without control the vault has %v, %v", got, err)
	}
}

func TestPrivilegesOfManyObjectsAreFolded(t *testing.T) {
	v, s := start(t, "uuid-1", func(m *simulator.Model) { m.Datastore = 3 }), gateway(t, nil)
	v.lacks = []string{"Datastore.AllocateSpace"}
	r := s.request(t, v, "east")
	on := true
	r.Control = &on
	res := s.pair(t, r)
	if len(res.Missing) != 1 || res.Missing[0].Object != "/DC0/datastore/LocalDS_0 and 2 more" {
		t.Errorf("missing: %+v", res.Missing)
	}
}

func TestANameStaysBoundToOneInstance(t *testing.T) {
	v, other, s := start(t, "uuid-1", nil), start(t, "uuid-2", nil), gateway(t, nil)
	first := s.pair(t, s.request(t, v, ""))
	if first.As != "vcenter" {
		t.Errorf("without a name it is kept as %q", first.As)
	}
	stranger := s.request(t, other, "vcenter")
	s.refuses(t, stranger, "is paired with the vCenter instance uuid-1")
	if got := other.took(); len(got) > 0 {
		t.Errorf("a stranger was told %q", got)
	}
	s.refuses(t, s.request(t, v, "west"), "is paired already, as vcenter")
	if res := s.pair(t, s.request(t, other, "")); res.As != "vcenter-2" {
		t.Errorf("a second one is kept as %q", res.As)
	}
	if err := s.Unpair(t.Context(), "vcenter"); err != nil {
		t.Fatal(err)
	}
	s.refuses(t, stranger, "is paired already, as vcenter-2")
}

func TestANewAddressKeepsTheName(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	r := s.request(t, v, "east")
	on := true
	r.Control, r.Clusters = &on, []string{"DC0_C0"}
	s.pair(t, r)
	again := s.request(t, v, "")
	again.Address = "https://" + strings.Replace(v.host, "127.0.0.1", "localhost", 1) + "/"
	if res := s.pair(t, again); res.As != "east" {
		t.Errorf("kept as %q", res.As)
	}
	if text := s.file(t); !strings.Contains(text, "url = 'https://localhost:") || !strings.Contains(text, "clusters = ['DC0_C0']\ncontrol = true\n") {
		t.Errorf("with a new address:\n%s", text)
	}
}

func TestWhatTheAdministratorConfiguredIsNotChanged(t *testing.T) {
	v := start(t, "uuid-1", nil)
	configured := map[string]pair.VCenter{"east": {URL: "https://" + v.host + "/", Control: true}}
	s := gateway(t, func(o *pair.Options) {
		o.Configured = func() (map[string]pair.VCenter, error) { return configured, nil }
	})
	r := s.request(t, v, "east")
	s.pair(t, r)
	if text := s.file(t); text != "" {
		t.Errorf("a file was written:\n%s", text)
	}
	if got, err := s.vault.Get("east"); err != nil || got.Password != "secret-1" {
		t.Errorf("the vault has %v, %v", got, err)
	}
	r.Clusters = []string{"DC0_C0"}
	s.refuses(t, r, "only its accounts can be set here")
	if err := s.Unpair(t.Context(), "east"); err == nil || !strings.Contains(err.Error(), "remove it there") {
		t.Errorf("Unpair: %v", err)
	}
}

func TestRequestsThatAreWrong(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	good := s.request(t, v, "east")
	for words, spoil := range map[string]func(*pairing.Request){
		"1 to 32 lower-case letters":  func(r *pairing.Request) { r.Name = "East" },
		"not of the form host[:port]": func(r *pairing.Request) { r.Address = "https://vc.example/sdk" },
		"SHA-1 thumbprint":            func(r *pairing.Request) { r.Thumbprint = strings.Repeat("AB:", 19) + "AB" },
		"a user and a password":       func(r *pairing.Request) { r.Password = "" },
		"user and password are both":  func(r *pairing.Request) { r.ControlUser = "act" },
		"one has no name":             func(r *pairing.Request) { r.Clusters = []string{""} },
		`the account sees no cluster`: func(r *pairing.Request) { r.Clusters = []string{"gone"} },
		"makes no sense without":      func(r *pairing.Request) { r.Control, r.ControlUser, r.ControlPassword = new(bool), "a", "b" },
		"without control":             func(r *pairing.Request) { b := "127.0.0.1:1"; r.Broker = &b },
		"with a port": func(r *pairing.Request) {
			b, on := "localhost", true
			r.Broker, r.Control = &b, &on
		},
		"connection refused": func(r *pairing.Request) { r.Address = "127.0.0.1:1" },
	} {
		t.Run(words, func(t *testing.T) {
			r := good
			spoil(&r)
			s.refuses(t, r, words)
		})
	}
}

func TestAnAccountThatSeesNothingIsNotKept(t *testing.T) {
	v, s := start(t, "uuid-1", func(m *simulator.Model) { m.Datacenter = 0 }), gateway(t, nil)
	s.pair(t, s.request(t, v, "empty")) // though there is nothing to see
	v.lacks = []string{"System.Read"}
	s.refuses(t, s.request(t, v, "empty"), "sees nothing of the inventory")
}

func TestADamagedFileIsNotOverwritten(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	if err := os.WriteFile(pair.File(s.dir), []byte("[vcenters.a]\nurl = 'https://a'\nurll = ''\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refuses(t, s.request(t, v, "east"), "vcenters.conf:3")
}

func TestAReloadThatFailsIsTold(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, func(o *pair.Options) { o.Reload = func() error { return errors.New("gateway.conf:7: odd") } })
	if _, err := s.Pair(t.Context(), s.request(t, v, "east")); err == nil || !strings.Contains(err.Error(), "is paired, but") || !strings.Contains(err.Error(), "gateway.conf:7") {
		t.Errorf("Pair: %v", err)
	}
}

func TestAnEndedContextEndsThePairing(t *testing.T) {
	v, s := start(t, "uuid-1", nil), gateway(t, nil)
	r := s.request(t, v, "east")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Pair(ctx, r); err == nil {
		t.Error("Pair of an ended context succeeds")
	}
	s.pair(t, r)
}
