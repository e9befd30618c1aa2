// Package archtest holds the import rules of docs/architecture.md as a test:
// who may import what, which package owns which outside module, and that every
// package says what it is for. If it stops you, either the design or the rule
// is wrong: say which in the commit.
package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Module is the import path of the repository's root.
const Module = "github.com/openpf9/openpf9"

// A Package is what the rules look at.
type Package struct {
	ImportPath string
	Name       string
	Doc        string   // the package comment's first sentence
	Standard   bool     // part of the standard library
	Imports    []string // outside of tests
}

// A Rule forbids imports. Paths are relative to Module: "x/..." matches x and
// everything below it, "x/*" only what is below.
type Rule struct {
	From string   // importing packages
	May  []string // of our own packages; nil with Only unset: any
	Not  []string // of our own packages
	Std  bool     // nothing from outside of the standard library
	Why  string
}

// Rules are the import rules, each with its reason.
var Rules = []Rule{
	{From: "plugin/...", May: []string{"plugin/..."}, Std: true, Why: "a third party vendors the SDK without our dependencies"},
	{From: "internal/wire", May: []string{"plugin", "plugin/inventory"}, Std: true, Why: "messages are plain structs"},
	{From: "internal/...", Not: []string{"agent/...", "gateway/...", "controlplane/...", "rpm/...", "ova/...", "cmd/..."}, Why: "internal is mechanism"},
	{From: "agent/...", Not: []string{"gateway/...", "controlplane/..."}, Why: "the tiers meet in internal/wire"},
	{From: "gateway/...", Not: []string{"controlplane/..."}, Why: "the tiers meet in internal/wire"},
	{From: "gateway/...", Not: hostOnly, Why: "the gateway reuses the agent's core, not what is a KVM host's"},
	{From: "agent/core", Not: hostOnly, Why: "the gateway links it, and must not link a KVM host's modules"},
	{From: "agent/cli", Not: hostOnly, Why: "the gateway links it, and must not link a KVM host's modules"},
	{From: "controlplane/...", Not: []string{"agent/...", "gateway/..."}, Why: "the tiers meet in internal/wire"},
	{From: "agent/libvirt", May: []string{"plugin", "plugin/inventory"}, Why: "a built-in module is like a third party's"},
	{From: "agent/network", May: []string{"plugin", "plugin/inventory"}, Why: "a built-in module is like a third party's"},
	{From: "agent/storage", May: []string{"plugin", "plugin/inventory"}, Why: "a built-in module is like a third party's"},
	{From: "agent/host", May: []string{"plugin", "plugin/inventory"}, Why: "a built-in module is like a third party's"},
	{From: "gateway/vcenter", May: []string{"plugin", "plugin/inventory", "gateway/session"}, Why: "a built-in module is like a third party's"},
	{From: "controlplane/du/*", Not: []string{"controlplane/du/...", "controlplane/core/..."}, Why: "services of a DU meet in package du"},
	{From: "controlplane/core/*", Not: []string{"controlplane/core/...", "controlplane/du/..."}, Why: "core services meet in package core"},
	{From: "packaging", May: []string{}, Std: true, Why: "payload knows nothing of programs"},
}

// hostOnly is what only a KVM host has.
var hostOnly = []string{"agent", "agent/libvirt", "agent/network", "agent/power", "agent/storage"}

// Owners name the only packages that may import an outside module (by prefix).
// A module without a line here is not ours to use.
var Owners = map[string][]string{
	"github.com/gorilla/websocket":       {"internal/tunnel"},
	"github.com/digitalocean/go-libvirt": {"agent/libvirt", "internal/testlibvirt"},
	"github.com/vishvananda/netlink":     {"agent/network", "gateway/firstboot/netconf", "gateway/firstboot/testcard"},
	"github.com/rivo/tview":              {"gateway/firstboot/console"},
	"github.com/gdamore/tcell/v2":        {"gateway/firstboot/console"},
	"github.com/vmware/govmomi":          {"gateway", "gateway/actions", "gateway/pair", "gateway/privilege", "gateway/session", "gateway/vcenter", "gateway/vcproxy", "gateway/vimfault", "internal/testvcenter", "internal/vcsim"},
	"github.com/shirou/gopsutil/v3":      {"agent/storage", "agent/host"},
	"github.com/coreos/go-systemd/v22":   {"internal/daemon"},
	"github.com/pelletier/go-toml/v2":    {"internal/daemon", "internal/ctl"},
	"github.com/spf13/cobra":             {"cmd/pf9ctl", "internal/ctl"},
	"github.com/prometheus/client_golang": {
		"controlplane/du", "controlplane/du/tunnelserver", "controlplane/du/resmgr",
	},
	"modernc.org/sqlite":                       {"internal/sqldb"},
	"github.com/santhosh-tekuri/jsonschema/v6": {"internal/kindschema"},
	"golang.org/x/text":                        {"internal/kindschema"},
	"golang.org/x/sys":                         {"internal/tunnel", "internal/bench/bars", "internal/bench/delayline", "agent/network", "agent/storage", "agent/host", "agent/localapi", "internal/daemon", "cmd/pf9-demo", "internal/tty"},
}

