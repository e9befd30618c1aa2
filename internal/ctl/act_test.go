package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

const gatewayID wire.HostID = "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a"

// An actingUnit is a deployment unit that has actions done, as its script says.
type actingUnit struct {
	mu    sync.Mutex // guards the fields below
	keys  map[string]api.Action
	asked []api.ActionRequest
	lose  int          // answers to requests
	steps []api.Action // what is said, one after the other
	// listed is the query of the last list.
	listed string
}

func vmOn(host wire.HostID, hostname, id, name, snapshots string) api.Resource {
	return api.Resource{Host: host, Hostname: hostname, Key: plugin.Key{Kind: "compute.vm", ID: id}, Name: name, State: "running", Spec: json.RawMessage(`{"snapshots":[` + snapshots + `]}`)}
}

func (u *actingUnit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	path := "/api/v1/hosts/" + string(gatewayID)
	var answer any
	switch {
	case r.URL.Path == "/api/v1/hosts":
		answer = api.Hosts{Items: []api.Host{{ID: gatewayID, Hostname: "gw1"}}}
	case r.URL.Path == "/api/v1/resources/compute.vm":
		answer = u.find(r.URL.Query())
	case r.URL.Path == "/api/v1/resources/vsphere.vcenter":
		answer = api.Resources{Items: []api.Resource{
			{Host: gatewayID, Source: "vcenter-east", Name: "vc.east.example"}, {Host: gatewayID, Source: "vcenter-west", Name: "vc.west.example"},
		}}
	case r.URL.Path == "/api/v1/resources/vsphere.cluster":
		answer = api.Resources{Items: []api.Resource{{Host: gatewayID, Name: "gold"}, {Host: gatewayID, Name: "tin"}}}
	case r.URL.Path == "/api/v1/resources/vsphere.datastore_cluster":
		answer = api.Resources{}
	case r.Method == "POST" && r.URL.Path == path+"/actions":
		key := r.Header.Get("Idempotency-Key")
		if _, known := u.keys[key]; !known {
			var q api.ActionRequest
			_ = json.NewDecoder(r.Body).Decode(&q)
			u.asked = append(u.asked, q)
			u.keys[key] = api.Action{ID: "action-1", Host: gatewayID, Action: q.Action, State: wire.ActionAccepted, Revision: 1}
		}
		if u.lose > 0 {
			u.lose--
			panic(http.ErrAbortHandler)
		}
		if q := u.asked[len(u.asked)-1]; q.Target.ID == "away" {
			w.WriteHeader(http.StatusServiceUnavailable)
			answer = map[string]string{"message": "host gw1 is disconnected (the tunnel broke), nothing was done"}
			break
		}
		w.WriteHeader(http.StatusAccepted)
		answer = u.keys[key]
	case r.URL.Path == "/api/v1/actions":
		u.listed = r.URL.RawQuery
		answer = api.Actions{Items: u.steps}
	case r.URL.Path == "/api/v1/actions/action-1":
		answer = u.steps[0]
	case r.URL.Path == path+"/actions/action-1":
		next := u.steps[0]
		if len(u.steps) > 1 {
			u.steps = u.steps[1:]
		}
		next.ID, next.Host, next.Action = "action-1", gatewayID, u.asked[len(u.asked)-1].Action
		answer = next
	default:
		w.WriteHeader(http.StatusNotFound)
		answer = map[string]string{"message": "there is none"}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// twin is a VM of a name that others have, in a cluster of a vCenter.
func twin(id, vcenter, cluster string) api.Resource {
	vm := vmOn(gatewayID, "gw1", id, "twin", "")
	vm.Source, vm.Spec = "vcenter-"+vcenter, json.RawMessage(`{"cluster":"`+cluster+`"}`)
	return vm
}

func (u *actingUnit) find(q url.Values) api.Resources {
	out := api.Resources{Items: []api.Resource{}}
	for _, vm := range []api.Resource{
		vmOn(gatewayID, "gw1", "vm-1", "web", ""),
		vmOn("00000000-0000-4000-8000-000000000002", "gw2", "vm-2", "web", ""),
		vmOn(gatewayID, "gw1", "vm-3", "db", `{"id":"snapshot-7","name":"before","created":"2026-01-02T03:04:05Z","current":true,"state":"running"}`),
		vmOn(gatewayID, "gw1", "away", "away", ""),
		twin("6a39/vm-104", "east", "gold"),
		twin("a403/vm-39", "west", "gold"),
	} {
		name := q.Get("name")
		cluster := q.Get("cluster") == "" || strings.Contains(string(vm.Spec), `"cluster":"`+q.Get("cluster")+`"`)
		if cluster && (q.Get("source") == "" || q.Get("source") == vm.Source) && (q.Get("id") == "" || q.Get("id") == vm.ID) && (name == "" || name == vm.Name || strings.HasSuffix(name, "*") && strings.HasPrefix(vm.Name, strings.TrimSuffix(name, "*"))) &&
			(q.Get("host") == "" || q.Get("host") == string(vm.Host)) {
			out.Items = append(out.Items, vm)
		}
	}
	return out
}

func TestActingCommands(t *testing.T) {
	running := api.Action{State: wire.ActionRunning, Progress: 40, Revision: 2}
	end := func(state, reason string, uncertain bool) api.Action {
		return api.Action{State: state, Reason: reason, Uncertain: uncertain, Revision: 3}
	}
	good := end(wire.ActionSucceeded, "", false)
	unchanged := end(wire.ActionSucceeded, "already on", false)
	unchanged.Result = &wire.ActionResult{Unchanged: true}
	ticket := good
	ticket.Result = &wire.ActionResult{Console: &wire.ConsoleTicket{URL: "wss://esx1/ticket/x\x1b", Fingerprint: "AA:BB"}}
	sha1, sha256 := good, good
	sha1.Result = &wire.ActionResult{Console: &wire.ConsoleTicket{URL: "wss://esx1/ticket/x", Fingerprint: strings.Repeat("52:6C:", 9) + "52:6C"}}
	sha256.Result = &wire.ActionResult{Console: &wire.ConsoleTicket{URL: "wss://esx1/ticket/x", Fingerprint: strings.Repeat("52:6C:", 15) + "52:6C"}}
	known := api.Action{
		ID: "action-1", Host: gatewayID, Hostname: "gw1", Name: "web", Target: plugin.Key{Kind: "compute.vm", ID: "vm-1"}, Action: wire.ActionReset,
		State: wire.ActionFailed, Uncertain: true, Reason: "it may have been done", RequestedBy: "ops", Progress: 40,
	}
	tests := []struct {
		name, line string
		steps      []api.Action
		lose       int
		status     int
		out, errs  string // a part of each
		asked      string // a part of the request as JSON; empty: none
	}{
		{"start", "vm start db", []api.Action{running, good}, 0, 0, "db: started\n", "", `"action":"power-on","target":{"kind":"compute.vm","id":"vm-3"}`},
		{"start by id", "vm start vm-1 --timeout 2m", []api.Action{good}, 0, 0, "web: started\n", "", `"timeout_seconds":120`},
		{"already on", "vm start db", []api.Action{unchanged}, 0, 0, "db: already on\n", "", "power-on"},
		{"started, and noted", "vm start db", []api.Action{end(wire.ActionSucceeded, "lists do not show it yet", false)}, 0, 0, "db: started (lists do not show it yet)\n", "", "power-on"},
		{"lost answers", "vm start db", []api.Action{good}, 2, 0, "db: started\n", "", "power-on"},
		{"stop", "vm stop db", []api.Action{good}, 0, 0, "db: stopped", "", "shutdown"},
		{"stop by force", "vm stop db --force", []api.Action{good}, 0, 0, "db: powered off", "", "power-off"},
		{"restart", "vm restart db", []api.Action{good}, 0, 0, "asked to reboot", "", "reboot"},
		{"restart by force", "vm restart db --force", []api.Action{good}, 0, 0, "db: reset", "", "reset"},
		{"suspend as JSON", "vm suspend db -o json", []api.Action{good}, 0, 0, `"state": "succeeded"`, "", "suspend"},
		{"not waited for", "vm start db --no-wait", nil, 0, 0, "db: start is under way; see pf9ctl action show action-1\n", "", "power-on"},
		{"refused", "vm stop db", []api.Action{end(wire.ActionRefused, "VMware Tools do not run", false)}, 0, 1, "", "db: stop refused: VMware Tools do not run", "shutdown"},
		{"failed as JSON", "vm stop db -o json", []api.Action{end(wire.ActionFailed, "no host", false)}, 0, 1, `"state": "failed"`, "no host", "shutdown"},
		{"uncertain", "vm stop db", []api.Action{end(wire.ActionFailed, "it may have been done", true)}, 0, 3, "", "db: stop failed: it may have been done; look again with pf9ctl vm list --name db\n", "shutdown"},
		{"refused by force", "vm stop db --force", []api.Action{end(wire.ActionRefused, "not allowed", false)}, 0, 1, "", "pf9ctl: db: stop --force refused: not allowed\n", "power-off"},
		{"refused snapshot", "vm snapshot remove db x", []api.Action{end(wire.ActionRefused, "not allowed", false)}, 0, 1, "", "pf9ctl: db: snapshot remove refused: not allowed\n", "snapshot-remove"},
		{"uncertain snapshot", "vm snapshot create db x", []api.Action{end(wire.ActionFailed, "it may have been done", true)}, 0, 3, "", "look again with pf9ctl vm snapshot list vm-3\n", "snapshot-create"},
		{"disconnected", "vm start away", nil, 0, 1, "", "pf9ctl: away: start failed: host gw1 is disconnected (the tunnel broke), nothing was done\n", "power-on"},
		{"ambiguous", "vm start web", nil, 0, 2, "", "2 VMs have the id or name \"web\": give the id or --host: vm-1 on gw1 (running), vm-2 on gw2", ""},
		{"in two vCenters of a gateway", "vm stop twin --force", nil, 0, 2, "", "2 VMs have the id or name \"twin\": give the id or --vcenter: " +
			"6a39/vm-104 in cluster gold in vCenter east on gw1 (running), a403/vm-39 in cluster gold in vCenter west on gw1 (running)\n", ""},
		{"of one vCenter", "vm stop twin --vcenter west", []api.Action{good}, 0, 0, "twin: stopped", "", `"id":"a403/vm-39"`},
		{"of one vCenter by its own name", "vm snapshot create twin x --vcenter vc.east.example", []api.Action{good}, 0, 0, "twin: snapshot x made", "", `"id":"6a39/vm-104"`},
		{"of an unknown vCenter", "vm stop twin --vcenter north", nil, 0, 1, "", `no vCenter is called "north"; known are east, west`, ""},
		{"of a cluster", "vm stop twin --cluster gold --vcenter east", []api.Action{good}, 0, 0, "twin: stopped", "", `"id":"6a39/vm-104"`},
		{"of a cluster that has none", "vm stop twin --cluster tin", nil, 0, 1, "", `no VM there has the id or name "twin"; see pf9ctl vm list`, ""},
		{"of an unknown cluster", "vm console twin --cluster lead", nil, 0, 1, "", `no cluster is called "lead"`, ""},
		{"snapshots of one vCenter's", "vm snapshot list twin --vcenter west -o json", nil, 0, 0, "[]\n", "", ""},
		{"of one host", "vm start web --host gw1", []api.Action{good}, 0, 0, "web: started", "", `"id":"vm-1"`},
		{"unknown", "vm start nobody", nil, 0, 1, "", "no VM has the id or name", ""},
		{"pattern", "vm start w*", nil, 0, 1, "", "no VM has the id or name", ""},
		{"no VM", "vm start", nil, 0, 2, "", "pf9ctl: vm start: VM is missing; see pf9ctl vm start --help\n", ""},
		{"endless", "vm start db --timeout 2h", nil, 0, 2, "", "--timeout", ""},
		{"snapshot", "vm snapshot create db before --memory", []api.Action{good}, 0, 0, "db: snapshot before made", "", `"arguments":{"name":"before","memory":true}`},
		{"snapshot of both", "vm snapshot create db before --memory --quiesce", nil, 0, 2, "", "exclude", ""},
		{"snapshots", "vm snapshot list db", nil, 0, 0, "snapshot-7  before", "", ""},
		{"no snapshots", "vm snapshot list vm-1 -o json", nil, 0, 0, "[]\n", "", ""},
		{"a VM in full", "vm show twin --vcenter west", nil, 0, 0, "id: a403/vm-39\n", "", ""},
		{"a VM in full as JSON", "vm show db -o json", nil, 0, 0, `"id": "snapshot-7"`, "", ""},
		{"no VM in full", "vm show nobody", nil, 0, 1, "", "no VM has the id or name", ""},
		{"remove a snapshot", "vm snapshot remove db before --children", []api.Action{good}, 0, 0, "removed", "", `"arguments":{"snapshot":"before","children":true}`},
		{"revert", "vm snapshot revert db snapshot-7", []api.Action{good}, 0, 0, "taken back to snapshot snapshot-7", "", "snapshot-revert"},
		{"console", "vm console db", []api.Action{ticket}, 0, 0, "wss://esx1/ticket/x?\n", ". Fingerprint of the certificate there: AA:BB\n", "console"},
		{"console with a SHA-1", "vm console db", []api.Action{sha1}, 0, 0, "wss://esx1/ticket/x\n", ". SHA-1 of the certificate there: 52:6C:", "console"},
		{"console with a SHA-256", "vm console db", []api.Action{sha256}, 0, 0, "wss://esx1/ticket/x\n", ". SHA-256 of the certificate there: 52:6C:", "console"},
		{"console lost", "vm console db", []api.Action{good}, 0, 1, "", "ask again", "console"},
		{"actions", "action list", []api.Action{known}, 0, 0, "gw1   web  restart --force  failed (uncertain)  ops  it may have been done\n", "", ""},
		{"actions in full", "action list -o wide", []api.Action{known}, 0, 0, "40 %      -      vm-1\n", "", ""},
		{"no actions as JSON", "action list --vm web -o json", []api.Action{}, 0, 0, "[]\n", "", ""},
		{"actions in no state", "action list --state done", nil, 0, 2, "", "want succeeded, failed", ""},
		{"too many actions", "action list --limit 1001", nil, 0, 2, "", "want 1 to 1000", ""},
		{"an action", "action show action-1", []api.Action{known}, 0, 0, "action     vm restart --force\nhost       gw1 (" + string(gatewayID) + ")\nvm         web (vm-1)\nstate      failed (uncertain)\n", "", ""},
		{"an action by an older script", "action show action-1 --host gw1 -o json", []api.Action{known}, 0, 0, `"hostname": "gw1"`, "", ""},
		{"no such action", "action show nope", nil, 0, 1, "", "pf9ctl: there is no action nope, or it is too old to be kept; see pf9ctl action list\n", ""},
		{"completion of VMs", "__complete vm start d", nil, 0, 0, "db\n", "", ""},
		{"completion of snapshots", "__complete vm snapshot revert db be", nil, 0, 0, "before\n", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u := &actingUnit{keys: map[string]api.Action{}, lose: test.lose, steps: test.steps}
			s := httptest.NewTLSServer(u)
			defer s.Close()
			ca, token := credentials(t, s)
			flags := []string{"--config", filepath.Join(t.TempDir(), "none"), "--url", s.URL, "--token-file", token, "--ca-file", ca}
			args := strings.Fields(test.line)
			if args[0] == "__complete" {
				args = append(append([]string{"__complete"}, flags...), args[1:]...)
			} else {
				args = append(flags, args...)
			}
			var out, errs bytes.Buffer
			status := Main(t.Context(), "1.2.3", args, &out, &errs)
			if status != test.status || !strings.Contains(out.String(), test.out) || !strings.Contains(errs.String(), test.errs) {
				t.Errorf("%s: status %d, want %d\n%s\n%s", test.line, status, test.status, &out, &errs)
			}
			asked, err := json.Marshal(u.asked)
			if err != nil || !strings.Contains(string(asked), test.asked) || (test.asked == "") != (len(u.asked) == 0) || len(u.asked) > 1 {
				t.Errorf("asked for %s, want once %s", asked, test.asked)
			}
		})
	}
}

func TestActionsAreFiltered(t *testing.T) {
	u := &actingUnit{keys: map[string]api.Action{}}
	s := httptest.NewTLSServer(u)
	defer s.Close()
	ca, token := credentials(t, s)
	var out, errs bytes.Buffer
	args := strings.Fields("--config none --url " + s.URL + " --token-file " + token + " --ca-file " + ca + " action list --host gw1 --vm web --state open --limit 7")
	if status := Main(t.Context(), "1.2.3", args, &out, &errs); status != 0 || u.listed != "host="+string(gatewayID)+"&limit=7&state=open&vm=web" {
		t.Errorf("status %d, %s\n%s", status, u.listed, &errs)
	}
}

// What cannot be sent was not done; what was sent may have been.
func TestTheDeploymentUnitIsOutOfReach(t *testing.T) {
	for name, test := range map[string]struct {
		gone   bool
		status int
		errs   string
	}{
		"when it is to be asked":  {true, 1, "db: start failed: the deployment unit at HOST cannot be reached (connection refused), nothing was done\n"},
		"when it has the request": {false, 3, "db: nobody knows whether start was begun; look with pf9ctl action list --vm vm-3: the deployment unit at HOST cannot be reached (connection refused)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := &actingUnit{keys: map[string]api.Action{}}
			var s *httptest.Server
			s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					if test.gone {
						_ = s.Listener.Close()
						w.Header().Set("Connection", "close")
					}
					u.ServeHTTP(w, r)
					return
				}
				_ = s.Listener.Close()
				panic(http.ErrAbortHandler)
			}))
			defer s.Close()
			ca, token := credentials(t, s)
			var out, errs bytes.Buffer
			status := Main(t.Context(), "1.2.3", strings.Fields("--config none --url "+s.URL+" --token-file "+token+" --ca-file "+ca+" vm start vm-3"), &out, &errs)
			if want := "pf9ctl: " + strings.ReplaceAll(test.errs, "HOST", s.Listener.Addr().String()); status != test.status || errs.String() != want {
				t.Errorf("status %d, want %d\n got %s\nwant %s", status, test.status, &errs, want)
			}
		})
	}
}

// Who interrupts the wait learns that the action goes on.
func TestAnInterruptedWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := &actingUnit{keys: map[string]api.Action{}, steps: []api.Action{{State: wire.ActionRunning, Revision: 2}}}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/action-1") {
			cancel()
			<-r.Context().Done()
		}
		u.ServeHTTP(w, r)
	}))
	defer s.Close()
	ca, token := credentials(t, s)
	var out, errs bytes.Buffer
	status := Main(ctx, "1.2.3", []string{"--config", filepath.Join(t.TempDir(), "none"), "--url", s.URL, "--token-file", token, "--ca-file", ca, "vm", "start", "db"}, &out, &errs)
	if status != 3 || !strings.Contains(errs.String(), "start goes on without us; see pf9ctl action show action-1: interrupted") {
		t.Errorf("status %d\n%s\n%s", status, &out, &errs)
	}
}
