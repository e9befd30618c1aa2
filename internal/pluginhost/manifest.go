package pluginhost

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/plugin/protocol"
)

// Where a plugin's package puts its manifest, and systemd its socket.
const (
	DefaultManifests = "/usr/lib/pf9-hostagent/plugins"
	DefaultSockets   = "/run/pf9-hostagent/plugins"
)

const maxManifest = 64 << 10

// Manifest is what a plugin's package says of it: a file of the name
// <plugin>.toml. It is the administrator's word on what the plugin may be, so
// only root can change it.
type Manifest struct {
	Name        string `toml:"name"`
	Version     string `toml:"version"`
	Description string `toml:"description"`
	// Protocol is the newest protocol number that the plugin speaks; 0 means 1.
	Protocol int `toml:"protocol"`
	// Kinds are all kinds that it may list.
	Kinds []string `toml:"kinds"`
	// Exec is the program, with its whole path, and its arguments.
	Exec   []string `toml:"exec"`
	Needs  Needs    `toml:"needs"`
	Budget Budget   `toml:"budget"`
	// Watchdog false spares a plugin systemd's watchdog, which a plugin of the
	// Go SDK feeds and another perhaps does not.
	Watchdog *bool `toml:"watchdog"`

	// SHA256 is the file's, in hexadecimal.
	SHA256 string `toml:"-"`
}

// Needs is what a plugin's sandbox must let it have. Zero: no network, and the
// files that everybody may read.
type Needs struct {
	// Network is "none", "local" (this host, and netlink) or "yes"; empty means none.
	Network string `toml:"network"`
	// Addresses narrow network "yes" to these, "192.0.2.7" or "192.0.2.0/24".
	Addresses []string `toml:"addresses"`
	// Paths are directories and files that it reads although they are hidden,
	// such as those below /home.
	Paths []string `toml:"paths"`
	// Sockets are Unix sockets that it connects to.
	Sockets []string `toml:"sockets"`
	// Devices are device nodes that it opens, "/dev/zfs rw", or kinds of them as
	// /proc/devices names them, "char-nvme"; without "rw" it may only read.
	Devices []string `toml:"devices"`
	// Groups are groups that it needs for any of these, such as "libvirt".
	Groups []string `toml:"groups"`
}

// Budget bounds what a plugin may take; zero fields have the default.
type Budget struct {
	Memory string `toml:"memory"` // "64M"
	CPU    string `toml:"cpu"`    // of one processor, "20%"
	Tasks  int    `toml:"tasks"`  // 32
}

// LoadManifest reads the manifest of an installed plugin, if only root, or the
// user that we are, can have written it.
func LoadManifest(dir, name string) (Manifest, error) {
	file := filepath.Join(dir, name+".toml")
	if !validName(name) {
		return Manifest{}, fmt.Errorf("plugin name %.80q: want 1 to 64 lower-case letters, digits, \"-\" and \".\"", name)
	}
	if err := trustDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, err
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, fmt.Errorf("the plugin is not installed: %w", err)
	}
	if err != nil {
		return Manifest{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return Manifest{}, err
	}
	if err := trust(file, info); err != nil {
		return Manifest{}, err
	}
	m, err := ParseManifest(file, f)
	if err == nil && m.Name != name {
		err = &daemon.ConfigError{File: file, Text: fmt.Sprintf("name: %q, want the file's, %q", m.Name, name)}
	}
	return m, err
}

// ReadManifest reads a manifest that is not installed yet, whoever owns it.
func ReadManifest(file string) (Manifest, error) {
	f, err := os.Open(file)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { _ = f.Close() }()
	return ParseManifest(file, f)
}

// ParseManifest reads a manifest from r. Errors name the file.
func ParseManifest(file string, r io.Reader) (m Manifest, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return m, err
	}
	if len(text) > maxManifest {
		return m, &daemon.ConfigError{File: file, Text: fmt.Sprintf("more than %d KiB", maxManifest>>10)}
	}
	if err := daemon.Decode(file, text, &m); err != nil {
		return m, err
	}
	if m.Protocol == 0 {
		m.Protocol = 1
	}
	if err := m.validate(); err != nil {
		return m, &daemon.ConfigError{File: file, Text: err.Error()}
	}
	sum := sha256.Sum256(text)
	m.SHA256 = hex.EncodeToString(sum[:])
	return m, nil
}

