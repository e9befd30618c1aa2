package netconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/gateway/firstboot/settings"
	"github.com/openpf9/openpf9/internal/atomicfile"
)

const note = "# Written by pf9-gateway from its settings; what is changed here is lost.\n"

// file is one that should be there with this content, or, if it is nil, should
// not be there.
type file struct {
	path    string
	content []byte
	mode    fs.FileMode
	// shared is a file that the system has without us: what was there is kept
	// beside it, and comes back when the settings say nothing of it any more.
	shared bool
}

// files are all files that the settings make. All of them are always named, so
// that what one change wrote the next one takes away.
func (s *System) files(want settings.Settings, link string) []file {
	all := []file{
		{networkFile, networkUnit(want, link), 0o644, false},
		{timeFile, timeDropIn(want), 0o644, false},
		{proxyFile, proxyConfig(want), 0o640, false},
		{hostnameFile, hostname(want), 0o644, true},
	}
	if s.resolverIsOurs() {
		all = append(all, file{resolvFile, resolver(want), 0o644, true})
	}
	return all
}

// write makes the file as it should be, and says whether it was not.
func (f file) write(path string) (bool, error) {
	old, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return false, err
	case f.content == nil && f.shared:
		return restore(path, f.mode)
	case f.content == nil:
		return !missing, removeIfThere(path)
	case !missing && bytes.Equal(old, f.content):
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	if f.shared {
		if err := keep(path, old); err != nil {
			return false, err
		}
	}
	return true, atomicfile.Write(path, f.content, f.mode)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// saved is where the content of a shared file waits. It is empty if there was
// no file.
func saved(path string) string { return path + ".pf9-saved" }

// keep saves what is there before we write for the first time.
func keep(path string, old []byte) error {
	if _, err := os.Lstat(saved(path)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.Write(saved(path), old, 0o600)
}

// restore puts back what keep saved, if it did.
func restore(path string, mode fs.FileMode) (bool, error) {
	old, err := os.ReadFile(saved(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil && len(old) > 0 {
		err = atomicfile.Write(path, old, mode)
	} else if err == nil {
		err = removeIfThere(path)
	}
	if err != nil {
		return false, err
	}
	return true, os.Remove(saved(path))
}

// hostname is hostname(5), or nil for the system's own.
func hostname(s settings.Settings) []byte {
	if s.Hostname == "" {
		return nil
	}
	return []byte(s.Hostname + "\n")
}

// networkUnit is systemd.network(5).
func networkUnit(s settings.Settings, link string) []byte {
	var b strings.Builder
	b.WriteString(note)
	fmt.Fprintf(&b, "[Match]\nName=%s\n\n[Network]\n", link)
	if s.DHCP() {
		b.WriteString("DHCP=yes\n")
	} else {
		fmt.Fprintf(&b, "DHCP=no\nAddress=%s\n", s.Address)
		if s.Address.Addr().Is4() {
			b.WriteString("LinkLocalAddressing=ipv6\n")
		}
		if s.Gateway.IsValid() {
			fmt.Fprintf(&b, "Gateway=%s\n", s.Gateway)
		}
	}
	for _, a := range s.DNS {
		fmt.Fprintf(&b, "DNS=%s\n", a)
	}
	if len(s.NTP) > 0 {
		fmt.Fprintf(&b, "NTP=%s\n", strings.Join(s.NTP, " "))
	}
	if s.DHCP() {
		// The machine's id makes the lease's: clones of one image have the same.
		fmt.Fprintf(&b, "\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\nUseDNS=%s\nUseNTP=%s\n", yes(len(s.DNS) == 0), yes(len(s.NTP) == 0))
		fmt.Fprintf(&b, "\n[DHCPv6]\nUseDNS=%s\nUseNTP=%s\n", yes(len(s.DNS) == 0), yes(len(s.NTP) == 0))
	}
	return []byte(b.String())
}

func yes(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

// timeDropIn is timesyncd.conf(5), or nil for the system's own servers.
func timeDropIn(s settings.Settings) []byte {
	if len(s.NTP) == 0 {
		return nil
	}
	return []byte(note + "[Time]\nNTP=" + strings.Join(s.NTP, " ") + "\n")
}

// resolver is resolv.conf(5), or nil for the system's own, or DHCP's.
func resolver(s settings.Settings) []byte {
	if len(s.DNS) == 0 {
		return nil
	}
	b := []byte(note)
	for _, a := range s.DNS {
		b = fmt.Appendf(b, "nameserver %s\n", a)
	}
	return b
}

// proxyConfig is comms_proxy_cfg.json as the agent reads it, or nil for none.
func proxyConfig(s settings.Settings) []byte {
	u := s.ProxyURL()
	if u == nil {
		return nil
	}
	type proxy struct {
		Protocol string `json:"protocol"`
		Host     string `json:"host"`
		Port     int    `json:"port"`
		User     string `json:"user,omitempty"`
		Pass     string `json:"pass,omitempty"`
	}
	port, _ := strconv.Atoi(u.Port()) // checked when it was set
	p := proxy{Protocol: u.Scheme, Host: u.Hostname(), Port: port}
	if u.User != nil {
		p.User = u.User.Username()
		p.Pass, _ = u.User.Password()
	}
	b, err := json.MarshalIndent(map[string]proxy{"http_proxy": p}, "", "  ")
	if err != nil {
		return nil // strings and a number always marshal
	}
	return append(b, '\n')
}
