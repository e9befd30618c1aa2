package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/scaffold"
)

// self is this program as a person calls it, or "" if its name will do.
func self(name string) string {
	path, err := os.Executable()
	switch {
	case err != nil, filepath.Base(path) == name && slices.Contains(filepath.SplitList(os.Getenv("PATH")), filepath.Dir(path)):
		return ""
	case strings.Contains(path, "/go-build"):
		return "/path/to/" + name // of go run, which takes it away
	}
	return path
}

// pluginNew is `plugin new`: it writes a plugin that works, to begin with.
func pluginNew(_ context.Context, c *command) error {
	o := scaffold.Options{SDKVersion: daemon.Version(), Agent: self(c.program.Name)}
	f := flag.NewFlagSet("plugin new", flag.ContinueOnError)
	f.SetOutput(c.errs)
	f.StringVar(&o.Lang, "lang", "go", "`language`: go or python")
	f.StringVar(&o.Dir, "dir", "", "`folder` to write; by default NAME")
	f.StringVar(&o.Kind, "kind", "", "`kind` that it lists, below a domain of yours, reversed: com.acme.lun")
	f.StringVar(&o.Module, "module", "", "`path` of the Go module; by default example.com/NAME")
	f.StringVar(&o.SDK, "sdk", "", "`folder` of a checkout of openpf9 to build with, instead of the published module")
	f.Usage = func() {
		fmt.Fprintf(c.errs, "usage: %s plugin new NAME [flags]\n\n"+
			"writes a discovery plugin with its tests, manifest, units and packages.\n\n", c.program.Name)
		f.PrintDefaults()
	}
	var names []string
	args := c.args
	for { // flags may stand behind the name
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return ErrUsage
		}
		if f.NArg() == 0 {
			break
		}
		names, args = append(names, f.Arg(0)), f.Args()[1:]
	}
	if len(names) != 1 {
		fmt.Fprintf(c.errs, "%s plugin new: want one name, not %d\n", c.program.Name, len(names))
		f.Usage()
		return ErrUsage
	}
	o.Name = names[0]
	dir, files, err := scaffold.Write(o)
	if err != nil {
		return fmt.Errorf("plugin new: %w", err)
	}
	fmt.Fprintf(c.out, "%s: a plugin in %d files:\n\n", dir, len(files))
	for _, name := range files {
		fmt.Fprintf(c.out, "    %s\n", name)
	}
	_, err = fmt.Fprintf(c.out, "\n%s", scaffold.Steps(o))
	return err
}
