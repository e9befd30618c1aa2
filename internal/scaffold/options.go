package scaffold

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/protocol"
)

var (
	// A name is also that of files, units, packages and a Go program.
	validName   = regexp.MustCompile(`^[a-z](?:[a-z0-9]|[-.][a-z0-9]){0,47}$`)
	validModule = regexp.MustCompile(`^[a-zA-Z0-9][-._~a-zA-Z0-9]*(?:/[a-zA-Z0-9_][-._~a-zA-Z0-9]*)*$`)
	release     = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+$`)
)

// sdkModule is the SDK's module.
const sdkModule = "github.com/openpf9/openpf9"

// complete checks the options and fills in what is left open.
func (o *Options) complete() error {
	switch {
	case !validName.MatchString(o.Name):
		return fmt.Errorf("name %.80q: want lower-case letters and digits, with single \"-\" or \".\" between, a letter first, such as acme-storage", o.Name)
	case o.Name == "packaging" || o.Name == "dist":
		return fmt.Errorf("name %s: a folder of the plugin has this name", o.Name)
	case !slices.Contains(languages, o.Lang):
		return fmt.Errorf("language %.40q: want %s", o.Lang, strings.Join(languages, " or "))
	case o.Lang != "go" && (o.SDK != "" || o.Module != ""):
		return fmt.Errorf("a plugin in %s has no Go module: neither a module path nor an SDK is of use", o.Lang)
	}
	if o.Dir == "" {
		o.Dir = o.Name
	}
	if o.Kind == "" {
		o.Kind = "com.example." + strings.NewReplacer("-", "_", ".", "_").Replace(o.Name)
	}
	if o.Module == "" {
		o.Module = "example.com/" + o.Name
	}
	if o.SDKVersion = "v" + strings.TrimPrefix(o.SDKVersion, "v"); !release.MatchString(o.SDKVersion) {
		o.SDKVersion = unreleased
	}
	if !validModule.MatchString(o.Module) {
		return fmt.Errorf("module %.80q: want a Go module path, such as example.com/%s", o.Module, o.Name)
	}
	return errors.Join(checkKind(o.Kind), o.checkSDK())
}

// checkKind wants a third party's kind: a core kind has a published form, which
// what is written here does not have.
func checkKind(kind string) error {
	switch {
	case !protocol.ValidKind(kind):
		return fmt.Errorf("kind %.80q: want lower-case letters, digits, \"-\" and \"_\" with at least one dot between them, such as com.acme.lun, at most 64 bytes", kind)
	case inventory.IsCore(kind) || strings.HasPrefix(kind, "agent."):
		return fmt.Errorf("kind %s is the core's: want one of your own, such as com.acme.lun", kind)
	case strings.Count(kind, ".") < 2:
		return fmt.Errorf("kind %s: want a domain of yours, reversed, before the name, such as com.acme.lun", kind)
	}
	return nil
}

// checkSDK makes the checkout's path absolute, if there is one.
func (o *Options) checkSDK() error {
	if o.SDK == "" {
		return nil
	}
	dir, err := filepath.Abs(o.SDK)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(string(text), "module "+sdkModule+"\n") {
		return fmt.Errorf("%s is no checkout of openpf9: there is no go.mod of %s in it", dir, sdkModule)
	}
	if strings.ContainsAny(dir, " \t\n\"'`") {
		return fmt.Errorf("%q: a path in go.mod must have neither spaces nor quotes", dir)
	}
	o.SDK = dir
	return err
}

// Steps is what to tell somebody for whom a plugin was just written to do next.
func Steps(o Options) string {
	if err := o.complete(); err != nil {
		return ""
	}
	steps := [][2]string{{"cd " + o.Dir, ""}}
	step := func(command, why string) { steps = append(steps, [2]string{command, why}) }
	check := "make check"
	if o.Agent != "" {
		check += " PF9=" + o.Agent
	}
	if o.Lang == "go" {
		if o.SDK == "" && o.SDKVersion == unreleased {
			step("go mod edit -replace "+sdkModule+"=/path/to/openpf9", "a checkout, for there is no release; -sdk does this")
		}
		step("make build && ./"+o.Name, "lists once and prints; --help says more")
		step("make test", "with the conformance kit")
	} else {
		step("./"+o.Name+".py", "lists once and prints; --help says more")
	}
	step(check, "the agent's own judgement of the program")
	width := 0
	for _, s := range steps {
		width = max(width, len(s[0]))
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("Next:\n")
	for _, s := range steps {
		if s[1] == "" {
			line("    %s", s[0])
		} else {
			line("    %-*s  # %s", width, s[0], s[1])
		}
	}
	docs := "https://" + sdkModule + "/blob/main"
	if o.SDK != "" {
		docs = o.SDK
	}
	line("\nThen replace what it lists. README.md says how to package and install it, and\n%s/docs/writing-a-plugin.md what makes a good plugin.", docs)
	if strings.HasPrefix(o.Kind, "com.example.") {
		line("\nThe kind %s is for trying: choose one below a domain of yours\nbefore anybody else uses the plugin.", o.Kind)
	}
	return b.String()
}
