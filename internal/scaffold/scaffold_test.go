package scaffold

import (
	"encoding/json"
	"errors"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/pluginhost"
	"github.com/openpf9/openpf9/plugin/plugintest"
)

// checkout is the SDK that this package is of.
const checkout = "../.."

// What is printed can be pasted: the plugins are made outside of our module,
// nothing is fetched, and the agent's program is one that tells what it was asked.
func TestStepsWorkAsPrinted(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("no make here: packaging/deps.sh installs it")
	}
	agent := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(agent, []byte("#!/bin/sh\necho asked: \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for lang, test := range map[string]struct {
		o    Options
		want []string
	}{
		"go": {
			Options{Kind: "com.acme.disk", Module: "git.acme.example/ops/acme-disks", SDK: checkout},
			[]string{"com.acme.disk  passwd", "--- PASS: TestConformance", "asked: plugin check ./acme-disks\n"},
		},
		"python": {Options{}, []string{`"kind": "com.example.acme_disks", "id": "passwd"`, "asked: plugin check /usr/bin/python3 -I acme-disks.py\n"}},
	} {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat("/usr/bin/python3"); err != nil && lang == "python" {
				t.Skip("no python3 here: packaging/deps.sh installs it")
			}
			o := test.o
			o.Name, o.Lang, o.Agent = "acme-disks", lang, agent
			dir := write(t, o)
			o.Dir = dir
			_, steps, _ := strings.Cut(Steps(o), "Next:\n\n")
			steps, _, _ = strings.Cut(steps, "\n\n")
			out := offline(t, ".", "env", "GOFLAGS=-v", "sh", "-exc", steps)
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in what comes of\n%s\n\n%s", want, steps, out)
				}
			}
		})
	}
}

// TestNoReleaseIsNoDeadEnd: what make says to do makes it build.
func TestNoReleaseIsNoDeadEnd(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("no make here: packaging/deps.sh installs it")
	}
	dir := write(t, Options{Name: "disks", Lang: "go"})
	out := offline(t, dir, "sh", "-c", "! make")
	remedy := "go mod edit -replace " + sdkModule + "=/path/to/that"
	if !strings.Contains(out, remedy) || !strings.Contains(read(t, dir, "README.md"), strings.ReplaceAll(remedy, "that", "openpf9")) {
		t.Fatalf("make says\n%s\nwant there and in the README %s", out, remedy)
	}
	sdk, err := filepath.Abs(checkout)
	if err != nil {
		t.Fatal(err)
	}
	offline(t, dir, "sh", "-c", strings.ReplaceAll(remedy, "/path/to/that", sdk))
	offline(t, dir, "make")
	if _, err := os.Stat(filepath.Join(dir, "disks")); err != nil {
		t.Error(err)
	}
}

func TestGoPluginIsFormatted(t *testing.T) {
	dir := write(t, Options{Name: "disks", Lang: "go"})
	for _, file := range []string{"main.go", "main_test.go"} {
		text := read(t, dir, file)
		if formatted, err := format.Source([]byte(text)); err != nil || string(formatted) != text {
			t.Errorf("%s is not formatted (%v)", file, err)
		}
	}
}

