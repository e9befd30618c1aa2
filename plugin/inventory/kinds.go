package inventory

import (
	"encoding/json"
	"time"

	"github.com/openpf9/openpf9/plugin"
)

// Kind is what the plugins of a host declare of a kind that is not of the
// core. The agent lists it itself, so that declarations travel, are compared
// and go stale like everything else that a host has.
type Kind struct {
	Version int             `json:"version"` // of the schema; the highest, if plugins differ
	Schema  json.RawMessage `json:"schema,omitempty"`
	Columns []plugin.Column `json:"columns,omitempty"`
	Modules []string        `json:"modules"` // that declare it, sorted
	// Problem says what of the declaration was left out, and why.
	Problem string `json:"problem,omitempty"`
}

// Extension is the result of an executable of the field's: fetch_<name> or
// check_<name> in the extensions directory. The compatible API shows it under
// "extensions", by name, in both versions; only interfaces, resource_usage,
// volumes_present and ip_address are there always, made from the inventory, and
// win over an executable of the same name. It says nothing of when or how long the executable
// ran, for it must be the same while the answer is.
type Extension struct {
	// Status is one of the field's words, below.
	Status string `json:"status"`
	// Data is what the executable printed, or a JSON string that says what went
	// wrong if that was no JSON or Status is not ok.
	Data json.RawMessage `json:"data"`
	// Check tells check_<name> from fetch_<name>.
	Check bool `json:"check,omitempty"`
	// Path is the executable's.
	Path string `json:"path,omitempty"`
	// ExitStatus is the executable's; nil: it has not ended by itself.
	ExitStatus *int `json:"exit_status,omitempty"`
}

// The statuses of an extension.
const (
	ExtensionOK       = "ok"
	ExtensionError    = "error"
	ExtensionTimedOut = "timed-out"
)

// Plugin is a plugin that the host's configuration enables: what it is, and how
// it fares. The agent lists it itself.
type Plugin struct {
	// State is a module's: "starting", "ok", "degraded" or "failed".
	State  string    `json:"state"`
	Reason string    `json:"state_reason,omitempty"` // why the state is not ok
	Since  time.Time `json:"since"`                  // when the state began
	// Version, SDK and Protocol are what the plugin said last of itself.
	Version  string   `json:"version,omitempty"`
	SDK      string   `json:"sdk,omitempty"`
	Protocol int      `json:"protocol,omitempty"`
	Kinds    []string `json:"kinds,omitempty"` // that it may list, sorted
	Runner   string   `json:"runner"`          // "systemd" or "exec"
	// BinarySHA256 and ManifestSHA256 are of the files that it was started from.
	BinarySHA256   string `json:"binary_sha256,omitempty"`
	ManifestSHA256 string `json:"manifest_sha256,omitempty"`
	Resources      int    `json:"resources"` // in force
	Restarts       int    `json:"restarts"`  // since the agent's start or its last reload
}
