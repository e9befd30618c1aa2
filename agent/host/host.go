// Package host discovers the machine itself: processor, memory, firmware,
// operating system and what it offers to virtual machines.
//
// [Node] lists what the host is, and nothing that changes by itself; [Sampler]
// says what it is doing. Both read /proc and /sys below a root folder that can
// be given, need no privilege and fork nothing.
package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Node lists one resource, the host. It is a [plugin.Source] and a
// [plugin.Getter].
type Node struct {
	// ID is the host's id. It must be set.
	ID string
	// Root is prefixed to every path; empty means "/".
	Root string
}

// Kinds are the kinds that Node emits.
func (*Node) Kinds() []string { return []string{inventory.KindHost} }

// List emits the host.
func (n *Node) List(ctx context.Context, emit func(plugin.Resource)) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	spec, err := n.read()
	if err != nil {
		return fmt.Errorf("describe host: %w", err)
	}
	emit(plugin.Resource{
		Key:  plugin.Key{Kind: inventory.KindHost, ID: n.ID},
		Name: spec.Hostname,
		Spec: spec,
	})
	return nil
}

// Get returns the host if k names it.
func (n *Node) Get(ctx context.Context, k plugin.Key) (r plugin.Resource, ok bool, err error) {
	if k.Kind != inventory.KindHost || k.ID != n.ID {
		return r, false, nil
	}
	err = n.List(ctx, func(host plugin.Resource) { r, ok = host, true })
	return r, ok, err
}

// read puts the host together. Only the processor and memory files are
// required: firmware tables and the like are absent on many machines.
func (n *Node) read() (inventory.Host, error) {
	t := tree(n.Root)
	cpuinfo, err := t.bytes("/proc/cpuinfo")
	if err != nil {
		return inventory.Host{}, err
	}
	meminfo, err := t.bytes("/proc/meminfo")
	if err != nil {
		return inventory.Host{}, err
	}
	memory := parseMeminfo(meminfo)
	cpu, flags := parseCPUInfo(cpuinfo)
	t.topology(&cpu)
	hardware := t.hardware()
	return inventory.Host{
		Hostname:       t.text("/proc/sys/kernel/hostname"),
		OS:             t.os(),
		CPU:            cpu,
		MemoryBytes:    memory["MemTotal"],
		SwapBytes:      memory["SwapTotal"],
		HugePages:      t.hugePages(),
		NUMA:           t.numa(),
		Virtualization: t.virtualization(flags, hardware),
		Hardware:       hardware,
		BootID:         t.text("/proc/sys/kernel/random/boot_id"),
	}, nil
}

// tree is the folder that stands for "/".
type tree string

func (t tree) path(name string) string { return filepath.Join("/", string(t), name) }

func (t tree) bytes(name string) ([]byte, error) { return os.ReadFile(t.path(name)) }

// text returns the file's text without white space or zero bytes around it,
// or nothing if it cannot be read.
func (t tree) text(name string) string {
	b, err := t.bytes(name)
	if err != nil {
		return ""
	}
	return strings.Trim(string(b), " \t\r\n\x00")
}

func (t tree) has(name string) bool {
	_, err := os.Stat(t.path(name))
	return err == nil
}

// names returns the entries of a folder that begin with prefix and go on with a
// number, in the order of the number.
func (t tree) names(dir, prefix string) []numbered {
	entries, err := os.ReadDir(t.path(dir))
	if err != nil {
		return nil
	}
	return numberedNames(entries, prefix)
}
