// Package scaffold writes a new discovery plugin that works as it is: source,
// tests, manifest, systemd units and the recipes of packages. It is behind
// `pf9-hostagent plugin new`.
//
// It is for somebody who begins a plugin in a folder of their own. It changes
// nothing that is there, runs nothing and fetches nothing.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/internal/pluginhost"
)

// Options say what to write.
type Options struct {
	// Name is the plugin's, and that of its files.
	Name string
	// Lang is the language, go or python.
	Lang string
	// Dir is the folder to make; it may exist if it is empty. "" means Name.
	Dir string
	// Kind is the kind that the plugin lists, "com.acme.lun". "" makes one below
	// com.example, which is for trying only.
	Kind string
	// Module is the Go module's path; "" means example.com/Name.
	Module string
	// SDK is the folder of a checkout of openpf9 that a Go plugin is to be built
	// with; "" means the published module.
	SDK string
	// SDKVersion is the version of the SDK that a Go plugin requires. If it is no
	// release, only a checkout will do.
	SDKVersion string
	// Agent is the agent's program, for what Steps says; "" means pf9-hostagent,
	// found in PATH.
	Agent string
}

// languages are those that a plugin can be written in.
var languages = []string{"go", "python"}

// unreleased is the SDK version that stands for a checkout.
const unreleased = "v0.0.0"

// goVersion is the oldest Go that the SDK builds with.
const goVersion = "1.26.0"

const libexec = "/usr/libexec/pf9-hostagent/"

// In the names of templates NAME and PACKAGE are replaced.
//
//go:embed templates
var templates embed.FS

// data is what the templates see.
type data struct {
	Options
	Go        bool
	Released  bool // the SDK's version is
	GoVersion string
	Package   string   // of rpm and deb
	Unit      string   // of systemd, without what follows
	Program   string   // as installed
	Before    []string // that stands before the program in what starts it
}

func (d data) names() map[string]string {
	return map[string]string{
		"Name": d.Name, "Kind": d.Kind, "Module": d.Module, "SDK": d.SDK, "SDKVersion": d.SDKVersion,
		"GoVersion": d.GoVersion, "Package": d.Package, "Unit": d.Unit, "Program": d.Program,
		"Exec":  `"` + strings.Join(append(slices.Clone(d.Before), d.Program), `", "`) + `"`, // as TOML has it
		"Start": strings.Join(append(slices.Clone(d.Before), ""), " "),                       // to go before the program
	}
}

func (d data) flags() map[string]bool {
	return map[string]bool{"Go": d.Go, "SDK": d.SDK != "", "Released": d.Released}
}

// Write writes the plugin and returns its folder and the files in it, sorted.
func Write(o Options) (dir string, files []string, err error) {
	if err := o.complete(); err != nil {
		return "", nil, err
	}
	texts, err := render(newData(o))
	if err != nil {
		return "", nil, err
	}
	if err := vacant(o.Dir); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return "", nil, err
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = root.Close() }()
	for name, text := range texts {
		if err := writeNew(root, name, text); err != nil {
			return "", nil, fmt.Errorf("write %s: %w", filepath.Join(o.Dir, name), err)
		}
		files = append(files, name)
	}
	slices.Sort(files)
	return o.Dir, files, nil
}

func newData(o Options) data {
	d := data{
		Options: o, Go: o.Lang == "go", Released: o.SDKVersion != unreleased, GoVersion: goVersion,
		Package: "pf9-plugin-" + o.Name, Unit: pluginhost.UnitName(o.Name), Program: libexec + o.Name,
	}
	if !d.Go {
		d.Program += ".py"
		d.Before = []string{"/usr/bin/python3", "-I"} // -I: files beside it are no modules
	}
	return d
}

// render returns the files' texts by their names.
func render(d data) (map[string][]byte, error) {
	texts := make(map[string][]byte)
	for _, folder := range []string{"common", d.Lang} {
		entries, err := templates.ReadDir("templates/" + folder)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			file := path.Join("templates", folder, e.Name())
			raw, err := templates.ReadFile(file)
			if err != nil {
				return nil, err
			}
			text, err := expand(string(raw), d.names(), d.flags())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			texts[d.fileName(strings.TrimSuffix(e.Name(), ".tmpl"))] = []byte(text)
		}
	}
	manifest := d.Name + ".toml"
	m, err := pluginhost.ParseManifest(manifest, bytes.NewReader(texts[manifest]))
	if err != nil {
		return nil, err
	}
	for _, u := range pluginhost.Units(m) {
		texts["packaging/"+u.Name] = []byte(u.Text)
	}
	return texts, nil
}

// fileName says where the file of a template goes.
func (d data) fileName(template string) string {
	name := strings.NewReplacer("NAME", d.Name, "PACKAGE", d.Package).Replace(template)
	switch {
	case template == "gitignore":
		return ".gitignore"
	case strings.HasPrefix(template, "PACKAGE"), strings.HasSuffix(template, ".sh"):
		return "packaging/" + name
	}
	return name
}

// vacant wants nothing there that could be overwritten.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: %w", dir, fs.ErrExist)
	}
	return nil
}

func writeNew(root *os.Root, name string, text []byte) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if bytes.HasPrefix(text, []byte("#!")) {
		mode = 0o755
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
