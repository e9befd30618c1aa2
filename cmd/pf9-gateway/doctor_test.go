package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/agent/cli"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
	"github.com/openpf9/openpf9/gateway/session"
)

func TestDoctorLooksAtEachVCenter(t *testing.T) {
	m := start(t)
	certs, err := session.Probe(t.Context(), m.vcenter)
	if err != nil {
		t.Fatal(err)
	}
	pin := session.Fingerprint(certs[0])
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	_ = l.Close() // and nobody answers
	_, port, _ := net.SplitHostPort(gone)
	other := strings.Repeat("AB:", 31) + "AB"
	now := time.Now()
	for name, test := range map[string]struct {
		vcenter status.VCenter
		want    map[string]cli.Finding // by check; parts of their texts
	}{
		"well": {
			status.VCenter{Name: "lab", Address: m.vcenter, Pinned: pin, State: "ok", Since: now, Checked: now},
			map[string]cli.Finding{
				"vCenter lab":            {State: "ok", Text: m.vcenter + " answers, with the trusted certificate"},
				"vCenter lab login":      {State: "ok", Text: "logged in"},
				"vCenter lab privileges": {State: "ok", Text: "none is missing"},
			},
		},
		"away": {
			status.VCenter{Name: "lab", Address: gone, Pinned: pin, State: "degraded", StaleSince: time.Unix(2e9, 0), Problem: "stale since then: it does not answer"},
			map[string]cli.Finding{
				"vCenter lab":       {State: "bad", Text: gone + " does not answer: connection refused; what is known of it is of 2033-05-18T03:33:20Z", Remedy: "see that vCenter runs, and that outgoing TCP to its port " + port + " is allowed"},
				"vCenter lab login": {}, // it is said once
			},
		},
		"another certificate": {
			status.VCenter{Name: "lab", Address: m.vcenter, Pinned: other, State: "failed", Problem: "another certificate"},
			map[string]cli.Finding{
				"vCenter lab":       {State: "bad", Text: "the certificate " + pin + ", and trusted is " + other, Remedy: "pf9-gateway pair lab --thumbprint " + pin},
				"vCenter lab login": {},
			},
		},
		"rights": {
			status.VCenter{Name: "lab", Address: m.vcenter, Pinned: pin, State: status.Reading, Read: 12, Checked: now, Missing: []status.Lack{{
				User: "gw", Function: "power", Privileges: []string{"VirtualMachine.Interact.PowerOn"}, On: "/DC0/vm", Without: "VMs are not started",
			}}},
			map[string]cli.Finding{
				"vCenter lab login":      {State: "ok", Text: "reading, 12 objects so far"},
				"vCenter lab privileges": {State: "warning", Text: "gw lacks VirtualMachine.Interact.PowerOn on /DC0/vm", Remedy: "grant it in vCenter"},
			},
		},
		"its broker does not listen": {
			status.VCenter{Name: "lab", State: "ok", Problem: "the broker does not listen"},
			map[string]cli.Finding{"vCenter lab login": {State: "warning", Text: "the broker does not listen", Remedy: "pf9-gateway reload"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m.vcenters = []status.VCenter{test.vcenter}
			_, out, errs := m.run(t, "", nil, "doctor", "--json")
			var found []cli.Finding
			if err := json.Unmarshal([]byte(out), &found); err != nil {
				t.Fatalf("%v: %s%s", err, out, errs)
			}
			got := make(map[string]cli.Finding)
			for _, f := range found {
				if strings.HasPrefix(f.Check, "vCenter") {
					got[f.Check] = f
				}
			}
			for check, want := range test.want {
				f := got[check]
				if f.State != want.State || !strings.Contains(f.Text, want.Text) || !strings.Contains(f.Remedy, want.Remedy) {
					t.Errorf("%s: %+v, want %+v", check, f, want)
				}
			}
		})
	}
}

func TestDoctorTellsOfASourceOnce(t *testing.T) {
	for source, test := range map[string]struct {
		troubled []string
		want     bool
	}{
		"vcenter-lab": {[]string{"vcenter-lab"}, true},
		"tags-lab":    {[]string{"tags-lab", "vcenter-lab"}, true},
		"tags-west":   {[]string{"tags-west", "vcenter-lab"}, false},
		"dns":         {[]string{"dns", "vcenter-lab"}, false},
	} {
		if got := tellsOf(source, test.troubled); got != test.want {
			t.Errorf("%s of %v: %v", source, test.troubled, got)
		}
	}
}

func TestStatsIsNotOfTheGateway(t *testing.T) {
	m := start(t)
	if code, _, errs := m.run(t, "", nil, "stats"); code != 2 || !strings.Contains(errs, `no command "stats"`) {
		t.Errorf("status %d, %s", code, errs)
	}
}
