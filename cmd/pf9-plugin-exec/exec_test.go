package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

// TestMain is also the plugin that the conformance test checks.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "--name" {
		main()
	}
	os.Exit(m.Run())
}

func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func defaults(dir string) config {
	return config{Extensions: dir, ExtensionTimeout: plugin.Duration(30 * time.Second), AtOnce: 2, MaxOutput: 1 << 16}
}

func list(t *testing.T, s *source) (map[string]plugin.Resource, error) {
	t.Helper()
	out := make(map[string]plugin.Resource)
	err := s.List(t.Context(), func(r plugin.Resource) { out[r.ID] = r })
	return out, err
}

func TestExtensionsRunUnchanged(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "fetch_volumes_present", `echo '[{"name": "vg0"}]'`)
	script(t, dir, "check_pf9_kube_status", `echo '{"ok": true}'`)
	script(t, dir, "check_volumes_present", `echo 1`)
	script(t, dir, "fetch_fails", `echo oops >&2; exit 3`)
	script(t, dir, "fetch_no_json", `echo hello`)
	script(t, dir, "fetch_hangs", `sleep 1000 & sleep 1000`)
	script(t, dir, "fetch_floods", `while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done`)
	script(t, dir, "fetch_dies", `kill -9 $$`)
	script(t, dir, "other", `echo 1`)
	if err := os.WriteFile(filepath.Join(dir, "fetch_no_program"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(script(t, dir, "fetch_anybodys", "echo 1"), 0o777); err != nil {
		t.Fatal(err)
	}
	c := defaults(dir)
	c.ExtensionTimeout = plugin.Duration(2 * time.Second)
	s, err := newSource(c, []string{inventory.KindExtension})
	if err != nil {
		t.Fatal(err)
	}
	got, err := list(t, s)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct{ status, data string }{
		"volumes_present":       {"ok", `[{"name":"vg0"}]`},
		"pf9_kube_status":       {"ok", `{"ok":true}`},
		"check_volumes_present": {"ok", `1`},
		"fails":                 {"error", `"oops"`},
		"no_json":               {"error", `no JSON: hello`},
		"hangs":                 {"timed-out", `no answer within 2s`},
		"floods":                {"error", `more than 65536 bytes`},
		"dies":                  {"error", `signal: killed`},
		"anybodys":              {"error", `chmod o-w`},
	}
	for name, w := range want {
		b, _ := json.Marshal(got[name].Spec)
		var x inventory.Extension
		if err := json.Unmarshal(b, &x); err != nil || x.Status != w.status || !strings.Contains(string(x.Data), w.data) {
			t.Errorf("%s: %s, want %v", name, b, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d extensions are listed, want %d", len(got), len(want))
	}
}

func TestCommandsListResources(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "out")
	c := defaults("")
	c.Commands = []command{{Command: []string{script(t, dir, "c", `test -e `+file+` || { echo gone >&2; exit 5; }; cat `+file)}}}
	s, err := newSource(c, []string{"com.example.rack"})
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"kind":"com.example.rack","id":"7","name":"r7","spec":{"height":42}}` + "\n\n" + `{"kind":"com.example.rack","id":"8","spec":{}}`)
	if got, err := list(t, s); err != nil || len(got) != 2 || got["7"].Name != "r7" {
		t.Errorf("listed %v, %v", got, err)
	}
	for name, test := range map[string]struct{ text, says string }{
		"no JSON":      {"{}\nhello", "line 1: kind"},
		"other kind":   {`{"kind":"compute.vm","id":"7","spec":{}}`, "started for com.example.rack"},
		"no id":        {`{"kind":"com.example.rack","spec":{}}`, "no id"},
		"odd spec":     {`{"kind":"com.example.rack","id":"1","spec":[]}`, "no object"},
		"half an line": {`{"kind":"com.example.rack",`, "unexpected end"},
	} {
		write(test.text)
		if _, err := list(t, s); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want an error with %q", name, err, test.says)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := list(t, s); err == nil || !strings.Contains(err.Error(), "exit status 5: gone") {
		t.Errorf("a command that fails: %v", err)
	}
}

func TestCommandsRunWhenDue(t *testing.T) {
	dir := t.TempDir()
	c := defaults("")
	c.Commands = []command{{Command: []string{script(t, dir, "c", `echo x >> `+dir+`/runs`)}, Interval: plugin.Duration(time.Hour)}}
	s, err := newSource(c, []string{"com.example.rack"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := list(t, s); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := os.ReadFile(dir + "/runs"); string(b) != "x\n" {
		t.Errorf("the command ran %d times, want once", len(b)/2)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := execute(ctx, []string{script(t, dir, "c", `sleep 1000 >/dev/null 2>&1 & echo $!`)}, 20*time.Second, 100)
	if err != nil {
		t.Fatal(err)
	}
	stat := fmt.Sprintf("/proc/%s/stat", strings.TrimSpace(string(out.stdout)))
	for {
		b, err := os.ReadFile(stat)
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("a grandchild is left: %s", b)
		}
	}
}

func TestConformance(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script(t, dir, "fetch_one", `echo '{"a":1}'`)
	script(t, dir, "check_two", `exit 1`)
	away := dir + ".file"
	conf, _ := json.Marshal(map[string]any{"extensions": dir, "at_once": 1})
	plugintest.RunBinary(t, plugintest.CheckOptions{
		Command: []string{self, "--name", "extensions"}, Config: conf, Slack: 10 * time.Second,
		MaxMemory: 512 << 20, MaxProcessor: 1,
		BreakList: func() (func(), error) { // a file in the directory's place
			if err := os.Rename(dir, away); err != nil {
				return nil, err
			}
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				return nil, err
			}
			return func() { _ = os.Remove(dir); _ = os.Rename(away, dir) }, nil
		},
	})
}
