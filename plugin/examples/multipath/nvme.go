package main

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/openpf9/openpf9/plugin"
)

// subsystem is the spec of an NVMe subsystem: a disk of the host, or an array
// that is reached over a fabric.
type subsystem struct {
	State       string       `json:"state" enum:"ok,degraded,failed" help:"all, some or none of its controllers are live and its namespaces usable"`
	Model       string       `json:"model"`
	Serial      string       `json:"serial"`
	Firmware    string       `json:"firmware"`
	Policy      string       `json:"io_policy,omitempty" help:"how paths are chosen; absent without native multipath"`
	Controllers []controller `json:"controllers"`
	Namespaces  []namespace  `json:"namespaces"`
}

type controller struct {
	Device    string `json:"device" help:"its name in /dev, such as nvme0"`
	Transport string `json:"transport" help:"pcie, tcp, rdma, fc"`
	Address   string `json:"address"`
	State     string `json:"state" help:"live, connecting, resetting, deleting, dead"`
}

type namespace struct {
	Device    string          `json:"device" help:"its name in /dev, such as nvme0n1"`
	WWID      string          `json:"wwid"`
	SizeBytes int64           `json:"size_bytes"`
	Paths     []namespacePath `json:"paths,omitempty" help:"absent without native multipath"`
}

type namespacePath struct {
	Controller string `json:"controller"`
	ANA        string `json:"ana_state" help:"what the array says: optimized, non-optimized, inaccessible, persistent-loss, change"`
}

var (
	controllerName = regexp.MustCompile(`^nvme\d+$`)
	namespaceName  = regexp.MustCompile(`^nvme\d+n\d+$`)
	pathName       = regexp.MustCompile(`^nvme\d+c\d+(n\d+)$`)
)

// discovery is the name that all discovery services share. They hold no data.
const discovery = "nqn.2014-08.org.nvmexpress.discovery"

func listSubsystems(l *look, sys string, emit func(plugin.Resource)) {
	class := filepath.Join(sys, "class/nvme-subsystem")
	for _, name := range l.names(class) {
		dir := filepath.Join(class, name)
		nqn := l.text(dir, "subsysnqn")
		if nqn == "" || nqn == discovery || l.text(dir, "subsystype") == "discovery" {
			continue
		}
		s := subsystem{
			Model: l.text(dir, "model"), Serial: l.text(dir, "serial"), Firmware: l.text(dir, "firmware_rev"),
			Policy: l.text(dir, "iopolicy"), Controllers: []controller{}, Namespaces: []namespace{},
		}
		entries := l.names(dir)
		for _, device := range entries {
			if controllerName.MatchString(device) {
				s.Controllers = append(s.Controllers, controllerOf(l, filepath.Join(dir, device), device))
			}
		}
		for _, device := range entries {
			if namespaceName.MatchString(device) {
				s.Namespaces = append(s.Namespaces, namespaceOf(l, dir, device, s.Controllers))
			}
		}
		if len(s.Namespaces) == 0 { // without native multipath they are the controllers' own
			s.Namespaces = append(s.Namespaces, ownNamespaces(l, dir, s.Controllers)...)
		}
		s.State = s.health()
		emit(plugin.Resource{Key: plugin.Key{Kind: kindSubsystem, ID: nqn}, Name: name, Spec: s})
	}
}

func controllerOf(l *look, dir, device string) controller {
	return controller{
		Device: device, Transport: l.text(dir, "transport"),
		Address: l.text(dir, "address"), State: l.text(dir, "state"),
	}
}

// namespaceOf describes a namespace and its path by each controller. The
// paths' numbers are the controllers' own, so they are matched by the end.
func namespaceOf(l *look, dir, device string, controllers []controller) namespace {
	ns := namespace{Device: device, WWID: l.text(dir, device, "wwid"), SizeBytes: sector * l.number(dir, device, "size")}
	number := device[strings.LastIndexByte(device, 'n'):]
	for _, c := range controllers {
		for _, name := range l.names(dir, c.Device) {
			if m := pathName.FindStringSubmatch(name); m != nil && m[1] == number {
				ns.Paths = append(ns.Paths, namespacePath{Controller: c.Device, ANA: l.text(dir, c.Device, name, "ana_state")})
			}
		}
	}
	return ns
}

func ownNamespaces(l *look, dir string, controllers []controller) (all []namespace) {
	for _, c := range controllers {
		for _, name := range l.names(dir, c.Device) {
			if namespaceName.MatchString(name) {
				all = append(all, namespaceOf(l, filepath.Join(dir, c.Device), name, nil))
			}
		}
	}
	return all
}

func (s *subsystem) health() string {
	live := 0
	for _, c := range s.Controllers {
		if c.State == "live" {
			live++
		}
	}
	state := health(live, len(s.Controllers))
	for _, ns := range s.Namespaces {
		if state == stateOK && !ns.usable() {
			state = stateDegraded
		}
	}
	return state
}

// usable says whether some path leads to the namespace, as far as is known.
func (ns *namespace) usable() bool {
	for _, p := range ns.Paths {
		if p.ANA == "" || p.ANA == "optimized" || p.ANA == "non-optimized" {
			return true
		}
	}
	return len(ns.Paths) == 0
}
