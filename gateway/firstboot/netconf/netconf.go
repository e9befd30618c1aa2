// Package netconf makes the appliance's network what the settings say: at once
// over rtnetlink, and for every boot as files of systemd-networkd, timesyncd and
// the resolver. It compares before it acts, so applying twice changes nothing.
//
// A change from the console goes through a [Changer]: it is taken back unless
// somebody confirms it or the far side answers.
package netconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/gateway/firstboot/program"
	"github.com/openpf9/openpf9/gateway/firstboot/settings"
)

const (
	programLimit = 20 * time.Second // for networkctl and systemctl
	linkLimit    = 30 * time.Second // for a driver at boot
	linkEvery    = 100 * time.Millisecond
)

// System is what is configured. The zero value is this machine.
type System struct {
	Root string // before the paths of all files; empty: /
	// Link is the network interface; empty: the first that is a real card.
	Link string
	Log  *slog.Logger // nil discards
}

// The files, below Root.
const (
	networkFile  = "/etc/systemd/network/10-pf9.network"
	timeFile     = "/etc/systemd/timesyncd.conf.d/10-pf9.conf"
	hostnameFile = "/etc/hostname"
	resolvFile   = "/etc/resolv.conf"
	proxyFile    = "/etc/pf9/comms_proxy_cfg.json"

	networkdRuns  = "/run/systemd/netif"
	timesyncdRuns = "/run/systemd/timesync"
	udevRuns      = "/run/udev/control"
	udevKnows     = "/run/udev/data/n" // and the link's index
)

func (s *System) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *System) path(p string) string { return filepath.Join("/", s.Root, p) }

func (s *System) runs(mark string) bool {
	_, err := os.Stat(s.path(mark))
	return err == nil
}

// Apply makes everything as the settings say and returns what had to be
// changed, for people. An error leaves some of it done; apply again, or apply
// what was before.
func (s *System) Apply(ctx context.Context, want settings.Settings) ([]string, error) {
	link, err := s.FindLink()
	if err != nil {
		return nil, err
	}
	changed, err := s.writeFiles(want, link)
	if err != nil {
		return changed, err
	}
	wrote := func(file string) bool { return slices.Contains(changed, file) }
	name, err := s.setHostname(want.Hostname, wrote(hostnameFile))
	if err != nil {
		return changed, err
	}
	if name != "" {
		changed = append(changed, "host name "+name)
	}
	if wrote(timeFile) && s.runs(timesyncdRuns) {
		if _, err := program.Run(ctx, programLimit, "systemctl", "try-restart", "systemd-timesyncd.service"); err != nil {
			return changed, fmt.Errorf("make the time service read %s: %w", timeFile, err)
		}
	}
	moved, err := s.setLink(link, want)
	changed = append(changed, moved...)
	if err != nil {
		return changed, err
	}
	if wrote(networkFile) || len(moved) > 0 {
		err = s.reload(ctx, want)
	}
	return changed, err
}

// reload makes networkd read its files. Without networkd a static address needs
// nobody, but nobody asks for a DHCP lease.
func (s *System) reload(ctx context.Context, want settings.Settings) error {
	if !s.runs(networkdRuns) {
		if want.DHCP() {
			s.log().Warn("systemd-networkd is not running: there will be no address by DHCP until it is", "file", networkFile)
		}
		return nil
	}
	if _, err := program.Run(ctx, programLimit, "networkctl", "reload"); err != nil {
		return fmt.Errorf("make systemd-networkd read %s: %w", networkFile, err)
	}
	return nil
}

// writeFiles writes those files that differ and returns their names.
func (s *System) writeFiles(want settings.Settings, link string) ([]string, error) {
	var changed []string
	for _, f := range s.files(want, link) {
		did, err := f.write(s.path(f.path))
		if err != nil {
			return changed, fmt.Errorf("write %s: %w", f.path, err)
		}
		if did {
			changed = append(changed, f.path)
		}
	}
	return changed, nil
}

// setHostname names the running system, as wanted or, where nothing is wanted
// any more, as its file says. It returns the new name if it is one.
func (s *System) setHostname(want string, restored bool) (string, error) {
	if want == "" && restored {
		b, err := os.ReadFile(s.path(hostnameFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		want = strings.TrimSpace(string(b))
	}
	if now, err := os.Hostname(); want == "" || err == nil && now == want {
		return "", nil
	}
	if err := syscall.Sethostname([]byte(want)); err != nil {
		return "", fmt.Errorf("set the host name %s: %w", want, err)
	}
	return want, nil
}

// resolverIsOurs says whether nobody else writes resolv.conf: a link points to
// the file of a service that does, and that learns of servers by networkd.
func (s *System) resolverIsOurs() bool {
	info, err := os.Lstat(s.path(resolvFile))
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	return err == nil && info.Mode().IsRegular()
}

// Describe says in one line what network the settings ask for.
func Describe(s settings.Settings) string {
	text := "DHCP"
	if !s.DHCP() {
		text = "static " + s.Address.String()
		if s.Gateway.IsValid() {
			text += " via " + s.Gateway.String()
		}
	}
	if len(s.DNS) > 0 {
		text += ", DNS " + strings.ReplaceAll(s.Properties()[settings.KeyDNS], ",", " ")
	}
	return text
}
