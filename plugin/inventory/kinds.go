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

// Core returns the core kinds, as a plugin would declare them. Their schemas
// are the structs of this package.
func Core() []plugin.Kind {
	column := func(name, path string) plugin.Column { return plugin.Column{Name: name, Path: path} }
	wide := func(name, path string) plugin.Column { return plugin.Column{Name: name, Path: path, Wide: true} }
	kind := func(name string, columns ...plugin.Column) plugin.Kind {
		return plugin.Kind{Name: name, Version: 1, Columns: columns}
	}
	return []plugin.Kind{
		kind(KindHost, column("OS", "os.pretty_name"), column("KERNEL", "os.kernel"), column("THREADS", "cpu.threads"), column("MEMORY", "memory_bytes"),
			wide("MODEL", "cpu.model"), wide("VENDOR", "hardware.vendor"), wide("PRODUCT", "hardware.product")),
		kind(KindVM, column("VCPUS", "vcpus"), column("MEMORY", "memory_bytes"), wide("REASON", "state_reason"), wide("AUTOSTART", "autostart"), wide("HYPERVISOR", "hypervisor")),
		kind(KindLink, column("TYPE", "type"), column("ADDRESS", "addresses.0.cidr"), column("MASTER", "master"), wide("MAC", "mac"), wide("MTU", "mtu")),
		kind(KindRoute, column("FAMILY", "family"), column("GATEWAY", "gateway"), column("LINK", "link"), wide("SOURCE", "source"), wide("METRIC", "metric")),
		kind(KindOVSBridge, column("DATAPATH", "datapath_type"), wide("FAIL MODE", "fail_mode"), wide("CONTROLLER", "controllers.0")),
		kind(KindNetwork, column("ACTIVE", "active"), column("BRIDGE", "bridge"), column("FORWARD", "forward"), wide("ADDRESS", "addresses.0")),
		kind(KindFilesystem, column("TYPE", "type"), column("SIZE", "total_bytes"), column("FREE", "available_bytes"), column("MOUNT", "mounts.0"), wide("SOURCE", "source")),
		kind(KindDevice, column("TYPE", "type"), column("SIZE", "size_bytes"), column("MODEL", "model"), wide("PATH", "path"), wide("SERIAL", "serial")),
		kind(KindVolumeGroup, column("SIZE", "size_bytes"), column("FREE", "free_bytes")),
		kind(KindPool, column("TYPE", "type"), column("SIZE", "capacity_bytes"), column("FREE", "available_bytes"), wide("PATH", "path")),
		kind(KindVolume, column("POOL", "pool"), column("FORMAT", "format"), column("SIZE", "capacity_bytes"), wide("PATH", "path")),
		kind(KindExtension, column("STATUS", "status"), wide("PATH", "path")),
		kind(KindKind, column("VERSION", "version"), column("MODULE", "modules.0")),
		kind(KindPlugin, column("VERSION", "version"), column("RESOURCES", "resources"), column("RESTARTS", "restarts"), column("REASON", "state_reason"),
			wide("RUNNER", "runner"), wide("SDK", "sdk"), wide("SHA256", "binary_sha256")),
	}
}

// IsCore says whether a kind is one of the core's.
func IsCore(name string) bool {
	switch name {
	case KindHost, KindVM, KindLink, KindRoute, KindOVSBridge, KindNetwork, KindFilesystem, KindDevice,
		KindVolumeGroup, KindPool, KindVolume, KindExtension, KindKind, KindPlugin:
		return true
	}
	return false
}
