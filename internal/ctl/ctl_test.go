package ctl

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin"
)

var lunColumns = []plugin.Column{{Name: "WWN", Path: "wwn", Wide: true}, {Name: "SIZE", Path: "size_bytes"}}

// deploymentUnit answers like one, with one host whose name is hostile.
func deploymentUnit(t *testing.T) (url, ca, token string) {
	t.Helper()
	answers := map[string]any{
		"GET /api/v1/hosts": api.Hosts{Items: []api.Host{
			{ID: "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a", Hostname: "kvm1\x1b[31m", Reason: "the tunnel broke", Kind: "gateway", Hypervisor: "VMWareCluster", Counts: map[string]int{"compute.vm": 3}},
			{ID: "0b5c7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a", Hostname: "gw1", Connected: true, Kind: "gateway", Sources: []api.Source{
				{Name: "vcenter-east", State: "ok"},
				{Name: "vcenter-west", State: "degraded", Reason: "its certificate has changed\x1b"},
				{Name: "tags-west", State: "degraded", Reason: "its certificate has changed\x1b"},
			}},
		}},
		"GET /api/v1/resources/compute.vm":           api.Resources{Items: []api.Resource{{Hostname: "kvm1", Name: "web", State: "running", Stale: true, Spec: json.RawMessage(`{"vcpus":2,"memory_bytes":1073741824}`)}}},
		"GET /api/v1/resources/storage.filesystem":   api.Resources{},
		"GET /api/v1/resources/storage.pool":         api.Resources{},
		"GET /api/v1/resources/storage.volume_group": api.Resources{},
		"GET /api/v1/resources/vsphere.datastore":    api.Resources{},
		"GET /api/v1/kinds": api.Kinds{Items: []api.Kind{
			{Kind: "com.acme.lun", Resources: 2, Hosts: 1, Invalid: 1, Version: 2, Columns: lunColumns, SchemaBytes: 4, Declarations: []api.Declaration{{Version: 2, Hosts: 1, Modules: []string{"acme"}, Checked: true, Problem: "a bad\x1b column"}}},
			{Kind: "com.acme.tape"},
			{Kind: "org.other.tape"},
			{Kind: "compute.vm", Core: true, Version: 1},
		}},
		"GET /api/v1/kinds/com.acme.lun":      api.Kind{Kind: "com.acme.lun", Version: 2, Columns: lunColumns, SchemaBytes: 4, Schema: json.RawMessage(`true`)},
		"GET /api/v1/kinds/com.acme.tape":     api.Kind{Kind: "com.acme.tape"},
		"GET /api/v1/resources/com.acme.tape": api.Resources{Items: []api.Resource{{Hostname: "kvm1", Key: plugin.Key{Kind: "com.acme.tape", ID: "t1"}, Spec: json.RawMessage(`{"blank":true,"slots":4}`)}}},
		"GET /api/v1/resources/com.acme.lun": api.Resources{Items: []api.Resource{
			{Hostname: "kvm1", Key: plugin.Key{Kind: "com.acme.lun", ID: "a"}, Name: "one", State: "on", Spec: json.RawMessage(`{"size_bytes":1073741824,"wwn":"600a"}`)},
			{Hostname: "kvm1", Key: plugin.Key{Kind: "com.acme.lun", ID: "b"}, Name: "two", Invalid: "no size", Spec: json.RawMessage(`{}`)},
		}},
		"GET /api/v1/resources/host.node":                                api.Resources{Items: []api.Resource{{Hostname: "kvm1", Key: plugin.Key{Kind: "host.node", ID: "h"}, Spec: json.RawMessage(`{"os":{"pretty_name":"Debian 12"},"memory_bytes":1024}`)}}},
		"POST /api/v1/hosts/0b5c7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a/revoke": struct{}{},
		"DELETE /api/v1/hosts/0b5c7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a":      struct{}{},
		"DELETE /api/v1/join-tokens/t1":                                  struct{}{},
		"GET /api/v1/events": api.Events{Items: []api.Event{
			{Host: "0b5c7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a", Event: wire.Event{Type: "appeared", About: plugin.Key{Kind: "compute.vm", ID: "vm-1"}, Name: "web", Detail: "by hand"}},
			{Host: "feed7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a", Event: wire.Event{Type: "appeared", About: plugin.Key{Kind: "compute.vm", ID: "vm-2"}}},
		}},
		"POST /api/v1/join-tokens": api.NewJoinToken{JoinToken: api.JoinToken{Kind: "host"}, Secret: "pf9j1.a.b.c"},
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, found := answers[r.Method+" "+r.URL.Path]
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			w.WriteHeader(http.StatusUnauthorized)
			answer = map[string]string{"message": "the token is not known"}
		case !found:
			w.WriteHeader(http.StatusNotFound)
			answer = map[string]string{"message": "there is none"}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	ca, token = credentials(t, s)
	return s.URL, ca, token
}

// credentials are files with what a client needs for a server.
func credentials(t *testing.T, s *httptest.Server) (ca, token string) {
	t.Helper()
	dir := t.TempDir()
	ca, token = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	for file, text := range map[string][]byte{
		ca:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}),
		token: []byte("secret\n"),
	} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return ca, token
}

