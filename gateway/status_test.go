package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/gateway/privilege"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/gateway/vcproxy"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/testvcenter"
	"github.com/openpf9/openpf9/plugin"
)

// frail is a set of sites with one vCenter that can be broken.
func frail(t *testing.T) (*sites, *testvcenter.Server) {
	t.Helper()
	v, err := testvcenter.Start(testvcenter.Options{VMs: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	s, err := newSites(t.TempDir(), slog.New(slog.DiscardHandler))
	if err == nil {
		err = s.vault.Set("lab", vault.Secret{User: "gw@vsphere.local", Password: "secret"})
	}
	if err != nil {
		t.Fatal(err)
	}
	conf := VCenter{Control: true}
	if err := errors.Join(conf.URL.UnmarshalText([]byte(v.URL())), conf.Thumbprint.UnmarshalText([]byte(colons(v.Pin())))); err != nil {
		t.Fatal(err)
	}
	s.configure(Config{VCenters: map[string]VCenter{"lab": conf}}, "8a6e0804-2bd0-4672-b79d-d97027f9071a")
	if len(s.all()) != 1 {
		t.Fatalf("left out: %v", s.out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.byName["lab"].source.Watch(ctx, func(...plugin.Key) {}) })
	t.Cleanup(func() { v.Clear(); cancel(); wg.Wait(); s.close() })
	becomes(t, s, "ok")
	return s, v
}

func colons(hex string) string {
	var pairs []string
	for ; len(hex) > 1; hex = hex[2:] {
		pairs = append(pairs, hex[:2])
	}
	return strings.Join(pairs, ":")
}

// becomes waits for a state of the one vCenter.
func becomes(t *testing.T, s *sites, state string) (v status.VCenter) {
	t.Helper()
	eventually.Nil(t, func() error {
		if v = s.status()[0]; v.State != state {
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
	return v
}

func TestWhatAnActionOrAClientOfTheBrokerMeetsShowsAtOnce(t *testing.T) {
	for name, meet := range map[string]func(context.Context, *site) error{
		"an action": func(ctx context.Context, st *site) error {
			_, err := st.acts.Client(ctx)
			return err
		},
		"the broker": func(ctx context.Context, st *site) error {
			_, err := upstream(st.acts, st.source).Login(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, v := frail(t)
			before := s.status()[0]
			if before.Since.IsZero() || before.Address != strings.TrimPrefix(v.URL(), "https://") || before.Pinned != strings.ToUpper(colons(v.Pin())) || !before.StaleSince.IsZero() {
				t.Errorf("%+v", before)
			}
			v.Inject(testvcenter.Unavailable) // what waits does not notice
			broken := time.Now()
			if err := meet(t.Context(), s.byName["lab"]); err == nil {
				t.Fatal("vCenter answers")
			}
			now := becomes(t, s, "degraded")
			if took := time.Since(broken); took > 4*time.Second {
				t.Errorf("it took %v", took)
			}
			if !strings.Contains(now.Problem, before.Address+" does not answer: 503") || now.StaleSince.IsZero() {
				t.Errorf("%+v", now)
			}
			if !now.Since.IsZero() {
				t.Error("the session's age counts on though nobody knows whether it lives")
			}
			v.Clear()
			if after := becomes(t, s, "ok"); after.Problem != "" || !after.Since.Equal(before.Since) {
				t.Errorf("%+v: the session is the one from before, %v", after, before.Since)
			}
		})
	}
}

func TestAVCenterThatCannotBeTakenUpIsShown(t *testing.T) {
	s, err := newSites(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	conf := VCenter{CAFile: "/nowhere/ca.pem"}
	if err := conf.URL.UnmarshalText([]byte("https://vc.example")); err != nil {
		t.Fatal(err)
	}
	s.configure(Config{VCenters: map[string]VCenter{"lab": conf}}, "8a6e0804-2bd0-4672-b79d-d97027f9071a")
	if all := s.status(); len(all) != 1 || all[0].State != "failed" || !strings.Contains(all[0].Problem, "/nowhere/ca.pem") {
		t.Errorf("%+v", all)
	}
	s.configure(Config{}, "8a6e0804-2bd0-4672-b79d-d97027f9071a")
	if all := s.status(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

func TestPrivilegesAreLookedAtAgainAndAgain(t *testing.T) {
	s, vc := labWith(t, func(c *VCenter) { c.Clusters = []string{"DC0_C0"} })
	ctx, now := t.Context(), time.Now()
	key := s.byName["lab"].looks.Live().User.Key
	missing := func(now time.Time) status.VCenter {
		t.Helper()
		s.checkPrivileges(ctx, now)
		return s.status()[0]
	}
	if v := missing(now); len(v.Missing) != 0 || v.Checked.IsZero() || v.State != "ok" {
		t.Fatalf("%+v", v)
	}
	vc.Deny("VirtualMachine.Interact.PowerOn", "VirtualMachine.Interact.PowerOff", "Datastore.AllocateSpace")
	if v := missing(now.Add(time.Minute)); len(v.Missing) != 0 {
		t.Errorf("a minute later: %+v", v.Missing)
	}
	v := missing(now.Add(privilegesEvery))
	if len(v.Missing) != 2 || v.State != "ok" || v.Problem != "" {
		t.Fatalf("ten minutes later: %+v", v)
	}
	if l := v.Missing[0]; l.Function != privilege.FunctionPower || l.User != "pf9" || l.On != "/DC0/vm" || strings.Join(l.Privileges, " ") != "VirtualMachine.Interact.PowerOn VirtualMachine.Interact.PowerOff" {
		t.Errorf("%+v", l)
	}
	if want := "VMs are not started or stopped: pf9 lacks VirtualMachine.Interact.PowerOn, VirtualMachine.Interact.PowerOff on /DC0/vm"; !strings.Contains(v.Trouble(), want) {
		t.Errorf("%q is not in %q", want, v.Trouble())
	}
	vc.Deny()
	if v := missing(now.Add(2 * privilegesEvery)); len(v.Missing) != 0 || !v.Checked.Equal(now.Add(2*privilegesEvery)) {
		t.Errorf("when they are granted: %+v", v)
	}
	if st := s.byName["lab"]; st.looks.Live().User.Key != key || st.acts.Live() != nil {
		t.Error("looking has logged in")
	}
}

func TestAnAccountThatActsIsLookedAtWhenItHasASession(t *testing.T) {
	s, vc := labWith(t, func(*VCenter) {})
	if err := s.vault.Set(pair.ControlAccount("lab"), vault.Secret{User: "pf9", Password: password}); err != nil {
		t.Fatal(err)
	}
	vc.Deny("VirtualMachine.Interact.PowerOn")
	st, ctx, now := s.byName["lab"], t.Context(), time.Now()
	s.checkPrivileges(ctx, now)
	if v := st.status(); len(v.Missing) != 0 || v.Checked.IsZero() {
		t.Errorf("without a session of its own: %+v", v)
	}
	l, err := st.acts.Login(ctx) // as the broker does
	if err != nil {
		t.Fatal(err)
	}
	s.checkPrivileges(ctx, now)
	if v := st.status(); len(v.Missing) != 1 {
		t.Errorf("with one of the broker's: %+v", v)
	}
	l.Logout()
	s.checkPrivileges(ctx, now.Add(privilegesEvery))
	if v := st.status(); len(v.Missing) != 1 {
		t.Errorf("what was seen last counts: %+v", v)
	}
	vc.Deny()
	if _, err := st.acts.Client(ctx); err != nil {
		t.Fatal(err)
	}
	s.checkPrivileges(ctx, now.Add(privilegesEvery))
	if v := st.status(); len(v.Missing) != 0 {
		t.Errorf("a new session: %+v", v)
	}
	vc.Deny("VirtualMachine.Interact.PowerOn")
	s.checkPrivileges(ctx, now.Add(2*privilegesEvery))
	if err := s.vault.Delete(pair.ControlAccount("lab")); err != nil {
		t.Fatal(err)
	}
	vc.Deny()
	s.checkPrivileges(ctx, now.Add(3*privilegesEvery))
	if v := st.status(); len(v.Missing) != 0 {
		t.Errorf("of an account that is gone: %+v", v)
	}
}

func TestPrivilegesThatCannotBeSeenAreNoTrouble(t *testing.T) {
	s, _ := frail(t) // which knows nothing of privileges
	now := time.Now()
	s.checkPrivileges(t.Context(), now)
	if v := s.status()[0]; v.State != "ok" || !v.Checked.IsZero() || len(v.Missing) > 0 {
		t.Errorf("%+v", v)
	}
	key := s.byName["lab"].looks.Live().User.Key
	if r := &s.byName["lab"].rights; r.due("lab", key, now.Add(privilegesAgain-1)) || !r.due("lab", key, now.Add(privilegesAgain)) {
		t.Error("it is not looked at again when it should be")
	}
}

func TestControlIsJudgedInOnePlace(t *testing.T) {
	s, _ := lab(t, func(*VCenter) {})
	st := s.byName["lab"]
	key := plugin.Key{Kind: "compute.vm", ID: st.source.State().Instance + "/vm-1"}
	for mode, want := range map[vcproxy.Mode]string{
		vcproxy.ModeOff: "pf9-gateway control lab open", vcproxy.ModeReadOnly: "is switched to read-only",
	} {
		if err := st.broker.SetMode(t.Context(), mode, "test"); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.resolve(t.Context(), key)
		whole := s.controllable()
		if err == nil || whole == nil || err.Error() != whole.Error() || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: resolve says %v, and control %v", mode, err, whole)
		}
	}
}

// A password is proved before it counts: by one login, whose result is told.
func TestANewPasswordIsProvedAtOnce(t *testing.T) {
	s, c, _ := labOf(t, func(c *VCenter) { c.Control = false })
	reloads := 0
	d := pair.New(pair.Options{
		StateDir: c.StateDir, Vault: s.vault,
		Configured: func() (map[string]pair.VCenter, error) {
			v := c.VCenters["lab"]
			return map[string]pair.VCenter{"lab": {URL: v.URL.String(), Thumbprint: v.Thumbprint.String()}}, nil
		},
		Reload: func() error {
			reloads++
			s.configure(c, "8a6e0804-2bd0-4672-b79d-d97027f9071a")
			return nil
		},
	})
	give := func(password string) (pairing.Result, error) {
		conf := c.VCenters["lab"]
		return d.Pair(t.Context(), pairing.Request{
			Name: "lab", Address: conf.URL.String(), Thumbprint: conf.Thumbprint.String(), User: "pf9", Password: password,
		})
	}
	before := s.byName["lab"].looks.Live()
	_, err := give("wrong")
	if err == nil || !strings.Contains(err.Error(), "nothing is changed, and the gateway goes on with the session and the account that it has of lab") {
		t.Errorf("a wrong password: %v", err)
	}
	if kept, err := s.vault.Get("lab"); err != nil || kept.Password != password || reloads > 0 {
		t.Errorf("the wrong password is kept: %v", err)
	}
	if res, err := give(password); err != nil || res.As != "lab" || reloads != 1 {
		t.Errorf("the right password: %+v, %v", res, err)
	}
	if v := s.status()[0]; v.State != "ok" || s.byName["lab"].looks.Live() != before {
		t.Errorf("the session of the same user is another one: %+v", v)
	}
}

// The account is unlocked, or vCenter gets its password: the same then is right, and
// a pairing by it ends the wait at once.
func TestPairingAgainEndsTheWaitForARefusedAccount(t *testing.T) {
	s, v := frail(t)
	st := s.byName["lab"]
	v.SetPassword("another")
	v.Inject(testvcenter.Terminate)
	var why string
	eventually.Nil(t, func() error {
		if why = s.status()[0].Problem; !strings.Contains(why, "refuses the account") {
			return errors.New(why)
		}
		return nil
	})
	for _, want := range []string{"stale since 20", ": " + st.conf.URL.Address() + ": vCenter refuses the account gw@vsphere.local: the user name", "pf9-gateway pair lab tries it again at once", "pf9-gateway pair lab --user gw@vsphere.local"} {
		if !strings.Contains(why, want) {
			t.Errorf("%q is not in %q", want, why)
		}
	}
	if strings.Contains(why, "ServerFaultCode") || strings.Contains(why, "--url") || strings.Count(why, "refuses") != 1 {
		t.Errorf("%q is doubled, raw or asks for too much", why)
	}
	v.SetPassword("secret")
	if err := s.vault.Set("lab", vault.Secret{User: "gw@vsphere.local", Password: "secret"}); err != nil { // as pairing does after its login
		t.Fatal(err)
	}
	s.configure(Config{VCenters: map[string]VCenter{"lab": st.conf}}, "8a6e0804-2bd0-4672-b79d-d97027f9071a")
	becomes(t, s, "ok")
	if n := v.Counts().Refused; n != 1 {
		t.Errorf("the wrong password was tried %d times", n)
	}
}
