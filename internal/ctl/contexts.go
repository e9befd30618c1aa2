package ctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/internal/atomicfile"
	"github.com/openpf9/openpf9/internal/client"
	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
)

// unit says how to reach a deployment unit. The token stays in a file of its
// own, so that the file of contexts holds no secret.
type unit struct {
	URL       string `toml:"url" json:"url"`
	TokenFile string `toml:"token_file" json:"token_file"`
	CAFile    string `toml:"ca_file,omitempty" json:"ca_file,omitempty"`
}

// contexts is the file of contexts.
type contexts struct {
	Current  string          `toml:"current" json:"current"`
	Contexts map[string]unit `toml:"contexts" json:"contexts"`
}

func (a *app) path() (string, error) {
	if a.file != "" {
		return a.file, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the file of contexts, or name it with --config: %w", err)
	}
	return filepath.Join(dir, "pf9", "config.toml"), nil
}

// load reads the file of contexts; one that is missing is empty.
func (a *app) load() (contexts, error) {
	c := contexts{Contexts: make(map[string]unit)}
	path, err := a.path()
	if err != nil {
		return c, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	} else if err != nil {
		return c, err
	}
	defer func() { _ = f.Close() }()
	if err := toml.NewDecoder(io.LimitReader(f, 1<<20)).DisallowUnknownFields().Decode(&c); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	if c.Contexts == nil {
		c.Contexts = make(map[string]unit)
	}
	return c, nil
}

func (a *app) save(c contexts) error {
	path, err := a.path()
	if err != nil {
		return err
	}
	text, err := toml.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(path, text, 0o600)
}

// deploymentUnit is what flags say, over what the context says.
func (a *app) deploymentUnit() (unit, error) {
	var d unit
	if a.url == "" || a.context != "" {
		c, err := a.load()
		if err != nil {
			return d, err
		}
		name := a.context
		if name == "" {
			name = c.Current
		}
		if name == "" {
			return d, errors.New("no deployment unit is named; use --url, or once: pf9ctl context set NAME --url URL --token-file FILE")
		}
		var found bool
		if d, found = c.Contexts[name]; !found {
			return d, fmt.Errorf("there is no context %q; see pf9ctl context list", name)
		}
	}
	for to, from := range map[*string]string{&d.URL: a.url, &d.TokenFile: a.tokenFile, &d.CAFile: a.caFile} {
		if from != "" {
			*to = from
		}
	}
	return d, nil
}

func readToken(file string) (string, error) {
	if file == "" {
		return "", errors.New("no API token; name its file with --token-file")
	}
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read the API token: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", fmt.Errorf("read the API token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (a *app) contextCommand() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List the deployment units", Args: exactly(), RunE: func(*cobra.Command, []string) error {
		c, err := a.load()
		if err != nil {
			return err
		}
		t := table{head: []string{"CURRENT", "NAME", "URL", "TOKEN FILE", "CA FILE"}, wide: 3}
		for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
			mark, d := "", c.Contexts[name]
			if name == c.Current {
				mark = "*"
			}
			t.add(mark, name, d.URL, d.TokenFile, d.CAFile)
		}
		return a.print(c, t)
	}}
	set := &cobra.Command{Use: "set NAME", Short: "Add or change a deployment unit, and use it", Args: exactly("NAME"), RunE: func(_ *cobra.Command, args []string) error {
		c, err := a.load()
		if err != nil {
			return err
		}
		d := c.Contexts[args[0]]
		for to, from := range map[*string]string{&d.TokenFile: a.tokenFile, &d.CAFile: a.caFile} {
			if from == "" {
				continue
			}
			if *to, err = filepath.Abs(from); err != nil {
				return err
			}
		}
		if a.url != "" {
			d.URL = a.url
		}
		if d.URL == "" {
			return usagef("--url is missing")
		}
		token, err := readToken(d.TokenFile)
		if err != nil {
			return err
		}
		if _, err := client.New(client.Options{URL: d.URL, Token: token, CAFile: d.CAFile}); err != nil {
			return err
		}
		c.Contexts[args[0]], c.Current = d, args[0]
		if err := a.save(c); err != nil {
			return err
		}
		return a.done("context %s: set, and used from now on: %s", args[0], d.URL)
	}}
	use := a.changeContext("use", "Use a deployment unit from now on", func(c *contexts, name string) string {
		c.Current = name
		return "used from now on: " + c.Contexts[name].URL
	})
	remove := a.changeContext("remove", "Forget a deployment unit", func(c *contexts, name string) string {
		if delete(c.Contexts, name); c.Current != name {
			return "removed"
		}
		c.Current = ""
		return "removed, and none is used now; see pf9ctl context use"
	})
	return group("context", "Name the deployment units that you work with", list, set, use, remove)
}

// changeContext is a command about one context. change returns what to print.
func (a *app) changeContext(verb, short string, change func(*contexts, string) string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Args: exactly("NAME"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			c, _ := a.load() // no names then
			return slices.Sorted(maps.Keys(c.Contexts)), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			if _, found := c.Contexts[args[0]]; !found {
				return fmt.Errorf("there is no context %q; see pf9ctl context list", args[0])
			}
			words := change(&c, args[0])
			if err := a.save(c); err != nil {
				return err
			}
			return a.done("context %s: %s", args[0], words)
		},
	}
}
