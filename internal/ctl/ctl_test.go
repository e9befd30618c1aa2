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

	"github.com/openpf9/openpf9/internal/api"
)

// deploymentUnit answers like one, with one host whose name is hostile.
func deploymentUnit(t *testing.T) (url, ca, token string) {
	t.Helper()
	answers := map[string]any{
		"GET /api/v1/hosts":                          api.Hosts{Items: []api.Host{{ID: "0b5c7d7e-8a52-4a0c-9a3f-1f2e3d4c5b6a", Hostname: "kvm1\x1b[31m", Reason: "the tunnel broke", Counts: map[string]int{"compute.vm": 3}}}},
		"GET /api/v1/resources/compute.vm":           api.Resources{Items: []api.Resource{{Hostname: "kvm1", Name: "web", State: "running", Stale: true, Spec: json.RawMessage(`{"vcpus":2,"memory_bytes":1073741824}`)}}},
		"GET /api/v1/resources/storage.filesystem":   api.Resources{},
		"GET /api/v1/resources/storage.pool":         api.Resources{},
		"GET /api/v1/resources/storage.volume_group": api.Resources{},
		"POST /api/v1/join-tokens":                   api.NewJoinToken{JoinToken: api.JoinToken{Kind: "host"}, Secret: "pf9j1.a.b.c"},
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
	return s.URL, ca, token
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
		{"context", "context set acme --url " + url + " --token-file " + token + " --ca-file " + ca, 0, "", ""},
		{"contexts", "context list", 0, "acme", ""},
		{"unknown context", "host list --context other", 1, "", `no context "other"`},
		{"hosts", "host list", 0, "kvm1?[31m  disconnected: the tunnel broke  3", ""},
		{"hosts without headers", "host list --no-headers", 0, "0b5c7d7e", ""},
		{"hosts as YAML", "host list -o yaml", 0, "compute.vm: 3", ""},
		{"VMs", "vm list", 0, "web   running (stale)  2      1.0 GiB", ""},
		{"nothing as JSON", "storage list -o json", 0, "[]\n", ""},
		{"join token", "token create", 0, "pf9-hostagent enroll --du " + url + " --token -", ""},
		{"refused", "certificate list", 1, "", "there is none (status 404)"},
		{"foreign authority", "host list --context acme --ca-file " + token, 1, "", "holds no PEM certificate"},
		{"wrong token", "host list --token-file " + ca, 1, "", "pf9ctl:"},
		{"unknown host", "host show nobody", 1, "", `no host is called "nobody"`},
		{"unknown command", "host lst", 2, "", `"lst" is not a command of pf9ctl host`},
		{"unknown flag", "host list --loud", 2, "", "--loud"},
		{"missing argument", "host revoke", 2, "", "HOST is missing"},
		{"unknown output", "host list -o xml", 2, "", "want table, wide, json or yaml"},
		{"completion", "completion bash", 0, "__start_pf9ctl", ""},
		{"completion of hosts", "__complete host show kvm", 0, "kvm1", ""},
		{"remove", "context remove acme", 0, "", ""},
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

func TestYAMLQuotesWhatCouldBeMistaken(t *testing.T) {
	var out bytes.Buffer
	err := writeYAML(&out, map[string]any{"a": []any{"no", "1", "x y", "plain", "", nil, true, 1}, "b": map[string]any{"c": []any{}}})
	want := "a:\n  - \"no\"\n  - \"1\"\n  - \"x y\"\n  - plain\n  - \"\"\n  - null\n  - true\n  - 1\nb:\n  c: []\n"
	if err != nil || out.String() != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, &out, want)
	}
}

func TestSize(t *testing.T) {
	for b, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 30: "1.0 GiB", 1<<30 - 1: "1.0 GiB", 1 << 63: "8.0 EiB"} {
		if got := size(b); got != want {
			t.Errorf("size(%d) = %q, want %q", b, got, want)
		}
	}
}
