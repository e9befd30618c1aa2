package settings

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/internal/pki"
)

const (
	maxHostname = 63 // as Linux' name of a host, and one label of DNS
	maxName     = 253
	maxDNS      = 3 // more are ignored by resolvers
	maxNTP      = 8
)

func setHostname(s *Settings, v string) *Problem {
	if v != "" && (len(v) > maxHostname || !validName(v)) {
		return problem("it is no host name", fmt.Sprintf("use letters, digits and hyphens, with dots between labels, at most %d characters", maxHostname))
	}
	if _, err := netip.ParseAddr(v); err == nil {
		return problem("it is an address, not a name", "give the appliance a name, or leave it empty")
	}
	s.Hostname = strings.ToLower(v)
	return nil
}

// validName says whether v is a name of DNS, of RFC 1123's letters.
func validName(v string) bool {
	if len(v) > maxName {
		return false
	}
	for label := range strings.SplitSeq(v, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-') {
				return false
			}
		}
	}
	return true
}

func setAddress(s *Settings, v string) *Problem {
	if v == "" {
		s.Address = netip.Prefix{}
		return nil
	}
	if a, err := netip.ParseAddr(v); err == nil && a.Zone() == "" {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		return problem("the prefix length is missing", fmt.Sprintf("write %s/%d, if the network's mask has %d bits", a, bits, bits))
	}
	p, err := netip.ParsePrefix(v)
	if err != nil {
		return problem("it is no address with a prefix length", "write it as 192.0.2.10/24, or leave it empty for DHCP")
	}
	if text := unusable(p); text != "" {
		return problem(text, "ask the network's administrator for a free address of it")
	}
	s.Address = p
	return nil
}

// unusable says why a host cannot have the address.
func unusable(p netip.Prefix) string {
	a := p.Addr()
	switch {
	case a.Is4In6():
		return "it is an IPv4 address in the form of IPv6"
	case p.Bits() == 0:
		return "the prefix length 0 would make every address a neighbour"
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "no host can have this address for itself"
	case a.Is4() && p.Bits() < 31 && a == p.Masked().Addr():
		return "it is the address of the network itself"
	case a.Is4() && p.Bits() < 31 && a == broadcast(p):
		return "it is the network's broadcast address"
	}
	return ""
}

func broadcast(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(a)
}

func setGateway(s *Settings, v string) *Problem {
	if v == "" {
		s.Gateway = netip.Addr{}
		return nil
	}
	a, err := netip.ParseAddr(v)
	if err != nil || a.Zone() != "" {
		return problem("it is no address", "write the router's address, 192.0.2.1, without a prefix length")
	}
	if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is4In6() {
		return problem("no router can have this address", "write the address of the network's router")
	}
	s.Gateway = a
	return nil
}

// list splits at commas, semicolons and white space.
func list(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == '\t' })
}

