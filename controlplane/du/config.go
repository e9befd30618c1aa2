package du

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
)

// Config is a deployment unit's section of the configuration file. Zero
// fields mean the default; FQDN and State are required.
type Config struct {
	// State is the directory of the database, the authority and the first
	// administrator's token. It is made if it is missing.
	State string `toml:"state"`
	// Listen is the one address of the deployment unit; ":443".
	Listen string `toml:"listen"`
	// FQDN is the deployment unit's name: hosts dial it, and their
	// certificates carry it. It never changes.
	FQDN string `toml:"fqdn"`
	// Names are further names and addresses for the server's certificate,
	// besides those of this machine to itself.
	Names  []string `toml:"names"`
	Limits Limits   `toml:"limits"`
}

// Limits bound what hosts and clients may cost.
type Limits struct {
	Hosts               int `toml:"hosts"`                 // tunnels at once; 20,000
	TunnelsPerSecond    int `toml:"tunnels_per_second"`    // attempts; 250
	Handshakes          int `toml:"handshakes"`            // TLS handshakes at once; 256
	ResourcesPerHost    int `toml:"resources_per_host"`    // 50,000
	BytesPerHost        int `toml:"bytes_per_host"`        // of resources; 256 MiB
	EventsPerHost       int `toml:"events_per_host"`       // of history; 10,000
	Watches             int `toml:"watches"`               // at once; 256
	UsageSeconds        int `toml:"usage_seconds"`         // how often hosts send usage; 60
	CertificateLifeDays int `toml:"certificate_life_days"` // of hosts; see package certrepo
}

// Validate checks the configuration and fills in the defaults.
func (c *Config) Validate() error {
	if c.State == "" {
		return errors.New("state: the directory is missing")
	}
	if c.FQDN == "" {
		return errors.New("fqdn: the deployment unit's name is missing")
	}
	if strings.ContainsAny(c.FQDN, "/: ") || strings.ToLower(c.FQDN) != c.FQDN {
		return fmt.Errorf("fqdn: %q is not a lower-case host name", c.FQDN)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} { // for clients on this machine
		if !slices.Contains(c.Names, name) {
			c.Names = append(slices.Clip(c.Names), name)
		}
	}
	if c.Listen == "" {
		c.Listen = ":443"
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// file returns the path of a file in the state directory.
func (c *Config) file(name string) string { return filepath.Join(c.State, name) }
