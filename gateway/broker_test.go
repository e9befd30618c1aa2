package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/gateway/vault"
	"github.com/openpf9/openpf9/gateway/vcproxy"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/vcsim"
)

func TestABrokerThatCannotListenSaysSo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	s, _ := lab(t, func(c *VCenter) { c.Broker = taken.Addr().String() })
	mode, problem := s.brokerState("lab")
	if mode != string(vcproxy.ModeOpen) || problem == nil || !strings.Contains(problem.Error(), "the broker does not listen") {
		t.Errorf("brokerState = %s, %v", mode, problem)
	}
	if err := s.brokerOf("lab").SetMode(t.Context(), vcproxy.ModeOff, "test"); err != nil {
		t.Fatal(err)
	}
	if mode, _ := s.brokerState("lab"); mode != string(vcproxy.ModeOff) {
		t.Errorf("after it was switched off the mode is %s", mode)
	}
	if mode, problem := s.brokerState("other"); mode != "" || problem != nil {
		t.Errorf("of one that is not there: %s, %v", mode, problem)
	}
}

// A VM that has left the delegated clusters meanwhile would seem to be in them.
func TestWhatIsDelegatedIsNotTrustedForever(t *testing.T) {
	s, _ := lab(t, func(*VCenter) {})
	st := s.byName["lab"]
	var vm types.ManagedObjectReference
	eventually.Nil(t, func() error {
		for _, o := range st.source.Objects() {
			if o.Type == "VirtualMachine" && o.Listed {
				vm = types.ManagedObjectReference{Type: o.Type, Value: o.Moref, ServerGUID: st.source.State().Instance}
				return s.permit(vm)
			}
		}
		return errors.New("no VM yet")
	})
	_ = st.looks.Close()
	st.source.Doubt()
	eventually.Nil(t, func() error {
		if st.source.StaleSince().IsZero() {
			return errors.New("it is followed")
		}
		return nil
	})
	if err := s.permit(vm); err != nil {
		t.Errorf("a moment later: %v", err)
	}
	st.scope.trusted = 0
	if err := s.permit(vm); err == nil || !strings.Contains(err.Error(), "nothing is changed until it does") {
		t.Errorf("later: %v", err)
	}
}

// Who meets trouble at the broker reads what an administrator would: the address, the
// cause and the remedy, and since when it lasts.
func TestTheBrokerSaysWhyVCenterIsNotThere(t *testing.T) {
	address := free(t)
	s, conf, vc := labLike(t, vcsim.Options{Clusters: 1, Hosts: 1, VMs: 1}, func(c *VCenter) { c.Broker = address })
	path := filepath.Join(conf.StateDir, "brokers/lab")
	at := strings.TrimPrefix(vc.URL, "https://")
	failed := func(want ...string) {
		t.Helper()
		eventually.Nil(t, func() error {
			_, err := local(t.Context(), address, path)
			for _, w := range want {
				if err == nil || !strings.Contains(err.Error(), w) {
					return fmt.Errorf("%q is not in %w", w, cmp.Or(err, errors.New("success")))
				}
			}
			return nil
		})
	}
	if err := s.vault.Set(pair.ControlAccount("lab"), vault.Secret{User: "act", Password: "typo-hush"}); err != nil {
		t.Fatal(err)
	}
	failed("the gateway cannot log in to vCenter: "+at+": vCenter refuses the account act: ", "pf9-gateway pair lab tries it again at once")
	vc.Close()
	failed("the gateway cannot reach vCenter: stale since 20", at+" does not answer: ", "the gateway tries again by itself")
	if _, err := local(t.Context(), address, path); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}
