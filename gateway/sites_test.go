package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/gateway/actions"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/gateway/vcproxy"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/paired"
	"github.com/openpf9/openpf9/internal/vcsim"
	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const password = "only-the-vault-knows"

// lab is a set of sites with one vCenter, which is watched.
func lab(t *testing.T, change func(*VCenter)) (*sites, Config) {
	t.Helper()
	s, c, _ := labOf(t, change)
	return s, c
}

// labWith is lab, with its vCenter.
func labWith(t *testing.T, change func(*VCenter)) (*sites, *vcsim.Server) {
	t.Helper()
	s, _, vc := labOf(t, change)
	return s, vc
}

func labOf(t *testing.T, change func(*VCenter)) (*sites, Config, *vcsim.Server) {
	t.Helper()
	return labLike(t, vcsim.Options{Clusters: 2, Hosts: 1, VMs: 1}, change)
}

// labLike is lab of a size.
func labLike(t *testing.T, size vcsim.Options, change func(*VCenter)) (*sites, Config, *vcsim.Server) {
	t.Helper()
	size.User, size.Password = "pf9", password
	vc, err := vcsim.Start(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vc.Close)
	c := Config{Config: core.Config{StateDir: t.TempDir()}}
	v, err := vault.Open(vault.Options{Dir: filepath.Join(c.StateDir, "vault")})
	if err == nil {
		err = v.Set("lab", vault.Secret{User: "pf9", Password: password})
	}
	if err != nil {
		t.Fatal(err)
	}
	conf := VCenter{Control: true}
	if err := errors.Join(conf.URL.UnmarshalText([]byte(vc.URL)), conf.Thumbprint.UnmarshalText([]byte(vc.Thumbprint))); err != nil {
		t.Fatal(err)
	}
	change(&conf)
	c.VCenters = map[string]VCenter{"lab": conf}
	s, err := newSites(c.StateDir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	modules := s.configure(c, "8a6e0804-2bd0-4672-b79d-d97027f9071a")
	if len(modules) != 2 || modules[0].Name != "vcenter-lab" || modules[1].Name != "tags-lab" {
		t.Fatalf("modules %+v", modules)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.byName["lab"].source.Watch(ctx, func(...plugin.Key) {}) })
	t.Cleanup(func() { cancel(); wg.Wait(); s.close() })
	eventually.Nil(t, func() error {
		if st := s.status(); st[0].State != "ok" || st[0].Counts[inventory.KindVM] == 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	return s, c, vc
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// local logs in at the broker as a program on the appliance does.
func local(ctx context.Context, address, path string) (*govmomi.Client, error) {
	secret, err := os.ReadFile(path + ".secret")
	if err != nil {
		return nil, err
	}
	u := &url.URL{Scheme: "https", Host: address, Path: "/sdk"}
	sc := soap.NewClient(u, false)
	ca, err := os.ReadFile(path + ".crt")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	sc.DefaultTransport().TLSClientConfig.RootCAs = pool
	vc, err := vim25.NewClient(ctx, sc)
	if err != nil {
		return nil, err
	}
	c := &govmomi.Client{Client: vc, SessionManager: session.NewManager(vc)}
	return c, c.Login(ctx, url.UserPassword(paired.BrokerUser, strings.TrimSpace(string(secret))))
}

func TestBrokerOnTheAppliance(t *testing.T) {
	address := free(t)
	s, conf := lab(t, func(c *VCenter) { c.Broker, c.Clusters = address, []string{"DC0_C0"} })
	path := filepath.Join(conf.StateDir, "brokers/lab")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var c *govmomi.Client
	eventually.Nil(t, func() (err error) { c, err = local(ctx, address, path); return err })
	finder := find.NewFinder(c.Client)
	inside, err := finder.VirtualMachine(ctx, "/DC0/vm/DC0_C0_RP0_VM0")
	if err != nil {
		t.Fatal(err)
	}
	outside, err := finder.VirtualMachine(ctx, "/DC0/vm/DC0_C1_RP0_VM0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inside.PowerOff(ctx); err != nil {
		t.Errorf("power off a VM of a chosen cluster: %v", err)
	}
	if _, err := outside.PowerOff(ctx); err == nil || !soap.IsSoapFault(err) {
		t.Errorf("power off a VM of another cluster: %v", err)
	}

	key := plugin.Key{Kind: inventory.KindVM, ID: s.byName["lab"].source.State().Instance + "/" + inside.Reference().Value}
	if _, ref, err := s.resolve(ctx, key); err != nil || ref.Value != inside.Reference().Value {
		t.Errorf("resolve: %v, %v", ref, err)
	}
	scoped := func(r types.ManagedObjectReference) bool {
		r.ServerGUID = s.byName["lab"].source.State().Instance
		return s.permit(r) == nil
	}
	if !scoped(inside.Reference()) || scoped(outside.Reference()) {
		t.Error("the scope of actions is not the chosen cluster")
	}

	if err := s.brokerOf("lab").SetMode(ctx, vcproxy.ModeReadOnly, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := inside.PowerOn(ctx); err == nil {
		t.Error("the broker powers on a VM while control is switched to read-only")
	}
	if _, _, err := s.resolve(ctx, key); err == nil || s.controllable() == nil || s.status()[0].Control != "read-only" {
		t.Errorf("actions go on while control is switched to read-only: %v", err)
	}

	all, err := os.ReadFile(path + ".audit")
	if err != nil || !strings.Contains(string(all), "PowerOffVM_Task") || strings.Contains(string(all), password) {
		t.Errorf("audit: %v\n%s", err, all)
	}
}

func TestBrokerWithoutItsAddressIsTold(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	s, _ := lab(t, func(c *VCenter) { c.Broker = l.Addr().String() })
	if st := s.status()[0]; !strings.Contains(st.Problem, "address already in use") || st.State != "ok" {
		t.Errorf("%+v", st)
	}
}

func TestReloadKeepsWhatIsUnchanged(t *testing.T) {
	s, c := lab(t, func(c *VCenter) { c.Control = false })
	before := s.byName["lab"]
	s.configure(c, "8a6e0804-2bd0-4672-b79d-d97027f9071a")
	if s.byName["lab"] != before {
		t.Error("a vCenter whose settings are unchanged is begun anew")
	}
	key := plugin.Key{Kind: inventory.KindVM, ID: before.source.State().Instance + "/vm-1"}
	if _, _, err := s.resolve(t.Context(), key); err == nil || !strings.Contains(err.Error(), "pf9-gateway pair lab --control delegates it") {
		t.Errorf("resolve without control: %v", err)
	}
	key.ID = "4f2b3b9e-0000-4b1f-8000-000000000000/vm-1"
	if _, _, err := s.resolve(t.Context(), key); err != actions.Denied("the gateway has no vCenter of the instance 4f2b3b9e-0000-4b1f-8000-000000000000") {
		t.Errorf("resolve of a VM of a vCenter that is not here: %v", err)
	}
	conf := c.VCenters["lab"]
	conf.Clusters = []string{"DC0_C0"}
	s.configure(Config{Config: c.Config, VCenters: map[string]VCenter{"lab": conf}}, "8a6e0804-2bd0-4672-b79d-d97027f9071a")
	if s.byName["lab"] == before {
		t.Error("a vCenter with other settings goes on as it was")
	}
	secret := filepath.Join(s.brokers(), "lab.secret")
	if err := errors.Join(os.MkdirAll(s.brokers(), 0o700), os.WriteFile(secret, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s.configure(Config{Config: c.Config}, "8a6e0804-2bd0-4672-b79d-d97027f9071a")
	if _, err := os.Stat(secret); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the broker's secret of a vCenter that is gone: %v", err)
	}
	if len(s.byName) != 0 {
		t.Error("a vCenter that is not configured any more is still there")
	}
}

// A password that is set again is tried again, also if it was refused before the
// gateway's start: the session must learn when it was set.
func TestAccountSaysWhenItWasSet(t *testing.T) {
	s, err := newSites(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Second)
	if err := s.vault.Set("lab", vault.Secret{User: "pf9", Password: password}); err != nil {
		t.Fatal(err)
	}
	if a, err := s.account("lab"); err != nil || a.Set.Before(before) {
		t.Errorf("the account was set at %v, %v", a.Set, err)
	}
}
