package main

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/internal/httpapi"
)

func TestControlSaysWhatItOpens(t *testing.T) {
	const delegate = "pf9-gateway pair east --control"
	tests := map[string]struct {
		now  status.Control
		want string
	}{
		"not delegated": {status.Control{Remedy: delegate}, "none\n\nControl is not delegated: the deployment unit may only look.\nTo delegate: " + delegate + "\n"},
		"open": {
			status.Control{Mode: "open", Clusters: []string{"gold", "silver"}, VMs: 12, Kept: []string{"/dc/vm/gw (this gateway)"}, Broker: "127.0.0.1:8443", BrokerSecret: "/b/east.secret", BrokerCA: "/b/east.crt"},
			"open\n\nThe deployment unit may start, stop, restart, suspend and snapshot VMs and open their consoles. By its programs, such as OpenStack, it may also create, change and delete VMs and their files.\nDelegated: 12 VMs of gold, silver.\nAt all else it may only look.\nNever delegated: /dc/vm/gw (this gateway).\n" +
				"Programs on this machine may the same, at 127.0.0.1:8443.\nThey log in as openstack, with the password in /b/east.secret, and trust /b/east.crt.\n",
		},
		"with hosts in no cluster": {
			status.Control{Mode: "open", Clusters: []string{"gold"}, Hosts: []string{"esx1", "esx2"}, VMs: 9, Problem: "stale since then"},
			"open\n\nThe deployment unit may start, stop, restart, suspend and snapshot VMs and open their consoles. By its programs, such as OpenStack, it may also create, change and delete VMs and their files.\nDelegated: 9 VMs of gold, and the hosts esx1, esx2, which are in no cluster.\nAt all else it may only look.\n" +
				"Programs on this machine do not reach the vCenter: no broker is set.\nProblem: stale since then.\n",
		},
		"off with a broker": {
			status.Control{Mode: "off", Hosts: []string{"esx1"}, VMs: 2, Broker: "127.0.0.1:8443", BrokerSecret: "/b/east.secret"},
			"off\n\nNothing is done in the vCenter, and nobody reaches it through the gateway, until control is open.\n" +
				"Delegated: 2 VMs of the host esx1, which is in no cluster.\nPrograms on this machine are refused at 127.0.0.1:8443 meanwhile.\n",
		},
		"read-only with a broker": {
			status.Control{Mode: "read-only", Clusters: []string{"gold"}, VMs: 2, Broker: "127.0.0.1:8443", BrokerSecret: "s", BrokerCA: "c"},
			"read-only\n\nNothing is done in the vCenter; who reaches it through the gateway may look.\nDelegated: 2 VMs of gold.\n" +
				"Programs on this machine may only look, too, at 127.0.0.1:8443.\nThey log in as openstack, with the password in s, and trust c.\n",
		},
		"open to nothing": {
			status.Control{Mode: "open", Problem: "it has no cluster of the name gold", Remedy: delegate},
			"open\n\nThe deployment unit may nevertheless only look, for nothing that is delegated is known to be there.\nPrograms on this machine do not reach the vCenter: no broker is set.\n" +
				"Problem: it has no cluster of the name gold.\nTo delegate: " + delegate + "\n",
		},
		"off": {
			status.Control{Mode: "off", Clusters: strings.Fields("a b c d e f g h i j k l"), VMs: 3},
			"off\n\nNothing is done in the vCenter, and nobody reaches it through the gateway, until control is open.\n" +
				"Delegated: 3 VMs of a, b, c, d, e, f, g, h, i, j and 2 more clusters.\nPrograms on this machine do not reach the vCenter: no broker is set.\n",
		},
		"read-only": {
			status.Control{Mode: "read-only", Clusters: []string{"gold\x1b[2J"}, VMs: 1},
			"read-only\n\nNothing is done in the vCenter; who reaches it through the gateway may look.\nDelegated: 1 VMs of gold?[2J.\nPrograms on this machine do not reach the vCenter: no broker is set.\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := writeControl(&out, &test.now); err != nil || out.String() != test.want {
				t.Errorf("got %v\n%s\nwant\n%s", err, &out, test.want)
			}
		})
	}
}

// controlRoutes are a daemon's with one vCenter that is delegated, east, and one
// that is not, west.
func controlRoutes() []httpapi.Route {
	mode := "off"
	east := func(w http.ResponseWriter) error {
		return httpapi.WriteJSON(w, http.StatusOK, status.Control{Name: "east", Mode: mode, Clusters: []string{"gold"}, VMs: 2})
	}
	return []httpapi.Route{
		{Pattern: "GET /v1/vcenters/{name}/control", Do: func(w http.ResponseWriter, r *http.Request) error {
			if r.PathValue("name") != "east" {
				return httpapi.WriteJSON(w, http.StatusOK, status.Control{Name: "west", Clusters: []string{}})
			}
			return east(w)
		}},
		{Pattern: "POST /v1/vcenters/{name}/control/{mode}", Do: func(w http.ResponseWriter, r *http.Request) error {
			if r.PathValue("name") != "east" {
				return httpapi.Errorf(http.StatusConflict, "there is nothing to switch")
			}
			mode = r.PathValue("mode")
			return east(w)
		}},
	}
}

func TestControlCommand(t *testing.T) {
	m := start(t)
	for _, test := range []struct {
		args      string
		code      int
		out, errs string // a part of each
	}{
		{"control", 2, "", "which vCenter?"},
		{"control east ajar", 2, "", `"ajar" is no mode: want open, read-only or off`},
		{"control east -o xml", 2, "", "want text or json"},
		{"control east", 0, "off\n\nNothing is done", ""},
		{"control east open", 0, "open\n\nThe deployment unit may start", ""},
		{"control -o json east", 0, `"mode": "open"`, ""},
		{"control west", 0, "none\n\nControl is not delegated", ""},
		{"control west open", 1, "", "there is nothing to switch"},
	} {
		code, out, errs := m.run(t, "", nil, strings.Fields(test.args)...)
		if code != test.code || !strings.Contains(out, test.out) || !strings.Contains(errs, test.errs) {
			t.Errorf("%s: status %d, want %d\n%s\n%s", test.args, code, test.code, out, errs)
		}
	}
}
