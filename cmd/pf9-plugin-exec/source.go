package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

const defaultTimeout = 30 * time.Second

// source runs executables and lists what they say.
type source struct {
	config config
	kinds  []string

	mu   sync.Mutex // held by List, one at a time
	last []answer   // by command
}

// answer is what a command has listed.
type answer struct {
	at        time.Time // zero: it has not
	resources []plugin.Resource
}

func newSource(c config, kinds []string) (*source, error) {
	if c.ExtensionTimeout <= 0 {
		return nil, plugin.BadConfig("extension_timeout", "%v: want more than 0", time.Duration(c.ExtensionTimeout))
	}
	if c.Extensions != "" && !filepath.IsAbs(c.Extensions) {
		return nil, plugin.BadConfig("extensions", "%q: want a whole path", c.Extensions)
	}
	for i, cmd := range c.Commands {
		if len(cmd.Command) == 0 || !filepath.IsAbs(cmd.Command[0]) {
			return nil, plugin.BadConfig(fmt.Sprintf("commands[%d].command", i), "%q: want the program, with its whole path, and its arguments", cmd.Command)
		}
		if cmd.Timeout < 0 || cmd.Interval < 0 {
			return nil, plugin.BadConfig(fmt.Sprintf("commands[%d]", i), "want a timeout and an interval of 0 or more")
		}
	}
	return &source{config: c, kinds: kinds, last: make([]answer, len(c.Commands))}, nil
}

// List runs the extensions and the commands that are due. If one command fails
// there is no complete list.
func (s *source) List(ctx context.Context, emit func(plugin.Resource)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	turns := make(chan struct{}, s.config.AtOnce)
	var wg sync.WaitGroup
	do := func(f func()) {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			f()
		})
	}
	extensions, err := s.extensions()
	for i := range extensions {
		do(func() { extensions[i].run(ctx, &s.config) })
	}
	failed := make([]error, len(s.last))
	for i := range s.last {
		if s.due(i) {
			do(func() { failed[i] = s.command(ctx, i) })
		}
	}
	wg.Wait()
	if err := errors.Join(append(failed, err, ctx.Err())...); err != nil {
		return err
	}
	for _, x := range extensions {
		emit(x.resource())
	}
	for _, a := range s.last {
		for _, r := range a.resources {
			emit(r)
		}
	}
	return nil
}

func (s *source) due(i int) bool {
	every := time.Duration(s.config.Commands[i].Interval)
	return s.last[i].at.IsZero() || time.Since(s.last[i].at) >= every
}

// command runs one command and keeps what it lists.
func (s *source) command(ctx context.Context, i int) error {
	c := s.config.Commands[i]
	timeout := time.Duration(c.Timeout)
	if timeout == 0 {
		timeout = defaultTimeout
	}
	name := strings.Join(c.Command, " ")
	out, err := execute(ctx, c.Command, timeout, s.config.MaxOutput)
	if err == nil && out.status != 0 {
		err = fmt.Errorf("exit status %d: %s", out.status, out.said())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	rs, err := parse(out.stdout, s.kinds)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.last[i] = answer{time.Now(), rs}
	return nil
}

// parse reads resources, a JSON object a line.
func parse(text []byte, kinds []string) ([]plugin.Resource, error) {
	var out []plugin.Resource
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var r struct {
			plugin.Key
			Name   string          `json:"name"`
			Parent plugin.Key      `json:"parent"`
			Spec   json.RawMessage `json:"spec"`
			Ext    map[string]any  `json:"ext"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		switch {
		case !slices.Contains(kinds, r.Kind):
			return nil, fmt.Errorf("line %d: kind %.80q: it was started for %s", n, r.Kind, strings.Join(kinds, ", "))
		case r.ID == "":
			return nil, fmt.Errorf("line %d: no id", n)
		case len(r.Spec) == 0 || r.Spec[0] != '{':
			return nil, fmt.Errorf("line %d: the spec is no object", n)
		}
		out = append(out, plugin.Resource{Key: r.Key, Name: r.Name, Parent: r.Parent, Spec: r.Spec, Ext: r.Ext})
	}
	return out, nil
}
