package pair

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/internal/atomicfile"
	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/httpapi"
)

const (
	fileHeader = "# Written by pairing; change it with pf9-gateway pair and unpair.\n\n"
	maxFile    = 1 << 20
	maxName    = 32
	firstName  = "vcenter" // of one that was given none
)

// VCenter is what is kept of a paired vCenter besides its accounts. Its keys are
// those of the gateway's configuration.
type VCenter struct {
	URL          string   `toml:"url"`
	Thumbprint   string   `toml:"thumbprint"`
	CAFile       string   `toml:"ca_file,omitempty"` // only the administrator's configuration has one
	Clusters     []string `toml:"clusters,omitempty"`
	Control      bool     `toml:"control"`
	Broker       string   `toml:"broker,omitempty"` // where programs on this machine reach it, while there is control
	InstanceUUID string   `toml:"instance_uuid"`
}

// File is where the paired vCenters are, below the daemon's state directory.
func File(stateDir string) string { return filepath.Join(stateDir, "vcenters.conf") }

// book is what is known of vCenters while something is changed.
type book struct {
	file       string
	paired     map[string]VCenter
	configured map[string]VCenter
}

// text is the file's form.
type text struct {
	VCenters map[string]VCenter `toml:"vcenters"`
}

// book reads what is known.
func (d *Daemon) book() (*book, error) {
	b := &book{file: File(d.o.StateDir)}
	var err error
	if b.configured, err = d.o.Configured(); err != nil {
		return nil, fmt.Errorf("read the gateway's configuration: %w", err)
	}
	b.configured = maps.Clone(b.configured)
	for name, v := range b.configured {
		if host, err := checkAddress(v.URL); err == nil {
			v.URL = "https://" + host // to be compared
			b.configured[name] = v
		}
	}
	content, err := os.ReadFile(b.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the paired vCenters: %w", err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("read the paired vCenters: %s has %d bytes, which are too many", b.file, len(content))
	}
	var t text
	if err := daemon.Decode(b.file, content, &t); err != nil {
		return nil, fmt.Errorf("read the paired vCenters: %w", err)
	}
	if b.paired = t.VCenters; b.paired == nil {
		b.paired = make(map[string]VCenter)
	}
	return b, nil
}

func (b *book) write() error {
	content, err := daemon.Show(text{b.paired})
	if err != nil {
		return fmt.Errorf("write the paired vCenters: %w", err)
	}
	if err := atomicfile.Write(b.file, append([]byte(fileHeader), content...), 0o600); err != nil {
		return fmt.Errorf("write the paired vCenters: %w", err)
	}
	return nil
}

// IsLocal says whether an address with a port is this machine's alone, as a
// broker's must be.
func IsLocal(address string) bool {
	host, port, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && port != "" && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// named returns what is known under a name, or without one of who is at the
// address, and whether it is the administrator's.
func (b *book) named(name, url string) (v VCenter, configured bool) {
	if name == "" {
		name = b.byURL(url)
	}
	if v, ok := b.configured[name]; ok {
		return v, true
	}
	return b.paired[name], false
}

// at returns the name of a vCenter; empty: there is none such.
func (b *book) at(is func(VCenter) bool) string {
	for _, all := range []map[string]VCenter{b.configured, b.paired} {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if is(all[name]) {
				return name
			}
		}
	}
	return ""
}

// nameOf returns the name to keep a vCenter under, which stays that of one
// instance, as an instance stays under one name.
func (b *book) nameOf(name, url, instance string) (string, error) {
	held := b.at(func(v VCenter) bool { return v.InstanceUUID == instance })
	if held == "" {
		held = b.byURL(url)
	}
	if name == "" {
		if name = held; name == "" {
			return b.free(), nil
		}
	}
	old, _ := b.named(name, url)
	switch {
	case old.InstanceUUID != "" && old.InstanceUUID != instance:
		return "", httpapi.Errorf(http.StatusConflict, "%s is paired with the vCenter instance %s, and at %s is another one, %s: take another name or address, or, if the old one is gone for good, first pf9-gateway unpair %s",
			name, old.InstanceUUID, url, instance, name)
	case held != "" && held != name:
		return "", httpapi.Errorf(http.StatusConflict, "the vCenter at %s is paired already, as %s: pair it under that name, or first pf9-gateway unpair %s", url, held, held)
	}
	return name, nil
}

// has says whether a vCenter of the name is known.
func (b *book) has(name string) bool {
	_, paired := b.paired[name]
	_, configured := b.configured[name]
	return paired || configured
}

// list names the vCenters that can be changed here.
func (b *book) list() string {
	return cmp.Or(strings.Join(slices.Sorted(maps.Keys(b.paired)), ", "), "none")
}

// byURL returns the name of the vCenter at an address; empty: none is.
func (b *book) byURL(url string) string {
	return b.at(func(v VCenter) bool { return v.URL == url })
}

// free is a name that no vCenter has.
func (b *book) free() string {
	for n := 1; ; n++ {
		name := firstName
		if n > 1 {
			name = fmt.Sprintf("%s-%d", firstName, n)
		}
		if !b.has(name) {
			return name
		}
	}
}

func validName(name string) bool {
	return name != "" && len(name) <= maxName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