func TestGoPluginHasOnlyTheStandardLibraryAndTheSDK(t *testing.T) {
	t.Parallel()
	dir := write(t, Options{Name: "disks", Lang: "go", SDK: checkout})
	out := offline(t, dir, "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
	for _, p := range strings.Fields(out) {
		if p != "example.com/disks" && p != sdkModule+"/plugin" && !strings.HasPrefix(p, sdkModule+"/plugin/") {
			t.Errorf("a plugin depends on %s", p)
		}
	}
	if !strings.Contains(out, sdkModule+"/plugin\n") {
		t.Errorf("it depends on %q, want the SDK", out)
	}
}

func TestPythonPluginPasses(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here: packaging/deps.sh installs it")
	}
	dir := write(t, Options{Name: "json", Lang: "python", Kind: "com.acme.disk"}) // the name of a module that it needs
	files := filepath.Join(t.TempDir(), "files")
	if err := os.MkdirAll(filepath.Join(files, "one"), 0o755); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]string{"dir": files})
	if err != nil {
		t.Fatal(err)
	}
	away := files + ".away"
	r := plugintest.RunBinary(t, plugintest.CheckOptions{
		Command: []string{python, "-I", filepath.Join(dir, "json.py")}, Config: config, Slack: 10 * time.Second,
		BreakList: func() (func(), error) {
			return func() { _ = os.Rename(away, files) }, os.Rename(files, away)
		},
	})
	if r.Plugin != "json" || r.Resources != 1 {
		t.Errorf("the report is of %s with %d resources, want json with 1", r.Plugin, r.Resources)
	}
}

// The agent's side of the conversation is written once, and shown twice.
func TestPythonPluginsSpeakAlike(t *testing.T) {
	part := func(text string) string {
		_, after, _ := strings.Cut(text, "\n# The protocol")
		protocol, _, found := strings.Cut(after, "\n# What follows")
		if !found {
			t.Fatal("there is no part about the protocol")
		}
		return protocol
	}
	dir := write(t, Options{Name: "disks", Lang: "python"})
	if part(read(t, dir, "disks.py")) != part(read(t, checkout, "plugin/examples/zfs/zfs.py")) {
		t.Error("templates/python/NAME.py.tmpl and plugin/examples/zfs/zfs.py differ in the protocol")
	}
}

func TestManifestFitsTheProgram(t *testing.T) {
	for _, lang := range languages {
		t.Run(lang, func(t *testing.T) {
			dir := write(t, Options{Name: "acme.disks", Lang: lang, Kind: "com.acme.disk"})
			m, err := pluginhost.ReadManifest(filepath.Join(dir, "acme.disks.toml"))
			if err != nil {
				t.Fatal(err)
			}
			if m.Name != "acme.disks" || !slices.Equal(m.Kinds, []string{"com.acme.disk"}) || (m.Watchdog == nil) != (lang == "go") {
				t.Errorf("the manifest is %+v", m)
			}
			for _, u := range pluginhost.Units(m) {
				if read(t, dir, "packaging/"+u.Name) != u.Text {
					t.Errorf("%s is not what `make units` makes of the manifest", u.Name)
				}
			}
			program := m.Exec[len(m.Exec)-1]
			for _, recipe := range []string{"Makefile", "nfpm.yaml", "packaging/pf9-plugin-acme.disks.spec"} {
				if !strings.Contains(read(t, dir, recipe), program+"\n") {
					t.Errorf("%s does not install %s", recipe, program)
				}
			}
		})
	}
}

// The recipes of packages name files that are there.
func TestPackagesFindTheirFiles(t *testing.T) {
	named := regexp.MustCompile(`packaging/\S+`)
	for _, lang := range languages {
		dir := write(t, Options{Name: "disks", Lang: lang})
		for _, recipe := range []string{"Makefile", "nfpm.yaml", "packaging/pf9-plugin-disks.spec"} {
			for _, file := range named.FindAllString(read(t, dir, recipe), -1) {
				read(t, dir, file)
			}
		}
		for _, script := range []string{"after-install", "before-remove", "after-remove"} {
			if file := "packaging/" + script + ".sh"; strings.Count(read(t, dir, "nfpm.yaml")+read(t, dir, "packaging/pf9-plugin-disks.spec"), file) != 2 {
				t.Errorf("%s is not in both recipes of packages", file)
			}
		}
	}
}

