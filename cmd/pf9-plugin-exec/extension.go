package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// extension is one executable of the field's.
type extension struct {
	name string // without its prefix, unless another has that
	inventory.Extension
}

// extensions finds the executables. A directory that is not there has none.
func (s *source) extensions() ([]*extension, error) {
	if s.config.Extensions == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(s.config.Extensions)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []*extension
	taken := make(map[string]bool)
	for _, prefix := range []string{"fetch_", "check_"} { // a fetch_ has the first word on the name
		for _, e := range entries {
			name, ok := strings.CutPrefix(e.Name(), prefix)
			if !ok || name == "" || !s.runnable(e.Name()) {
				continue
			}
			x := &extension{name: name}
			x.Check, x.Path = prefix == "check_", filepath.Join(s.config.Extensions, e.Name())
			if taken[name] {
				x.name = e.Name()
			}
			taken[x.name] = true
			found = append(found, x)
		}
	}
	slices.SortFunc(found, func(a, b *extension) int { return strings.Compare(a.name, b.name) })
	return found, nil
}

// runnable says whether a file is an executable.
func (s *source) runnable(name string) bool {
	info, err := os.Stat(filepath.Join(s.config.Extensions, name))
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// run runs the executable and keeps its answer.
func (x *extension) run(ctx context.Context, c *config) {
	info, err := os.Stat(x.Path)
	if err == nil && info.Mode().Perm()&0o002 != 0 {
		err = fmt.Errorf("it is not run: anybody can change it; chmod o-w %s", x.Path)
	}
	if err != nil {
		x.fail(inventory.ExtensionError, err.Error())
		return
	}
	out, err := execute(ctx, []string{x.Path}, time.Duration(c.ExtensionTimeout), c.MaxOutput)
	if err == nil {
		x.ExitStatus = &out.status
	}
	switch {
	case errors.Is(err, errTimedOut):
		x.fail(inventory.ExtensionTimedOut, err.Error())
	case err != nil:
		x.fail(inventory.ExtensionError, err.Error())
	case out.status != 0:
		x.fail(inventory.ExtensionError, out.said())
	case !json.Valid(out.stdout):
		x.fail(inventory.ExtensionError, "it printed no JSON: "+out.said())
	default:
		x.Status, x.Data = inventory.ExtensionOK, out.stdout
	}
}

func (x *extension) fail(status, why string) {
	x.Status = status
	x.Data, _ = json.Marshal(why) // a string always encodes
}

func (x *extension) resource() plugin.Resource {
	return plugin.Resource{Key: plugin.Key{Kind: inventory.KindExtension, ID: x.name}, Name: x.name, Spec: x.Extension}
}