func setDNS(s *Settings, v string) *Problem {
	var all []netip.Addr
	for _, one := range list(v) {
		a, err := netip.ParseAddr(one)
		if err != nil || a.IsUnspecified() || a.IsMulticast() {
			return problem(fmt.Sprintf("%q is no address of a server", one), "write addresses, 192.0.2.53, separated by commas; names cannot be looked up without a server")
		}
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if len(all) > maxDNS {
		return problem(fmt.Sprintf("there are %d servers; resolvers ask no more than %d", len(all), maxDNS), fmt.Sprintf("keep %d", maxDNS))
	}
	s.DNS = all
	return nil
}

func setNTP(s *Settings, v string) *Problem {
	var all []string
	for _, one := range list(v) {
		if !validHost(one) {
			return problem(fmt.Sprintf("%q is neither a name nor an address", one), "write names or addresses of NTP servers, separated by commas")
		}
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	if len(all) > maxNTP {
		return problem(fmt.Sprintf("there are more than %d servers", maxNTP), "keep the nearest")
	}
	s.NTP = all
	return nil
}

// validHost accepts a name or an address. What has only digits and dots must be
// an address.
func validHost(v string) bool {
	if _, err := netip.ParseAddr(v); err == nil {
		return true
	}
	return validName(v) && strings.Trim(v, "0123456789.") != ""
}

func setProxy(s *Settings, v string) *Problem {
	if v == "" {
		s.Proxy = ""
		return nil
	}
	const remedy = "write http://host:3128 or http://user:password@host:3128, with special characters of the password as %XX"
	u, err := url.Parse(v)
	switch {
	case err != nil:
		return problem("it is no URL", remedy)
	case u.Scheme != "http" && u.Scheme != "https":
		return problem("it begins with neither http:// nor https://", remedy)
	case !validHost(u.Hostname()):
		return problem("it names no host", remedy)
	case !validPort(u.Port()):
		return problem("it has no port between 1 and 65535", remedy)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return problem("there is something behind the port", remedy)
	}
	u.Path = ""
	s.Proxy = u.String()
	return nil
}

func validPort(v string) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n >= 1 && n <= 65535
}

func setDU(s *Settings, v string) *Problem {
	if v == "" {
		s.DU = ""
		return nil
	}
	const remedy = "write https://host or https://host:port, as the deployment unit's page shows it"
	u, err := url.Parse(v)
	switch {
	case err != nil:
		return problem("it is no URL", remedy)
	case u.Scheme != "https":
		return problem("it does not begin with https://", remedy)
	case u.User != nil:
		return secret("it has a user or a password", remedy+"; a gateway needs a join token")
	case !validHost(u.Hostname()):
		return problem("it names no host", remedy)
	case u.Port() != "" && !validPort(u.Port()), strings.HasSuffix(u.Host, ":"):
		return problem("its port is not between 1 and 65535", remedy)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return problem("there is something behind the host", remedy)
	}
	s.DU = "https://" + strings.ToLower(u.Host)
	return nil
}

func setToken(s *Settings, v string) *Problem {
	if v != "" {
		if _, err := pki.ParseToken(pki.JoinToken, v); err != nil {
			return problem("it is no join token; was it copied whole?", "make one by pf9ctl token create --kind gateway, and copy all of it")
		}
	}
	s.Token = v
	return nil
}

func setPin(s *Settings, v string) *Problem {
	v = strings.ToLower(strings.ReplaceAll(v, ":", ""))
	if b, err := hex.DecodeString(v); v != "" && (err != nil || len(b) != 16) {
		return problem("it has not 32 hexadecimal digits", "copy the last part of a join token, or leave it empty")
	}
	s.Pin = v
	return nil
}

func setVCenter(s *Settings, v string) *Problem {
	if v == "" {
		s.VCenter = ""
		return nil
	}
	host := v
	if u, err := url.Parse(v); err == nil && u.Host != "" {
		if u.Scheme != "https" || u.User != nil {
			return secret("it is no plain https:// address", "write the vCenter's host name; its user and password are typed on the console")
		}
		host = u.Host
	}
	name, port := host, ""
	if h, p, err := net.SplitHostPort(host); err == nil {
		name, port = h, p
	}
	if !validHost(strings.Trim(name, "[]")) || port != "" && !validPort(port) {
		return problem("it is neither a host nor an address", "write vcenter.example.com or vcenter.example.com:443")
	}
	s.VCenter = host
	return nil
}

func setVCenterUser(s *Settings, v string) *Problem {
	if len(v) > 256 {
		return problem("it is longer than 256 bytes", "write user@domain")
	}
	s.VCenterUser = v
	return nil
}

// check looks at what must fit together. What is wrong by itself is not looked
// at again.
func (s *Settings) check(bad Problems) Problems {
	var out Problems
	add := func(key, value, text, remedy string) {
		out = append(out, Problem{Key: key, Value: value, Text: text, Remedy: remedy})
	}
	if !bad.About(KeyIP) && !bad.About(KeyGateway) {
		s.checkGateway(add)
	}
	if name := s.needsDNS(); name != "" && !bad.About(KeyIP) && !bad.About(KeyDNS) && !s.DHCP() && len(s.DNS) == 0 {
		add(KeyDNS, "", fmt.Sprintf("there is no server to look %q up", name), "name a DNS server, or write an address in its place")
	}
	if s.Token != "" && !bad.About(KeyToken) {
		if s.DU == "" && !bad.About(KeyDU) {
			add(KeyDU, "", "there is a join token, but no deployment unit to trade it at", "write the deployment unit's https://host")
		}
		token, err := pki.ParseToken(pki.JoinToken, s.Token)
		if err == nil && s.Pin != "" && token.Pin != s.Pin && !bad.About(KeyPin) {
			add(KeyPin, s.Pin, "the join token is of another authority: "+token.Pin, "one of the two is not from your deployment unit; copy both again")
		}
	}
	return out
}

func (s *Settings) checkGateway(add func(key, value, text, remedy string)) {
	if !s.Gateway.IsValid() {
		return
	}
	value := s.Gateway.String()
	linkLocal := s.Gateway.Is6() && s.Gateway.IsLinkLocalUnicast()
	switch {
	case s.DHCP():
		add(KeyGateway, value, "with DHCP the gateway comes from the server", "leave it empty, or give "+KeyIP+" an address")
	case s.Gateway.Is4() != s.Address.Addr().Is4():
		add(KeyGateway, value, fmt.Sprintf("it is of another family than the address %s", s.Address), "give both as IPv4, or both as IPv6")
	case s.Gateway == s.Address.Addr():
		add(KeyGateway, value, "it is the appliance's own address", "write the router's")
	case !linkLocal && !s.Address.Contains(s.Gateway):
		add(KeyGateway, value, fmt.Sprintf("it is not in the network %s of the address", s.Address.Masked()), "correct the gateway, or the prefix length of "+KeyIP)
	case s.Gateway.Is4() && s.Address.Bits() < 31 && (s.Gateway == broadcast(s.Address) || s.Gateway == s.Address.Masked().Addr()):
		add(KeyGateway, value, "it is the address of the network or its broadcast address", "write the router's")
	}
}

// needsDNS is a name that has to be looked up here, or empty. Behind a proxy
// the deployment unit's is the proxy's to look up.
func (s *Settings) needsDNS() string {
	var names []string
	if u := s.ProxyURL(); u != nil {
		names = append(names, u.Hostname())
	} else if u, err := url.Parse(s.DU); err == nil {
		names = append(names, u.Hostname())
	}
	if u, err := url.Parse("https://" + s.VCenter); err == nil {
		names = append(names, u.Hostname())
	}
	for _, name := range append(names, s.NTP...) {
		if _, err := netip.ParseAddr(name); err != nil && name != "" {
			return name
		}
	}
	return ""
}
