package zfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/plugin/conformance"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

func TestListsPoolsAndDatasets(t *testing.T) {
	got, err := byHand(t, config(t))
	if err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	want, err := os.ReadFile("testdata/want.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDatasetsCanBeLeftOut(t *testing.T) {
	c := config(t)
	c["datasets"], c["zfs"] = false, "/nowhere/zfs"
	if got, err := byHand(t, c); err != nil || strings.Count(got, "\n") != 2 {
		t.Errorf("got %v and\n%s\nwant two pools", err, got)
	}
}

func TestWhatCannotBeListedIsSaid(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"not installed", "", "install ZFS"},
		{"no module", "echo 'The ZFS modules are not loaded.' >&2; exit 1", "zpool list: The ZFS modules are not loaded."},
		{"killed", "kill -9 $$", "zpool list: exit status -9"},
		{"hanging", "exec sleep 60", "does not answer within 1 s"},
		{"other output", "echo tank", "not enough values"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := config(t)
			c["timeout_seconds"] = 1
			if c["zpool"] = "/nowhere/zpool"; test.script != "" {
				c["zpool"] = script(t, test.script)
			}
			if got, err := byHand(t, c); err == nil || !strings.Contains(got, test.want) {
				t.Errorf("got %v and %q, want an error with %q", err, got, test.want)
			}
		})
	}
}

func TestWrongConfigurationsNameTheKey(t *testing.T) {
	for key, test := range map[string]struct {
		value any
		want  string
	}{
		"datasets":        {"no", `zfs: config.datasets: want boolean, not "no"`},
		"timeout_seconds": {1.5, `zfs: config.timeout_seconds: want integer, not 1.5`},
		"pool":            {"tank", `zfs: config: unknown key "pool"; known are: datasets, timeout_seconds, zfs, zpool`},
	} {
		out, err := byHand(t, map[string]any{key: test.value})
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 78 || strings.TrimSpace(out) != test.want {
			t.Errorf("%s = %v ends with %v and %q, want status 78 and %q", key, test.value, err, out, test.want)
		}
	}
}

func TestPlugin(t *testing.T) {
	c := config(t)
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	zpool := c["zpool"].(string)
	r := plugintest.RunBinary(t, plugintest.CheckOptions{
		Command: []string{python(t), "-I", "zfs.py"}, Config: raw, Slack: 10 * time.Second,
		BreakList: func() (func(), error) {
			return func() { _ = os.Rename(zpool+".away", zpool) }, os.Rename(zpool, zpool+".away")
		},
	})
	if r.Resources != 6 {
		t.Errorf("%d resources, want 6", r.Resources)
	}
	for _, res := range r.Results {
		if res.Rule == conformance.RuleErrors && !strings.Contains(res.Reason, "install ZFS") {
			t.Errorf("without zpool: %s, want a status that says what to do", res.Reason)
		}
	}
}

// config points the plugin to commands that print the recordings.
func config(t *testing.T) map[string]any {
	t.Helper()
	c := map[string]any{}
	for _, command := range []string{"zpool", "zfs"} {
		recording, err := filepath.Abs(filepath.Join("testdata", command+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		c[command] = script(t, fmt.Sprintf(`[ "$1 $2" = "list -Hp" ] || exit 2; exec cat '%s'`, recording))
	}
	return c
}

func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "command")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// byHand runs the plugin without an agent and returns what it prints.
func byHand(t *testing.T, config map[string]any) (string, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.json")
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python(t), "-I", "zfs.py", "--config", name).CombinedOutput()
	return string(out), err
}

func python(t *testing.T) string {
	t.Helper()
	name, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here: packaging/deps.sh installs it")
	}
	return name
}
