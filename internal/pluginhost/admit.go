package pluginhost

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
	"github.com/openpf9/openpf9/plugin/protocol"
	"github.com/openpf9/openpf9/plugin/schema"
)

// ownKind says whether a kind is for the agent alone to list.
func ownKind(k string) bool { return strings.HasPrefix(k, "agent.") }

// grantable says whether a core kind can be granted.
func grantable(k string) error {
	switch {
	case ownKind(k):
		return fmt.Errorf("%q is the agent's own and cannot be granted", k)
	case !inventory.IsCore(k):
		return fmt.Errorf("%q is no core kind; only core kinds need a grant", k)
	}
	return nil
}

// admit judges a plugin by its hello, and returns its configuration.
func admit(h *protocol.Hello, m *Manifest, s *Settings) (json.RawMessage, error) {
	if h.Name != s.Name {
		return nil, fmt.Errorf("it calls itself %q, and is installed as %q", h.Name, s.Name)
	}
	for _, k := range h.Kinds {
		switch {
		case ownKind(k.Name):
			return nil, fmt.Errorf("the kind %s is the agent's own", k.Name)
		case !slices.Contains(m.Kinds, k.Name):
			return nil, fmt.Errorf("the kind %s is not in its manifest, which has %s", k.Name, strings.Join(m.Kinds, ", "))
		case inventory.IsCore(k.Name) && !slices.Contains(s.Grants, k.Name):
			return nil, fmt.Errorf("the core kind %s is not granted; if it may list it: [plugins.%q] grants = [%q]", k.Name, s.Name, k.Name)
		}
	}
	return s.Config, fits(h, s)
}

// fits holds the configuration to the schema of the plugin's hello.
func fits(h *protocol.Hello, s *Settings) error {
	if len(s.Config) == 0 {
		return nil
	}
	if len(h.ConfigSchema) == 0 {
		return fmt.Errorf("plugins.%s.config: the plugin takes no configuration", s.Name)
	}
	wanted, err := schema.Parse(h.ConfigSchema)
	if err != nil {
		return fmt.Errorf("the schema of its configuration: %w", err)
	}
	return wanted.Validate("plugins."+s.Name+".config", s.Config)
}

// names returns the kinds' names, sorted.
func names(kinds []protocol.Kind) []string {
	out := make([]string, 0, len(kinds))
	for _, k := range kinds {
		out = append(out, k.Name)
	}
	slices.Sort(out)
	return out
}

// declarations returns what a hello declares of custom kinds.
func declarations(kinds []protocol.Kind) []plugin.Kind {
	var out []plugin.Kind
	for _, k := range kinds {
		if !inventory.IsCore(k.Name) {
			out = append(out, plugin.Kind{Name: k.Name, Version: max(k.Version, 1), Schema: k.Schema, Columns: k.Columns})
		}
	}
	return out
}

// admitted returns those of a manifest's kinds that the configuration allows.
func admitted(m *Manifest, s *Settings) []string {
	var out []string
	for _, k := range m.Kinds {
		if !inventory.IsCore(k) || slices.Contains(s.Grants, k) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