// Sharp standard packages and who may use them.
var sharp = map[string][]string{
	// A plugin of the SDK starts nothing; the conformance kit starts plugins.
	"os/exec": {"plugin/conformance", "internal/pluginhost", "internal/testlibvirt", "internal/namespaces", "internal/bench/...", "internal/sandbox", "agent/role", "agent/telemetry", "gateway/firstboot/program", "ova", "cmd/pf9-demo", "cmd/pf9-plugin-exec"},
	"log":     {},
	"unsafe":  {"internal/tunnel", "internal/bench/delayline", "agent/network", "agent/storage"},
	"testing": {"plugin/plugintest", "internal/testlibvirt", "internal/eventually", "internal/namespaces", "gateway/firstboot/testcard"},
}

// Check returns every violation among the packages.
func Check(packages []Package) []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	std := make(map[string]bool)
	for _, p := range packages {
		std[p.ImportPath] = p.Standard
	}
	for _, p := range packages {
		from, ours := relative(p.ImportPath)
		if !ours {
			continue
		}
		if p.Doc == "" {
			add("%s: no package comment", from)
		}
		if slices.Contains(badNames, path.Base(from)) {
			add("%s: the name says nothing; name what the package does", from)
		}
		for _, imp := range p.Imports {
			to, inner := relative(imp)
			switch {
			case inner:
				found = append(found, checkInner(from, to)...)
			case std[imp]:
				if owners, ok := sharp[imp]; ok && !matchAny(owners, from) {
					add("%s imports %s: only %v may", from, imp, owners)
				}
			default:
				found = append(found, checkOutside(from, imp)...)
			}
		}
	}
	slices.Sort(found)
	return found
}

var badNames = []string{"util", "utils", "common", "helper", "helpers", "base", "misc", "types", "models", "manager", "shared", "lib"}

func checkInner(from, to string) []string {
	var found []string
	if strings.HasPrefix(to, "cmd/") || to == "internal/archtest" {
		found = append(found, fmt.Sprintf("%s imports %s: nothing may", from, to))
	}
	for _, r := range Rules {
		if !match(r.From, from) || from == to {
			continue
		}
		if r.May != nil && !matchAny(r.May, to) || matchAny(r.Not, to) {
			found = append(found, fmt.Sprintf("%s imports %s: %s", from, to, r.Why))
		}
	}
	return found
}

func checkOutside(from, imp string) []string {
	var found []string
	for _, r := range Rules {
		if r.Std && match(r.From, from) {
			found = append(found, fmt.Sprintf("%s imports %s: %s", from, imp, r.Why))
		}
	}
	for module, owners := range Owners {
		if imp == module || strings.HasPrefix(imp, module+"/") {
			if !matchAny(owners, from) {
				found = append(found, fmt.Sprintf("%s imports %s: only %v may", from, imp, owners))
			}
			return found
		}
	}
	return append(found, fmt.Sprintf("%s imports %s, which has no owner in archtest.Owners", from, imp))
}

func relative(importPath string) (string, bool) {
	rest, ours := strings.CutPrefix(importPath, Module)
	return strings.TrimPrefix(rest, "/"), ours && (rest == "" || rest[0] == '/')
}

func match(pattern, p string) bool {
	if above, ok := strings.CutSuffix(pattern, "/*"); ok {
		return strings.HasPrefix(p, above+"/")
	}
	if above, ok := strings.CutSuffix(pattern, "/..."); ok {
		return p == above || strings.HasPrefix(p, above+"/")
	}
	return pattern == p
}

func matchAny(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, p) })
}
