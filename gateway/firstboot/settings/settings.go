// Package settings is what an administrator says of a gateway appliance: its
// name, its network, its deployment unit. It reads and checks the properties of
// the OVF environment and what is typed on the console, and keeps what is in
// force on disk. It applies nothing.
package settings

import (
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Settings are what can be set. The zero value is DHCP and nothing else.
type Settings struct {
	Hostname string       `json:"hostname,omitempty"`
	Address  netip.Prefix `json:"address,omitzero"` // with the host's part; zero: DHCP
	Gateway  netip.Addr   `json:"gateway,omitzero"`
	DNS      []netip.Addr `json:"dns,omitempty"` // with DHCP: in the place of the server's
	NTP      []string     `json:"ntp,omitempty"` // names or addresses
	// Proxy is "http://[user:password@]host:port"; empty: none.
	Proxy string `json:"proxy,omitempty"`
	// DU is the deployment unit, "https://host[:port]".
	DU string `json:"du,omitempty"`
	// Pin is the authority's, if it was given apart from the token.
	Pin string `json:"ca_pin,omitempty"`
	// VCenter and VCenterUser fill in the console's page for a vCenter.
	VCenter     string `json:"vcenter,omitempty"`
	VCenterUser string `json:"vcenter_user,omitempty"`

	// Token is the join token. It is never written to disk.
	Token string `json:"-"`
}

// DHCP says whether the address comes from a DHCP server.
func (s *Settings) DHCP() bool { return !s.Address.IsValid() }

// Clone returns a copy that shares nothing.
func (s *Settings) Clone() Settings {
	c := *s
	c.DNS, c.NTP = slices.Clone(s.DNS), slices.Clone(s.NTP)
	return c
}

// Equal says whether two settings are the same, but for the token.
func (s *Settings) Equal(o *Settings) bool {
	return maps.Equal(s.Properties(), o.Properties())
}

// Properties are the settings as they are typed, by key, without the token.
func (s *Settings) Properties() map[string]string {
	out := make(map[string]string)
	for _, k := range Keys() {
		if k.Name != KeyToken {
			out[k.Name] = k.get(s)
		}
	}
	return out
}

// Prefix is what every key of ours begins with; it is the class in the OVF.
const Prefix = "gw."

// The keys.
const (
	KeyHostname    = Prefix + "hostname"
	KeyIP          = Prefix + "ip"
	KeyGateway     = Prefix + "gateway"
	KeyDNS         = Prefix + "dns"
	KeyNTP         = Prefix + "ntp"
	KeyProxy       = Prefix + "proxy"
	KeyDU          = Prefix + "du_url"
	KeyToken       = Prefix + "join_token"
	KeyPin         = Prefix + "ca_pin"
	KeyVCenter     = Prefix + "vcenter"
	KeyVCenterUser = Prefix + "vcenter_user"
)

// Key describes one setting for documents, the OVF and the console.
type Key struct {
	Name   string // in the OVF environment
	Label  string
	Help   string
	Secret bool // the value is never shown

	get func(*Settings) string
	set func(*Settings, string) *Problem // with a trimmed value, empty for none
}

// Keys are all settings, in the order in which people are asked for them.
func Keys() []Key {
	return []Key{
		{KeyHostname, "Host name", "Name of the appliance; empty keeps the one it has.", false, func(s *Settings) string { return s.Hostname }, setHostname},
		{KeyIP, "Address", "Address with prefix length, 192.0.2.10/24; empty for DHCP.", false, getAddress, setAddress},
		{KeyGateway, "Gateway", "Default gateway, 192.0.2.1.", false, getGateway, setGateway},
		{KeyDNS, "DNS servers", "Up to three addresses, separated by commas.", false, getDNS, setDNS},
		{KeyNTP, "NTP servers", "Names or addresses, separated by commas; empty for the system's.", false, func(s *Settings) string { return strings.Join(s.NTP, ",") }, setNTP},
		{KeyProxy, "Web proxy", "http://[user:password@]host:port to the deployment unit; empty for none.", true, func(s *Settings) string { return s.Proxy }, setProxy},
		{KeyDU, "Deployment unit", "https://host[:port] of the deployment unit.", false, func(s *Settings) string { return s.DU }, setDU},
		{KeyToken, "Join token", "One-time token, from pf9ctl token create --kind gateway.", true, func(s *Settings) string { return s.Token }, setToken},
		{KeyPin, "Authority's pin", "The 32 digits at the end of a join token, to compare; empty trusts the token's.", false, func(s *Settings) string { return s.Pin }, setPin},
		{KeyVCenter, "vCenter", "Address of the first vCenter, filled in on the console.", false, func(s *Settings) string { return s.VCenter }, setVCenter},
		{KeyVCenterUser, "vCenter user", "User at the first vCenter, filled in on the console. The password is typed there.", false, func(s *Settings) string { return s.VCenterUser }, setVCenterUser},
	}
}

// With returns the settings with the given properties set, and everything that
// is wrong with them. An unknown key of our prefix is a problem; others are
// somebody else's.
func (s Settings) With(properties map[string]string) (Settings, Problems) {
	out := s.Clone()
	var bad Problems
	known := make(map[string]bool)
	for _, k := range Keys() {
		known[k.Name] = true
		v, given := properties[k.Name]
		if !given {
			continue
		}
		v = strings.TrimSpace(v)
		p := printable(v)
		if p == nil {
			p = k.set(&out, v)
		}
		if p != nil {
			p.Key, p.Value, p.Secret = k.Name, v, p.Secret || k.Secret
			bad = append(bad, *p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if strings.HasPrefix(name, Prefix) && !known[name] {
			bad = append(bad, Problem{Key: name, Value: properties[name], Secret: true, Text: "there is no such setting", Remedy: "was it meant for " + nearest(name) + "?"})
		}
	}
	return out, append(bad, out.check(bad)...)
}

// nearest is the known key that shares most letters in order with the name.
func nearest(name string) string {
	best, most := KeyHostname, -1
	for _, k := range Keys() {
		same := 0
		rest := name[len(Prefix):]
		for _, r := range k.Name[len(Prefix):] {
			if i := strings.IndexRune(rest, r); i >= 0 {
				same, rest = same+1, rest[i+1:]
			}
		}
		if score := 2*same - len(k.Name); score > most || most == -1 {
			best, most = k.Name, score
		}
	}
	return best
}

// ProxyURL is the proxy, or nil.
func (s *Settings) ProxyURL() *url.URL {
	u, err := url.Parse(s.Proxy)
	if err != nil || s.Proxy == "" {
		return nil // checked when it was set
	}
	return u
}

func getAddress(s *Settings) string {
	if s.DHCP() {
		return ""
	}
	return s.Address.String()
}

func getGateway(s *Settings) string {
	if !s.Gateway.IsValid() {
		return ""
	}
	return s.Gateway.String()
}

func getDNS(s *Settings) string {
	out := make([]string, len(s.DNS))
	for i, a := range s.DNS {
		out[i] = a.String()
	}
	return strings.Join(out, ",")
}
