package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPluginCheckSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script.py")
	if err := os.WriteFile(script, []byte("print('hello')\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	config := func(text string) string {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, test := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"check", "--slack", "5", "x"}, 2, `invalid value "5" for flag -slack: want a number and its unit, such as 5s, 500ms or 1m`},
		{[]string{"check", "--slack", "-5s", "x"}, 2, "want a number and its unit"},
		{[]string{"check", "--help"}, 0, "give the plugin this much more time at each limit"},
		{[]string{"check"}, 2, "Exit status: 0 no rule is broken, 1 some are, 2 it could not be checked in full."},
		{[]string{"check", "--break", "false", "x"}, 2, "--break and --mend go together"},
		{[]string{"check", filepath.Join(dir, "none")}, 2, "cannot check this plugin: there is no file"},
		{[]string{"check", script}, 2, "is not executable: chmod +x " + script},
		{[]string{"check", "--json", "/bin/true"}, 2, `"problem": "it ended after`},
		{[]string{"check", "--config", "/nowhere", "x"}, 2, "plugin check: the plugin's configuration: open /nowhere: no such file"},
		{[]string{"check", "--config", config(`{"dir":"/srv",` + "\n  }"), "x"}, 2, "/config: line 2, column 3: invalid character '}'"},
		{[]string{"run", "--config", config(`["/srv"]`), "x"}, 2, `/config: want a JSON object, not ["/srv"]`},
		{[]string{"run", "--config", config(`null`), "x"}, 2, `want a JSON object, not null`},
		{[]string{"run", "--config", config("\n"), "x"}, 2, `/config: is empty`},
		{[]string{"check", "--config", "-", "x"}, 2, "standard input: line 1, column 7: invalid character"},
		{[]string{"check", "/bin/false", "--slack=5s"}, 2, "--slack=5s was given to the plugin: put --slack before the program"},
		{[]string{"run", "--interval", "soon", "x"}, 2, "want a number and its unit"},
		{[]string{"run", script}, 2, "is not executable: chmod +x " + script},
	} {
		var out bytes.Buffer
		if status := Main(hostAgent, append([]string{"plugin"}, test.args...), strings.NewReader(`{"dir"}`), &out, &out); status != test.status || !strings.Contains(out.String(), test.want) {
			t.Errorf("plugin %q: status %d\n%s\nwant %d and %q", test.args, status, &out, test.status, test.want)
		}
	}
}

// TestPluginCheckBreaksTheList with commands, and mends it.
func TestPluginCheckBreaksTheList(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, config := filepath.Join(t.TempDir(), "d"), filepath.Join(t.TempDir(), "config")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "thing"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"dir":%q}`, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	status := Main(hostAgent, []string{
		"plugin", "check", "--slack", "10s", "--config", config,
		"--break", fmt.Sprintf("mv '%s' '%s.away'", dir, dir), "--mend", fmt.Sprintf("mv '%s.away' '%s'", dir, dir), self, "be", "good",
	}, nil, &out, &out)
	if !strings.Contains(out.String(), "ok       error-deletes-nothing        its status: ") {
		t.Errorf("status %d\n%s\nwant error-deletes-nothing to be exercised", status, &out)
	}
	if _, err := os.Stat(filepath.Join(dir, "thing")); err != nil {
		t.Errorf("after the check: %v", err)
	}
}

// TestAMendThatFailsIsInTheReport, also of a program.
func TestAMendThatFailsIsInTheReport(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"dir":%q}`, t.TempDir()), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	status := Main(hostAgent, []string{
		"plugin", "check", "--json", "--slack", "2s", "--config", file, "--break", "true", "--mend", "echo no; exit 3", self, "be", "good",
	}, nil, &out, &out)
	if want := `"problem": "--mend did not do it; what --break did must be undone by hand: echo no; exit 3: exit status 3: no"`; status != 2 || !strings.Contains(out.String(), want) {
		t.Errorf("status %d\n%s\nwant 2 and %s", status, &out, want)
	}
}

func TestPluginRunShowsColumns(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here: packaging/deps.sh installs it")
	}
	script := filepath.Join(t.TempDir(), "lun.py")
	if err := os.WriteFile(script, []byte(`import json, os, sys
def send(**m): os.write(0, json.dumps(m).encode() + b"\n")
send(hello={"protocols": [1], "name": "lun", "version": "1", "kinds": [{"name": "com.acme.lun", "columns": [
    {"name": "WWN", "path": "wwn", "wide": True}, {"name": "SIZE", "path": "size_bytes"}, {"name": "PATH", "path": "paths.0"}]}]})
sys.stdin.readline()
def lun(state, size): return {"kind": "com.acme.lun", "id": "7", "name": "data", "spec": {"state": state, "size_bytes": size, "paths": ["up"], "wwn": "50", "other": 1}}
send(delta={"seq": 1, "begin": True, "end": True, "count": 1, "upserts": [lun("ok", 1 << 30)]})
send(delta={"seq": 2, "upserts": [lun("lost", 2 << 30)]})
sys.stdin.read()
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		flags []string
		want  []string
	}{
		{nil, []string{"KIND          ID  NAME  STATE  SIZE     PATH\n", "com.acme.lun  7   data  ok     1.0 GiB  up\n", "com.acme.lun 7 data STATE=lost SIZE=2.0 GiB PATH=up\n"}},
		{[]string{"--wide"}, []string{"PATH  WWN\n", "SIZE=2.0 GiB PATH=up WWN=50\n"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		out := &until{want: "STATE=lost", met: cancel}
		c := &command{program: hostAgent, name: "plugin run", args: append(test.flags, python, script), out: out, errs: out}
		if err := pluginRun(ctx, c); ctx.Err() != context.Canceled {
			t.Errorf("%q: %v", test.flags, err)
		}
		cancel()
		for _, want := range test.want {
			if !strings.Contains(out.all.String(), want) {
				t.Errorf("%q shows\n%s\nwant %q", test.flags, &out.all, want)
			}
		}
	}
}
