package vcproxy_test

import (
	"flag"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/vcproxy"
	"github.com/openpf9/openpf9/internal/vcsim"
)

var long = flag.Bool("long", false, "run OpenStack's own programs, which takes a minute")

// python is Debian's, which has OpenStack's packages.
const python = "/usr/bin/python3"

// openStack is a stand for OpenStack's programs: vcsim describes its API, has
// datastores that nova takes, and is kept from what kills it.
func openStack(t *testing.T) *stand {
	t.Helper()
	return openStackWith(t, vcproxy.Limits{})
}

// openStackWith has other limits.
func openStackWith(t *testing.T, limits vcproxy.Limits) *stand {
	t.Helper()
	if !*long {
		t.Skip("runs with -long")
	}
	out, err := exec.CommandContext(t.Context(), python, "-c", "import oslo_vmware; print(oslo_vmware.__path__[0])").Output()
	if err != nil {
		t.Skip("there is no oslo.vmware; apt-get install python3-oslo.vmware python3-nova")
	}
	files := description(t, filepath.Join(strings.TrimSpace(string(out)), "wsdl", "7.0"))
	s, inv := partStandWith(t, limits, func(m *simulator.Model) {
		vcsim.Complete(m)
		for name, text := range files {
			m.Service.HandleFunc("/sdk/"+name, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
		}
		for _, e := range m.Map().All("Datastore") {
			ds := e.(*simulator.Datastore)
			ds.Summary.Type, ds.Summary.Capacity, ds.Summary.FreeSpace = string(types.HostFileSystemVolumeFileSystemTypeVMFS), 1<<40, 1<<39
			ds.Summary.Accessible, ds.Summary.MaintenanceMode = true, string(types.DatastoreSummaryMaintenanceModeStateNormal)
		}
	})
	s.tap.base = guard{s.tap.base}
	inv.twins()
	s.prepare(t)
	return s
}

// poolsMachines is the step of OpenStack's usual way through the inventory that
// vcsim walks in a circle until its stack is full. The machines are also found
// by their folders.
var poolsMachines = regexp.MustCompile(`(<name>rp_to_vm</name><type>ResourcePool</type>)<path>vm</path>`)

// heartbeat has no zone, which vcsim does not read.
var heartbeat = regexp.MustCompile(`(<lastHeartbeatTime>[0-9T:.-]+)(</lastHeartbeatTime>)`)

type guard struct{ base http.RoundTripper }

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		text := poolsMachines.ReplaceAllString(string(body), "$1<path>summary</path>")
		text = heartbeat.ReplaceAllString(text, "${1}Z$2")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	}
	return g.base.RoundTrip(r)
}

func TestOsloVMwareUnchanged(t *testing.T) {
	s := openStack(t)
	kill := func() { s.kill(t) }
	s.script(t, "oslo_session.py", map[string]string{
		"login":                                 "VirtualCenter",
		"machines":                              "[DC0_C0_RP0_VM0, DC0_C0_RP0_VM1, DC0_H0_VM0, DC0_H0_VM1]",
		"machines after the session was killed": "[DC0_C0_RP0_VM0, DC0_C0_RP0_VM1, DC0_H0_VM0, DC0_H0_VM1]",
		"power off":                             "success",
		"state":                                 "poweredOff",
		"power on after the session was killed": "success",
		"upload":                                "done, and not elsewhere",
		"maintenance":                           "NoPermission, True",
		"outside":                               "NoPermission, True",
		"logout":                                "done",
	}, map[string]func(){"machines": kill, "state": kill})
	if s.logouts != 3 || s.logins != 3 {
		t.Errorf("%d logins and %d logouts in vCenter, want one more than sessions were killed", s.logins, s.logouts)
	}
	if back := s.must(t, "datastore.ls", "-l", "-ds", "LocalDS_0", "images"); !strings.Contains(back, "878.9KB") {
		t.Errorf("the datastore has %q", back)
	}
}
