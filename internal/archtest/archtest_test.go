package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTreeKeepsTheRules(t *testing.T) {
	for _, v := range Check(load(t)) {
		t.Error(v)
	}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	tests := []struct {
		name string
		pkg  Package
		want string
	}{
		{"tier crossing", ours("agent", "controlplane/du/resmgr"), "the tiers meet in internal/wire"},
		{"siblings", ours("controlplane/du/resmgr", "controlplane/du/certrepo"), "services of a DU meet in package du"},
		{"upward", ours("internal/wire", "internal/tunnel"), "messages are plain structs"},
		{"module with private knowledge", ours("agent/libvirt", "internal/wire"), "like a third party's"},
		{"gateway with a host's modules", ours("gateway", "agent/libvirt"), "not what is a KVM host's"},
		{"core with a host's modules", ours("agent/core", "agent/network"), "must not link"},
		{"foreign owner", Package{ImportPath: Module + "/agent", Doc: "d", Imports: []string{"github.com/gorilla/websocket"}}, "only [internal/tunnel] may"},
		{"no owner", Package{ImportPath: Module + "/agent", Doc: "d", Imports: []string{"example.com/left-pad"}}, "has no owner"},
		{"SDK with dependencies", Package{ImportPath: Module + "/plugin", Doc: "d", Imports: []string{"golang.org/x/sys/unix"}}, "without our dependencies"},
		{"no comment", Package{ImportPath: Module + "/agent"}, "no package comment"},
		{"empty name", Package{ImportPath: Module + "/internal/util", Doc: "d"}, "says nothing"},
		{"main as library", ours("agent", "cmd/pf9ctl"), "nothing may"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.Join(Check([]Package{test.pkg}), "\n"); !strings.Contains(got, test.want) {
				t.Errorf("Check found %q, want something with %q", got, test.want)
			}
		})
	}
}

func TestCheckAllowsTheDesign(t *testing.T) {
	for _, p := range []Package{
		ours("controlplane/du", "controlplane/du/resmgr", "internal/wire"),
		ours("agent", "agent/libvirt", "plugin"),
		ours("gateway", "agent/core", "agent/host"),
	} {
		if got := Check([]Package{p}); len(got) > 0 {
			t.Errorf("Check found %q", got)
		}
	}
}

// What a gateway does not need it does not link, by whatever way.
func TestGatewayLinksNoHostModules(t *testing.T) {
	packages := make(map[string]Package)
	for _, p := range load(t) {
		packages[p.ImportPath] = p
	}
	linked := make(map[string]bool)
	var link func(string)
	link = func(path string) {
		if !linked[path] {
			linked[path] = true
			for _, imp := range packages[path].Imports {
				link(imp)
			}
		}
	}
	link(Module + "/cmd/pf9-gateway")
	if !linked[Module+"/agent/core"] {
		t.Fatal("the gateway does not stand on agent/core: is this still its program?")
	}
	for path := range linked {
		from, _ := relative(path)
		if strings.HasPrefix(path, "github.com/digitalocean/go-libvirt") || matchAny(hostOnly, from) {
			t.Errorf("cmd/pf9-gateway links %s", path)
		}
	}
}

// A module with one such name cannot be fetched at all, and what is no regular
// file is left out of it silently.
func TestModuleCanBeFetched(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "ls-files", "-z", "--stage").Output()
	if err != nil {
		t.Skip("this is no git checkout")
	}
	for file := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		mode, name, _ := strings.Cut(file, "\t")
		if strings.ContainsAny(name, "\"'*<>?`|\\:;") {
			t.Errorf("%q: Go's modules refuse this name", name)
		}
		if !strings.HasPrefix(mode, "100") {
			t.Errorf("%s: Go's modules hold regular files only", name)
		}
	}
}

// Links within the repository lead to what is there.
func TestLinksLeadSomewhere(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "ls-files", "-z", "*.md").Output()
	if err != nil {
		t.Skip("this is no git checkout")
	}
	link := regexp.MustCompile(`\]\(([^):#\s]+)[)#]`)
	for file := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		file = filepath.Join("../..", file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), string(m[1]))); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
	}
}

func ours(from string, to ...string) Package {
	p := Package{ImportPath: Module + "/" + from, Doc: "d"}
	for _, imp := range to {
		p.Imports = append(p.Imports, Module+"/"+imp)
	}
	return p
}

// load reads the whole tree, with the standard packages that it uses.
func load(t *testing.T) []Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Name,Doc,Standard,Imports", Module+"/...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []Package
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p Package
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
