package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/internal/eventually"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/vcsim"
)

// switches asks a gateway's API for a vCenter's control.
func switches(t *testing.T, s *sites, method, path string) (now status.Control, code int, message string) {
	t.Helper()
	api := httpapi.New((&Gateway{sites: s}).controlRoutes(), httpapi.Options{
		Authenticate: func(*http.Request) (httpapi.Caller, error) { return httpapi.Caller{Access: httpapi.Operator}, nil },
	})
	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	var problem struct{ Message string }
	if err := errors.Join(json.Unmarshal(w.Body.Bytes(), &now), json.Unmarshal(w.Body.Bytes(), &problem)); err != nil {
		t.Fatal(err)
	}
	return now, w.Code, problem.Message
}

func TestControlTellsWhatIsDelegated(t *testing.T) {
	s, _ := lab(t, func(c *VCenter) { c.Clusters = []string{"DC0_C0"} })
	now, code, _ := switches(t, s, "POST", "/v1/vcenters/lab/control/open")
	if code != http.StatusOK || now.Mode != "open" || !slices.Equal(now.Clusters, []string{"DC0_C0"}) || now.VMs != 1 || now.Problem != "" || now.Remedy != "" {
		t.Errorf("open: status %d, %+v", code, now)
	}
	if len(now.Hosts) != 0 || now.BrokerSecret != "" {
		t.Errorf("it has a host or a broker that was not delegated: %+v", now)
	}
	if now, _, _ := switches(t, s, "POST", "/v1/vcenters/lab/control/off"); now.Mode != "off" {
		t.Errorf("off: %+v", now)
	}
	if now, _, _ := switches(t, s, "GET", "/v1/vcenters/lab/control"); now.Mode != "off" || now.VMs != 1 {
		t.Errorf("shown: %+v", now)
	}
	if err := s.controllable(); err == nil || !strings.Contains(err.Error(), "pf9-gateway control lab open switches it back") {
		t.Errorf("actions while it is off: %v", err)
	}
	for path, want := range map[string]int{"/v1/vcenters/lab/control/ajar": http.StatusBadRequest, "/v1/vcenters/none/control/open": http.StatusNotFound} {
		if _, code, message := switches(t, s, "POST", path); code != want || message == "" {
			t.Errorf("%s: status %d, %q", path, code, message)
		}
	}
}

// Who delegates everything delegates hosts that are in no cluster, too; and what
// cannot be done now is not promised.
func TestControlTellsOfHostsInNoClusterAndOfOutages(t *testing.T) {
	address := free(t)
	s, conf, vc := labLike(t, vcsim.Options{Clusters: 1, Hosts: 2, Alone: 1, VMs: 1}, func(c *VCenter) { c.Broker = address })
	path := filepath.Join(conf.StateDir, "brokers/lab")
	now, _, _ := switches(t, s, "GET", "/v1/vcenters/lab/control")
	if !slices.Equal(now.Clusters, []string{"DC0_C0"}) || !slices.Equal(now.Hosts, []string{"DC0_H0"}) || now.VMs != 2 || now.Problem != "" {
		t.Errorf("%+v", now)
	}
	if now.BrokerSecret != path+".secret" || now.BrokerCA != path+".crt" {
		t.Errorf("the files for programs: %+v", now)
	}
	vc.Close()
	eventually.Nil(t, func() error {
		if now, _, _ = switches(t, s, "GET", "/v1/vcenters/lab/control"); !strings.HasPrefix(now.Problem, "stale since ") {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
}

func TestControlOfWhatIsNotThereTellsSo(t *testing.T) {
	s, _ := lab(t, func(c *VCenter) { c.Clusters = []string{"DC0_C0", "gold"} })
	delegate := "pf9-gateway pair lab --clusters NAMES"
	if now, _, _ := switches(t, s, "GET", "/v1/vcenters/lab/control"); now.Problem != "it has no cluster of the name gold" || now.Remedy != delegate || len(now.Clusters) != 1 {
		t.Errorf("%+v", now)
	}
}

func TestControlThatIsNotDelegatedCannotBeOpened(t *testing.T) {
	s, _ := lab(t, func(c *VCenter) { c.Control = false })
	delegate := "pf9-gateway pair lab --control"
	_, code, message := switches(t, s, "POST", "/v1/vcenters/lab/control/open")
	if code != http.StatusConflict || !strings.Contains(message, "there is nothing to switch") || !strings.Contains(message, delegate) {
		t.Errorf("open: status %d, %q", code, message)
	}
	if now, _, _ := switches(t, s, "GET", "/v1/vcenters/lab/control"); now.Mode != "" || now.Remedy != delegate {
		t.Errorf("shown: %+v", now)
	}
}
