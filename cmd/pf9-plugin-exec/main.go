// Command pf9-plugin-exec is the plugin for who has executables and no plugin.
// It runs the field's fetch_* and check_* extensions, unchanged, and any command
// that prints resources, a JSON object a line:
//
//	{"kind":"com.example.rack","id":"7","name":"r7","spec":{"height":42}}
//
// A command that ends with another status than 0 has failed: what it listed last
// stays in force. An extension that fails says so itself, as its status.
//
// The kinds that it may list are arguments, for a plugin names them before it
// has its configuration: --kind com.example.rack. By hand it prints what it
// would list, see --help behind these.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

const version = "1.0.0"

// The place of extensions that the field knows.
const extensionsDir = "/opt/pf9/hostagent/extensions"

type config struct {
	Extensions       string          `json:"extensions" help:"directory of fetch_* and check_* executables; empty: none"`
	ExtensionTimeout plugin.Duration `json:"extension_timeout" help:"how long an extension may run"`
	AtOnce           int             `json:"at_once" min:"1" help:"how many executables may run at a time"`
	MaxOutput        int             `json:"max_output" min:"1" help:"how many bytes an executable may print"`
	Commands         []command       `json:"commands" help:"commands that print resources, one JSON object a line"`
}

type command struct {
	Command  []string        `json:"command" help:"the program, with its whole path, and its arguments"`
	Interval plugin.Duration `json:"interval" help:"how often to run it; empty: at each list"`
	Timeout  plugin.Duration `json:"timeout" help:"how long it may run; empty: 30s"`
}

func main() {
	name, kinds, rest, err := arguments(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "pf9-plugin-exec:", err)
		os.Exit(2)
	}
	os.Args = append(os.Args[:1], rest...)
	p := plugin.Plugin[config]{
		Name: name, Version: version, Timeout: 10 * time.Minute,
		Config: config{ExtensionTimeout: plugin.Duration(2 * time.Minute), AtOnce: 2, MaxOutput: 200 << 10, Commands: []command{}},
		New:    func(_ context.Context, c config) (plugin.Source, error) { return newSource(c, kinds) },
	}
	for _, k := range kinds {
		p.Kinds = append(p.Kinds, plugin.Kind{Name: k})
	}
	if slices.Contains(kinds, inventory.KindExtension) {
		p.Config.Extensions = extensionsDir
	}
	plugin.Serve(p)
}

// arguments takes --name and --kind from the front, and leaves the rest to the SDK.
func arguments(args []string) (name string, kinds, rest []string, err error) {
	name = "exec"
	for len(args) > 0 && (args[0] == "--name" || args[0] == "--kind") {
		if len(args) == 1 {
			return "", nil, nil, fmt.Errorf("%s what?", args[0])
		}
		if args[0] == "--name" {
			name = args[1]
		} else {
			kinds = append(kinds, args[1])
		}
		args = args[2:]
	}
	if len(kinds) == 0 {
		kinds = []string{inventory.KindExtension}
	}
	return name, kinds, args, nil
}