func TestInstallPutsThingsWhereTheAgentLooks(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("no make here")
	}
	dir, root := write(t, Options{Name: "disks", Lang: "python"}), t.TempDir()
	offline(t, dir, "make", "-s", "install", "DESTDIR="+root)
	for _, name := range []string{
		"usr/libexec/pf9-hostagent/disks.py", "usr/lib/pf9-hostagent/plugins/disks.toml",
		"usr/lib/systemd/system/pf9-hostagent-plugin-disks.socket", "usr/lib/systemd/system/pf9-hostagent-plugin-disks@.service",
	} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestGoVersionIsTheSDKs(t *testing.T) {
	if want := "\ngo " + goVersion + "\n"; !strings.Contains(read(t, checkout, "go.mod"), want) {
		t.Errorf("go.mod has no %q: a plugin cannot ask for less", want)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	dir := write(t, Options{Name: "disks", Lang: "go"})
	before := read(t, dir, "main.go")
	_, _, err := Write(Options{Name: "other", Lang: "go", Dir: dir})
	if !errors.Is(err, fs.ErrExist) || read(t, dir, "main.go") != before {
		t.Errorf("writing over a plugin gives %v, want that it exists", err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"no name", Options{Lang: "go"}, "lower-case letters"},
		{"a path", Options{Name: "../disks", Lang: "go"}, "lower-case letters"},
		{"upper case", Options{Name: "Disks", Lang: "go"}, "lower-case letters"},
		{"ends in a dash", Options{Name: "disks-", Lang: "go"}, "lower-case letters"},
		{"long", Options{Name: strings.Repeat("x", 65), Lang: "go"}, "lower-case letters"},
		{"one of its folders", Options{Name: "packaging", Lang: "go"}, "has this name"},
		{"language", Options{Name: "disks", Lang: "perl"}, "go or python"},
		{"core kind", Options{Name: "disks", Lang: "go", Kind: "compute.vm"}, "is the core's"},
		{"agent's kind", Options{Name: "disks", Lang: "go", Kind: "agent.own.thing"}, "is the core's"},
		{"kind without a domain", Options{Name: "disks", Lang: "go", Kind: "acme.disk"}, "a domain of yours"},
		{"kind with a quote", Options{Name: "disks", Lang: "go", Kind: `com.acme."`}, "lower-case letters"},
		{"module", Options{Name: "disks", Lang: "go", Module: "a b"}, "Go module path"},
		{"module of Python", Options{Name: "disks", Lang: "python", Module: "example.com/x"}, "no Go module"},
		{"no checkout", Options{Name: "disks", Lang: "go", SDK: "/"}, "no checkout"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.o.Dir = filepath.Join(t.TempDir(), "new")
			if _, _, err := Write(test.o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if _, err := os.Stat(test.o.Dir); err == nil {
				t.Error("it has written all the same")
			}
		})
	}
}

func TestSDKVersion(t *testing.T) {
	for given, want := range map[string]string{
		"1.2.3": "v1.2.3", "v1.2.3": "v1.2.3", "": unreleased, "0.1.0-dev": unreleased,
		"v0.0.0-20261126121110-0123456789ab": unreleased,
	} {
		dir := write(t, Options{Name: "disks", Lang: "go", SDKVersion: given})
		mod := read(t, dir, "go.mod")
		if !strings.Contains(mod, "\nrequire "+sdkModule+" "+want+"\n") || strings.Contains(mod, "replace") {
			t.Errorf("version %q gives\n%s\nwant %s", given, mod, want)
		}
		if tells := strings.Contains(Steps(Options{Name: "disks", Lang: "go", SDKVersion: given}), "-replace"); tells != (want == unreleased) {
			t.Errorf("version %q: the next steps tell of a replace line: %v", given, tells)
		}
	}
}

// write writes a plugin into a new folder and returns that.
func write(t *testing.T, o Options) string {
	t.Helper()
	o.Dir = filepath.Join(t.TempDir(), "new")
	dir, files, err := Write(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text := read(t, dir, file); strings.Contains(text, "{{") || strings.Contains(text, "<no value>") {
			t.Errorf("%s is not filled in:\n%s", file, text)
		}
	}
	return dir
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// offline runs a command as a stranger without network would.
func offline(t *testing.T, dir string, command ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOPROXY=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}
