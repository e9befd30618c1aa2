package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// A Rule is the name of something that plugins must keep to. The names stand in
// docs/plugin-protocol.md and in the reports of the conformance kit.
type Rule string

// The rules that a Session holds a plugin to.
const (
	RuleHello     Rule = "hello-complete"
	RuleProtocol  Rule = "protocol-number"
	RuleJSON      Rule = "one-json-object-a-line"
	RuleLineSize  Rule = "line-size"
	RuleDirection Rule = "messages-of-a-plugin"
	RuleSeq       Rule = "seq-without-gap"
	RuleSnapshot  Rule = "snapshot-first"
	RuleCount     Rule = "count-matches"
	RuleUnique    Rule = "no-duplicate-ids"
	RuleKinds     Rule = "only-declared-kinds"
	RuleResource  Rule = "valid-resources"
	RuleSize      Rule = "size-limits"
	RuleStatus    Rule = "valid-status"
)

// A Violation is a plugin's breach of a rule. It ends the session.
type Violation struct {
	Rule Rule
	Text string
}

func (v *Violation) Error() string {
	return "the plugin breaks the protocol: " + v.Text + " (" + string(v.Rule) + ")"
}

func violation(r Rule, format string, args ...any) error {
	return &Violation{Rule: r, Text: fmt.Sprintf(format, args...)}
}

const (
	maxName   = 255
	maxSpec   = 256 << 10
	maxExt    = 16 << 10
	maxSchema = 64 << 10
)

// MaxHelloKinds bounds the kinds of one plugin.
const MaxHelloKinds = 64

// Validate says what is missing or wrong in a hello.
func (h *Hello) Validate() error {
	switch {
	case len(h.Protocols) == 0 || len(h.Protocols) > 16:
		return violation(RuleHello, "hello.protocols has %d numbers, want 1 to 16", len(h.Protocols))
	case !word(h.Name, "-."):
		return violation(RuleHello, "hello.name %.80q: want 1 to 64 lower-case letters, digits, \"-\" and \".\"", h.Name)
	case h.Version == "" || len(h.Version) > 64:
		return violation(RuleHello, "hello.version %.80q: want 1 to 64 bytes", h.Version)
	case len(h.SDK) > maxName:
		return violation(RuleHello, "hello.sdk has more than %d bytes", maxName)
	case len(h.Kinds) == 0 || len(h.Kinds) > MaxHelloKinds:
		return violation(RuleHello, "hello.kinds has %d kinds, want 1 to %d", len(h.Kinds), MaxHelloKinds)
	case len(h.ConfigSchema) > maxSchema || len(h.ConfigSchema) > 0 && !isObject(h.ConfigSchema):
		return violation(RuleHello, "hello.config_schema: want an object of at most %d bytes", maxSchema)
	}
	seen := make(map[string]bool)
	for _, k := range h.Kinds {
		if err := k.Validate(); err != nil {
			return violation(RuleHello, "hello.kinds: %v", err)
		}
		if seen[k.Name] {
			return violation(RuleHello, "hello.kinds: %q is declared twice", k.Name)
		}
		seen[k.Name] = true
	}
	return nil
}

// Validate checks the limits that every resource must keep.
func (r *Resource) Validate() error {
	switch {
	case r.ID == "" || len(r.ID) > maxName:
		return violation(RuleResource, "%s: id %.80q: want 1 to %d bytes", r.Kind, r.ID, maxName)
	case len(r.Name) > maxName:
		return violation(RuleResource, "%s %s: the name has more than %d bytes", r.Kind, r.ID, maxName)
	case r.Parent != Key{} && !r.Parent.valid():
		return violation(RuleResource, "%s %s: parent %.80q %.80q: want a kind and an id of 1 to %d bytes, or no parent", r.Kind, r.ID, r.Parent.Kind, r.Parent.ID, maxName)
	case !isObject(r.Spec):
		return violation(RuleResource, "%s %s: the spec is no JSON object", r.Kind, r.ID)
	case len(r.Spec) > maxSpec:
		return violation(RuleResource, "%s %s: the spec has %d bytes, more than %d", r.Kind, r.ID, len(r.Spec), maxSpec)
	case len(r.Ext) > maxExt || len(r.Ext) > 0 && !isObject(r.Ext):
		return violation(RuleResource, "%s %s: ext: want an object of at most %d bytes", r.Kind, r.ID, maxExt)
	}
	return nil
}

// Validate checks a status.
func (s *Status) Validate() error {
	if s.Level != OK && s.Level != Degraded && s.Level != Failed {
		return violation(RuleStatus, "status.level %.80q: want %s, %s or %s", s.Level, OK, Degraded, Failed)
	}
	if len(s.Code) > 64 || len(s.Text) > 4096 {
		return violation(RuleStatus, "status: the code has at most 64 bytes, the text 4096")
	}
	return nil
}

// Validate checks an event.
func (e *Event) Validate() error {
	if e.Type == "" || len(e.Type) > 64 || !e.About.valid() || len(e.Data) > maxExt {
		return violation(RuleStatus, "event: want a kind and an id, a type of 1 to 64 bytes and at most %d bytes of data", maxExt)
	}
	return nil
}

// valid says whether k can name a resource.
func (k *Key) valid() bool { return ValidKind(k.Kind) && k.ID != "" && len(k.ID) <= maxName }

// ValidKind says whether s can name a kind.
func ValidKind(s string) bool {
	return word(s, "-._") && strings.Contains(s, ".") && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

// word reports whether s is 1 to 64 lower-case letters, digits and others.
func word(s, others string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func isObject(b json.RawMessage) bool {
	b = bytes.TrimSpace(b)
	return len(b) > 0 && b[0] == '{'
}

// Choose returns the newest protocol number that both ends speak. Its error
// names both ends and says which of them is too old.
func Choose(h *Hello, agent string) (int, error) {
	if len(h.Protocols) == 0 {
		return 0, violation(RuleHello, "hello.protocols is empty")
	}
	best, newest := 0, 0
	for _, p := range h.Protocols {
		newest = max(newest, p)
		if p >= Oldest && p <= Version {
			best = max(best, p)
		}
	}
	if best > 0 {
		return best, nil
	}
	remedy := "upgrade " + agent
	if newest < Oldest {
		remedy = "upgrade the plugin " + h.Name
	}
	ours := fmt.Sprint(Version)
	if Oldest < Version {
		ours = fmt.Sprintf("%d to %d", Oldest, Version)
	}
	return 0, violation(RuleProtocol, "plugin %s %s speaks protocol %s, %s speaks %s: %s",
		h.Name, h.Version, strings.Trim(fmt.Sprint(h.Protocols), "[]"), agent, ours, remedy)
}