func TestCommands(t *testing.T) {
	url, ca, token := deploymentUnit(t)
	file := filepath.Join(t.TempDir(), "pf9", "config.toml")
	tests := []struct {
		name, line string
		status     int
		out, errs  string // a part of each
	}{
		{"no context", "host list", 1, "", "pf9ctl context set NAME"},
		{"context without address", "context set acme --token-file " + token, 2, "", "--url is missing"},
		{"context", "context set acme --url " + url + " --token-file " + token + " --ca-file " + ca, 0, "context acme: set, and used from now on: " + url + "\n", ""},
		{"another context", "context set beta --url https://du.beta.example --token-file " + token, 0, "context beta: set", ""},
		{"use", "context use acme", 0, "context acme: used from now on: " + url + "\n", ""},
		{"remove another", "context remove beta", 0, "context beta: removed\n", ""},
		{"contexts", "context list", 0, "acme", ""},
		{"unknown context", "host list --context other", 1, "", `no context "other"`},
		{"hosts", "host list", 0, "kvm1?[31m  gateway  disconnected: the tunnel broke  ", ""},
		{"why sources of hosts are not well", "host list", 0, "connected, vcenter-west degraded, tags-west degraded", "gw1: vcenter-west, tags-west degraded: its certificate has changed?\n"},
		{"hosts in full", "host list -o wide", 0, "VMWareCluster", ""},
		{"hosts without headers", "host list --no-headers", 0, "0b5c7d7e", ""},
		{"hosts as YAML", "host list -o yaml", 0, "compute.vm: 3", ""},
		{"VMs", "vm list", 0, "web   running (stale)  2      1.0 GiB", ""},
		{"any kind", "get com.acme.lun", 0, "HOST  ID  NAME  STATE      SIZE\nkvm1  a   one   on         1.0 GiB\nkvm1  b   two   (invalid)  -\n", ""},
		{"last part of a kind", "get luns -o wide", 0, "WWN   WHY INVALID\nkvm1  a   one   on         1.0 GiB  600a  -\nkvm1  b   two   (invalid)  -        -     no size", ""},
		{"undeclared kind", "get com.acme.tape", 0, "BLANK  SLOTS\nkvm1  t1  -     -      true   4", ""},
		{"core kind by its word", "get hosts", 0, "HOST  NAME  OS         MEMORY\nkvm1  -     Debian 12  1.0 KiB\n", ""},
		{"VMs by their word", "get vm", 0, "web   running (stale)  2      1.0 GiB", ""},
		{"several kinds of a word", "get storage", 1, "", "there is none"},
		{"one as YAML", "get com.acme.tape t1 -o yaml", 0, "hostname: kvm1\n", ""},
		{"two as JSON", "get com.acme.lun x -o json", 1, "", "2 resources have the id or name"},
		{"ambiguous", "get tape", 2, "", "com.acme.tape, org.other.tape"},
		{"unknown kind", "get com.acme.disk", 1, "", "no host has or declares"},
		{"unknown word", "get disk", 1, "", `"disk" means no kind`},
		{"watch of several kinds", "get storage -w", 2, "", "storage means"},
		{"watch with a filter", "get vm -w --name x", 2, "", "with --host what one host has: leave out --name\n"},
		{"watch as YAML", "get vm -w -o yaml", 2, "", "-w does not write YAML: use -o json"},
		{"no kind", "get", 2, "", "KIND is missing"},
		{"kinds", "kind list", 0, "com.acme.lun    2        2          1      1        acme", ""},
		{"kinds in full", "kind list -o wide", 0, "4 bytes  a bad? column", ""},
		{"kind", "kind show lun", 0, "column WWN   wwn (wide)", ""},
		{"kind as JSON", "kind show com.acme.lun -o json", 0, `"schema": true`, ""},
		{"completion of kinds", "__complete get com.acme.t", 0, "com.acme.tape\n", ""},
		{"completion of words", "__complete get stor", 0, "storage\n", ""},
		{"nothing as JSON", "storage list -o json", 0, "[]\n", ""},
		{"join token", "token create", 0, "pf9-hostagent enroll --du " + url + " --token -", ""},
		{"events with their host", "event list", 0, "gw1                                   appeared  compute.vm  web   by hand\n", ""},
		{"events of a host that was forgotten", "event list --no-headers", 0, "  feed7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a  appeared", ""},
		{"events in full", "event list -o wide", 0, "0b5c7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a  vm-1\n", ""},
		{"events as JSON", "event list -o json", 0, `"host": "feed7d7f-`, ""},
		{"refused", "certificate list", 1, "", "pf9ctl: there is none\n"},
		{"foreign authority", "host list --context acme --ca-file " + token, 1, "", "holds no PEM certificate"},
		{"wrong token", "host list --token-file " + ca, 1, "", "pf9ctl:"},
		{"unknown host", "host show nobody", 1, "", `no host is called "nobody"`},
		{"unknown command", "host lst", 2, "", `"lst" is not a command of pf9ctl host`},
		{"unknown flag", "host list --loud", 2, "", "--loud"},
		{"missing argument", "host revoke", 2, "", "HOST is missing"},
		{"unknown output", "host list -o xml", 2, "", "want table, wide, json or yaml"},
		{"revoke", "host revoke gw1", 0, "gw1 (0b5c7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a): revoked; to let it in again make a token for it: pf9ctl token create --host 0b5c7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a --kind gateway\n", ""},
		{"revoke for a script", "host revoke gw1 -o json", 0, "", ""},
		{"forget", "host forget 0b5c7d7f", 0, "gw1 (0b5c7d7f-8a52-4a0c-9a3f-1f2e3d4c5b6a): revoked and forgotten\n", ""},
		{"revoke a token", "token revoke t1", 0, "join token t1: revoked; ", ""},
		{"revoke no token", "token revoke t2", 1, "", "there is none"},
		{"completion", "completion bash", 0, "__start_pf9ctl", ""},
		{"completion of hosts", "__complete host show kvm", 0, "kvm1", ""},
		{"remove", "context remove acme", 0, "context acme: removed, and none is used now", ""},
	}
	for _, test := range tests { // in this order: they share the file
		t.Run(test.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			status := Main(t.Context(), "1.2.3", append([]string{"--config", file}, strings.Fields(test.line)...), &out, &errs)
			if strings.HasPrefix(test.line, "__") {
				out.Reset()
				status = Main(t.Context(), "1.2.3", append(strings.Fields("__complete --config "+file), strings.Fields(test.line)[1:]...), &out, &errs)
			}
			if status != test.status || !strings.Contains(out.String(), test.out) || !strings.Contains(errs.String(), test.errs) {
				t.Errorf("%s: status %d, want %d\n%s\n%s", test.line, status, test.status, &out, &errs)
			}
		})
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of contexts: %v, %v; want mode 0600", info, err)
	}
}

func TestWhenAHostWasSeen(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		connected bool
		ago       time.Duration
		want      string
	}{{true, 59 * time.Second, "now"}, {true, 3 * time.Minute, "3m"}, {false, 59 * time.Second, "59s"}} {
		if got := seen(api.Host{Connected: tc.connected, LastSeen: now.Add(-tc.ago)}, now); got != tc.want {
			t.Errorf("connected %v, %v ago: %q, want %q", tc.connected, tc.ago, got, tc.want)
		}
	}
}

func TestYAMLQuotesWhatCouldBeMistaken(t *testing.T) {
	var out bytes.Buffer
	err := writeYAML(&out, map[string]any{"a": []any{"no", "1", "x y", "plain", "", nil, true, 1}, "b": map[string]any{"c": []any{}}})
	want := "a:\n  - \"no\"\n  - \"1\"\n  - \"x y\"\n  - plain\n  - \"\"\n  - null\n  - true\n  - 1\nb:\n  c: []\n"
	if err != nil || out.String() != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, &out, want)
	}
}
