package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/agent/core"
	"github.com/openpf9/openpf9/gateway/pair"
	"github.com/openpf9/openpf9/internal/daemon"
	"github.com/openpf9/openpf9/internal/pki"
)

// Config is the gateway's configuration file. Its zero value is a gateway that
// has no vCenter yet.
type Config struct {
	core.Config
	Appliance Appliance          `toml:"appliance"`
	VCenters  map[string]VCenter `toml:"vcenters"` // by a name of the customer's
}

// Appliance is what firstboot and the console take for the virtual machine's.
type Appliance struct {
	// Link is the network interface that they configure; empty: the first card.
	Link string `toml:"link"`
}

// VCenter is one vCenter server that the gateway looks at.
type VCenter struct {
	URL URL `toml:"url"`
	// Thumbprint is the server's certificate: no other is believed, whoever has
	// signed it.
	Thumbprint pki.Fingerprint `toml:"thumbprint"`
	// CAFile holds the authorities that may have signed the server's
	// certificate, as PEM. Without it and a thumbprint: the system's.
	CAFile string `toml:"ca_file"`
	// Clusters are the names of the clusters to look at; empty means all.
	Clusters []string `toml:"clusters"`
	// Control lets the deployment unit act in these clusters, besides looking.
	Control bool `toml:"control"`
	// Broker is where programs on this machine, such as nova-compute, reach
	// this vCenter's broker: "127.0.0.1:8443". Empty: nowhere.
	Broker string `toml:"broker"`
	// InstanceUUID is what the server calls itself; empty: whatever it says. It
	// tells another server at the same address.
	InstanceUUID string `toml:"instance_uuid,omitempty"`
	// DatastoresEvery is how often to read how full the datastores are, of which
	// vCenter does not tell: "30s". Zero: every minute.
	DatastoresEvery core.Duration `toml:"datastores_every,omitempty"`
}

// URL is a vCenter server's address. It is no string, for which TOML would not
// ask UnmarshalText, which knows the line of a mistake.
type URL struct {
	Host string // "vc.example" or "vc.example:8443"; empty: none is given
}

// UnmarshalText reads "https://host[:port]".
func (u *URL) UnmarshalText(b []byte) error {
	if *u = (URL{}); len(b) == 0 {
		return nil
	}
	v, err := url.Parse(string(b))
	if err != nil || v.Hostname() == "" || v.Scheme+"://"+v.Host != strings.TrimSuffix(string(b), "/") || v.Scheme != "https" {
		return errors.New("want https://host[:port]")
	}
	u.Host = v.Host
	return nil
}

// String writes the address, "https://host[:port]".
func (u URL) String() string {
	if u.Host == "" {
		return ""
	}
	return "https://" + u.Host
}

// Address is the host with the port: "vc.example:443".
func (u URL) Address() string {
	v := url.URL{Host: u.Host}
	return net.JoinHostPort(v.Hostname(), cmp.Or(v.Port(), "443"))
}

// MarshalText writes the address.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// ErrPairedHidden says that the paired vCenters are not for this user to see. The
// rest of the configuration is there.
var ErrPairedHidden = errors.New("the paired vCenters are for root and the gateway's user to see")

// LoadConfig reads a configuration file and its drop-ins, and from the state
// directory the paired vCenters, fills in the defaults and checks everything. A
// missing file is an empty one.
func LoadConfig(file string) (Config, error) {
	c, err := loadFiles(file)
	if err != nil {
		return c, err
	}
	var more struct {
		VCenters map[string]VCenter `toml:"vcenters"`
	}
	paired := pair.File(c.StateDir)
	text, err := os.ReadFile(paired)
	if errors.Is(err, fs.ErrPermission) {
		return c, fmt.Errorf("%w: %w", ErrPairedHidden, err)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if err := daemon.Decode(paired, text, &more); err != nil {
		return c, err
	}
	for name, v := range more.VCenters {
		if !v.Control { // the file keeps where the broker was, for when there is control again
			v.Broker = ""
			more.VCenters[name] = v
		}
	}
	if err := validate(paired, more.VCenters); err != nil {
		return c, err
	}
	for _, name := range slices.Sorted(maps.Keys(more.VCenters)) {
		if _, twice := c.VCenters[name]; twice {
			return c, &daemon.ConfigError{File: file, Text: fmt.Sprintf("vcenters.%s: this vCenter is also paired, in %s: remove it here, or there with %s unpair %s", name, paired, Program, name)}
		}
	}
	if c.VCenters == nil {
		c.VCenters = more.VCenters
	} else {
		maps.Copy(c.VCenters, more.VCenters)
	}
	return c, nil
}

// Configured returns the vCenters that a configuration file and its drop-ins
// have, without the paired ones, in the form in which pairing knows them.
func Configured(file string) (map[string]pair.VCenter, error) {
	c, err := loadFiles(file)
	if err != nil {
		return nil, err
	}
	out := make(map[string]pair.VCenter)
	for name, v := range c.VCenters {
		out[name] = pair.VCenter{URL: v.URL.String(), Thumbprint: v.Thumbprint.String(), CAFile: v.CAFile, Clusters: v.Clusters, Control: v.Control, Broker: v.Broker, InstanceUUID: v.InstanceUUID}
	}
	return out, nil
}

// loadFiles reads what the administrator wrote.
func loadFiles(file string) (Config, error) {
	var c Config
	if err := daemon.Load(file, &c); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if err := validate(file, c.VCenters); err != nil {
		return c, err
	}
	return c, c.Complete(file, Program, modules(c, ""))
}

func validate(file string, vcenters map[string]VCenter) error {
	for _, name := range slices.Sorted(maps.Keys(vcenters)) {
		if err := vcenters[name].validate(name); err != nil {
			return &daemon.ConfigError{File: file, Text: fmt.Sprintf("vcenters.%s: %v", name, err)}
		}
	}
	return nil
}

func (v VCenter) validate(name string) error {
	switch {
	case len(name) > 32 || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return errors.New("want a name of 1 to 32 lower-case letters, digits and \"-\"")
	case v.URL.Host == "":
		return errors.New("url is missing")
	case v.Thumbprint != (pki.Fingerprint{}) && v.CAFile != "":
		return errors.New("thumbprint and ca_file: give one of them; a thumbprint says exactly which certificate is believed")
	case v.CAFile != "" && !filepath.IsAbs(v.CAFile):
		return fmt.Errorf("ca_file: %q: want a whole path", v.CAFile)
	case v.Broker != "" && !v.Control:
		return errors.New("broker: nothing may be done through it without control = true")
	case v.Broker != "" && !pair.IsLocal(v.Broker):
		return fmt.Errorf("broker: %q: it is for programs on this machine: want an address of loopback with a port, as 127.0.0.1:8443", v.Broker)
	case slices.Contains(v.Clusters, ""):
		return errors.New("clusters: a cluster has no name")
	}
	return nil
}
