package storage

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// block is a folder of /sys/class/block.
type block struct {
	root string // of the tree that holds /sys and /run
	name string // kernel name
	dir  string
}

func newBlock(root, name string) block {
	return block{root: root, name: name, dir: filepath.Join(under(root, "/sys/class/block"), name)}
}

// read returns the attribute without white space around it; empty if there is
// none.
func (b block) read(rest ...string) string {
	v, err := os.ReadFile(filepath.Join(append([]string{b.dir}, rest...)...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(bytes.TrimRight(v, "\x00")))
}

func (b block) number(rest ...string) uint64 {
	n, err := strconv.ParseUint(b.read(rest...), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (b block) has(rest ...string) bool {
	_, err := os.Lstat(filepath.Join(append([]string{b.dir}, rest...)...))
	return err == nil
}

// dev is the device number, "8:1".
func (b block) dev() string { return b.read("dev") }

// parent is the kernel name of the disk that a partition lies on: the folder
// that its own, followed to /sys/devices, lies in.
func (b block) parent() string {
	if !b.has("partition") {
		return ""
	}
	to, err := os.Readlink(b.dir)
	if err != nil {
		return ""
	}
	return filepath.Base(filepath.Dir(to))
}

// path is the name under /dev that people use.
func (b block) path() string {
	if name := b.read("dm", "name"); name != "" {
		return "/dev/mapper/" + name
	}
	return "/dev/" + strings.ReplaceAll(b.name, "!", "/")
}

// blockNames returns the kernel names of all block devices, sorted.
func blockNames(root string) ([]string, error) {
	entries, err := os.ReadDir(under(root, "/sys/class/block"))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// blockDev returns the number of the device at a path under /dev, without
// looking there: the agent's sandbox has a /dev of its own.
func blockDev(root, path string) string {
	name, ok := strings.CutPrefix(path, "/dev/")
	if !ok {
		return ""
	}
	mapped, ok := strings.CutPrefix(name, "mapper/")
	if !ok {
		return newBlock(root, strings.ReplaceAll(name, "/", "!")).dev()
	}
	names, err := blockNames(root)
	if err != nil {
		return ""
	}
	for _, n := range names {
		if b := newBlock(root, n); strings.HasPrefix(n, "dm-") && b.read("dm", "name") == mapped {
			return b.dev()
		}
	}
	return ""
}

// readUdev returns what udev knows of the device with this number; nothing if
// udev does not run here.
func readUdev(root, dev string) map[string]string {
	b, err := os.ReadFile(under(root, "/run/udev/data/b"+dev))
	if err != nil {
		return nil
	}
	return parseUdev(b)
}

// parseUdev returns the properties in a file of the udev database.
func parseUdev(b []byte) map[string]string {
	out := make(map[string]string)
	for line := range bytes.Lines(b) {
		property, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), "E:")
		if !ok {
			continue
		}
		if k, v, ok := strings.Cut(property, "="); ok {
			out[k] = v
		}
	}
	return out
}

// unhex turns udev's \x20 back into bytes.
func unhex(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], `\x`) && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return strings.TrimSpace(b.String())
}