func (m *Manifest) validate() error {
	switch {
	case !validName(m.Name):
		return fmt.Errorf("name: %.80q: want 1 to 64 lower-case letters, digits, \"-\" and \".\"", m.Name)
	case m.Protocol < protocol.Oldest:
		return fmt.Errorf("protocol: %d is too old, want %d to %d: upgrade the plugin %s", m.Protocol, protocol.Oldest, protocol.Version, m.Name)
	case len(m.Kinds) == 0 || len(m.Kinds) > protocol.MaxHelloKinds:
		return fmt.Errorf("kinds: %d kinds, want 1 to %d", len(m.Kinds), protocol.MaxHelloKinds)
	case len(m.Exec) == 0 || !filepath.IsAbs(m.Exec[0]):
		return errors.New("exec: want a list of the program, with its whole path, and its arguments")
	case strings.ContainsAny(m.Exec[0], " \t\"'\\%$;"):
		return fmt.Errorf("exec: %q: want a path without spaces and signs", m.Exec[0])
	case !slices.Contains([]string{"", "none", "local", "yes"}, m.Needs.Network):
		return fmt.Errorf("needs.network: %q: want none, local or yes", m.Needs.Network)
	case len(m.Needs.Addresses) > 0 && m.Needs.Network != "yes":
		return errors.New("needs.addresses: these narrow network = \"yes\"")
	}
	for _, k := range m.Kinds {
		if !protocol.ValidKind(k) || ownKind(k) {
			return fmt.Errorf("kinds: %.80q cannot be a plugin's kind", k)
		}
	}
	for _, word := range slices.Concat(m.Exec, m.Needs.Paths, m.Needs.Sockets, m.Needs.Devices, m.Needs.Groups, []string{m.Budget.Memory, m.Budget.CPU, m.Version, m.Description}) {
		if strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%q: control characters are not allowed", word)
		}
	}
	for _, p := range slices.Concat(m.Needs.Paths, m.Needs.Sockets) {
		if !filepath.IsAbs(p) || strings.ContainsAny(p, ` :%"\`) {
			return fmt.Errorf("needs: %q: want a whole path without spaces and signs", p)
		}
	}
	for _, g := range m.Needs.Groups {
		if !validName(g) {
			return fmt.Errorf("needs.groups: %q is no group", g)
		}
	}
	return errors.Join(m.Needs.checkAddresses(), m.Needs.checkDevices(), m.Budget.validate())
}

var (
	deviceNode = regexp.MustCompile(`^/dev(/[A-Za-z0-9_+-][A-Za-z0-9_.:+-]*)+$`)
	deviceKind = regexp.MustCompile(`^(char|block)-[A-Za-z0-9_][A-Za-z0-9_./-]*$`)
)

func (n *Needs) checkDevices() error {
	for _, d := range n.Devices {
		name, mode, _ := strings.Cut(d, " ")
		if !deviceNode.MatchString(name) && !deviceKind.MatchString(name) || d != name && mode != "r" && mode != "rw" {
			return fmt.Errorf("needs.devices: %q: want a device node or a kind of them, and perhaps \"rw\": /dev/zfs rw, char-nvme", d)
		}
	}
	return nil
}

func (n *Needs) checkAddresses() error {
	for _, a := range n.Addresses {
		if _, err := netip.ParsePrefix(a); err == nil {
			continue
		}
		if _, err := netip.ParseAddr(a); err != nil {
			return fmt.Errorf("needs.addresses: %q: want an address or a network, 192.0.2.0/24", a)
		}
	}
	return nil
}

func (b *Budget) validate() error {
	digits := func(s, units string) bool {
		n := strings.TrimRight(s, units)
		return s == "" || n != "" && len(s)-len(n) <= 1 && strings.Trim(n, "0123456789") == ""
	}
	switch {
	case !digits(b.Memory, "KMG"):
		return fmt.Errorf("budget.memory: %q: want bytes, such as 64M", b.Memory)
	case b.CPU != "" && (!strings.HasSuffix(b.CPU, "%") || !digits(b.CPU, "%")):
		return fmt.Errorf("budget.cpu: %q: want a share of one processor, such as 20%%", b.CPU)
	case b.Tasks < 0:
		return fmt.Errorf("budget.tasks: %d: want 1 or more", b.Tasks)
	}
	return nil
}

// Installed returns the names of the plugins whose manifests are in a directory.
func Installed(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.toml"))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".toml"))
	}
	return names, nil
}

// validName says whether s can name a plugin, as a hello must.
func validName(s string) bool {
	return s != "" && len(s) <= 64 && s[0] != '.' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// trust refuses what anybody but root, and the user that we are, can change: a
// plugin's files say what it may do.
func trust(name string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be changed by others than its owner (mode %04o); chmod go-w %s", name, info.Mode().Perm(), name)
	}
	return trustOwner(name, info)
}

func trustOwner(name string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return fmt.Errorf("%s: its owner is not known", name)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to uid %d: it must belong to root; chown root %s", name, st.Uid, name)
	}
	return nil
}

func trustDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory", dir)
	}
	if info.Mode()&os.ModeSticky != 0 { // others may add to it, and not take away
		return trustOwner(dir, info)
	}
	return trust(dir, info)
}

// trustFile is for programs; a link to one is followed.
func trustFile(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", name)
	}
	if err := trust(name, info); err != nil {
		return err
	}
	return trustDir(filepath.Dir(name))
}
