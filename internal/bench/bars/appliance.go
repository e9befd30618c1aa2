package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/sandbox"
	"github.com/openpf9/openpf9/internal/wire"
)

// appliance is a Debian that is what the gateway's image is: the package is
// installed, the units of the appliance are enabled, getty makes way. Its network
// card is a veth, its screen a pseudo terminal, its disc a loop device.
type appliance struct {
	*container
	r      *run
	lan    *lan
	cp     *sandbox.ControlPlane
	screen *screen
	debs   []string // the older one first
	rpm    string
	token  string // the first one, which is spent soon
	host   wire.HostID
	// properties are what guestinfo has, but for a token.
	properties map[string]string
	bare       []string // what there was of it before it was installed
}

const (
	firstbootUnit = "pf9-gateway-firstboot.service"
	consoleUnit   = "pf9-gateway-console.service"
	gatewayUnit   = "pf9-gateway.service"
	applianceLink = "host0" // as systemd-nspawn calls it
	applianceIP   = lanPrefix + "10"
)

// applianceBar does with it what an administrator and a power cut do.
func applianceBar(ctx context.Context, r *run) error {
	a := &appliance{r: r}
	if err := a.furnish(ctx); err != nil {
		return err
	}
	defer a.screen.close()
	defer func() {
		if a.container != nil {
			a.close()
		}
	}()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"the image", a.image},
		{"first boot, by a disc", a.firstBoot},
		{"systemd-analyze", a.analyze},
		{"another boot", a.secondBoot},
		{"SIGKILL of the console", a.killConsole},
		{"a network change that the deployment unit answers", a.goodChange},
		{"SIGKILL of the console amid a network change", a.killChange},
		{"power cut amid a network change", a.cutChange},
		{"a network change that nobody confirms", a.lateChange},
		{"guestinfo, DHCP and a proxy", a.guestinfo},
		{"another token", a.newToken},
		{"a token that was used", a.spentToken},
		{"upgrade of the deb", a.upgradeDeb},
		{"removal of the deb", a.removeDeb},
		{"the rpm", a.liveRPM},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w\n%s", step.what, err, a.journal(ctx))
		}
		fmt.Printf("  . %s (%s)\n", step.what, time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}

// journal is what there is to say why something did not work.
func (a *appliance) journal(ctx context.Context) string {
	if a.container == nil {
		return ""
	}
	var log strings.Builder
	_ = a.run(ctx, &log, "journalctl", "-b", "-n", "40", "--no-pager", "-o", "short-precise") // what there is
	return log.String() + "\non the screen:\n" + a.screen.text()
}

func (a *appliance) at() string { return filepath.Join(a.r.box.Dir, "root") }

// furnish makes the Debian, the packages, the network and the deployment unit.
func (a *appliance) furnish(ctx context.Context) (err error) {
	for _, tool := range []struct{ name, in string }{
		{"ip", "iproute2"}, {"losetup", "mount"}, {"xorriso", "xorriso"}, {"dpkg-deb", "dpkg"}, {"rpm", "rpm"},
	} {
		if _, err := exec.LookPath(tool.name); err != nil {
			return fmt.Errorf("%s is missing (Debian: %s): %w", tool.name, tool.in, err)
		}
	}
	if err := debian(ctx, a.at(), "dnsmasq-base", "rpm"); err != nil {
		return err
	}
	for _, p := range []struct{ packager, version string }{{"deb", "0.1.0"}, {"deb", "0.2.0"}, {"rpm", "0.1.0"}} {
		file, err := gatewayPackage(ctx, a.r, p.packager, p.version)
		if err != nil {
			return err
		}
		if err := command(ctx, "cp", file, filepath.Join(a.at(), "root")); err != nil {
			return err
		}
		if inside := "/root/" + filepath.Base(file); p.packager == "deb" {
			a.debs = append(a.debs, inside)
		} else {
			a.rpm = inside
		}
	}
	note(a.r, "deb and rpm of the gateway, with what they must have and no more", len(a.debs)+1, "")
	if a.lan, err = newLAN(ctx, a.r.box); err != nil {
		return err
	}
	if a.cp, err = a.r.box.ControlPlane(ctx, lanUnit); err != nil {
		return err
	}
	a.screen, err = newScreen()
	return err
}

// image does what the build of an image does.
func (a *appliance) image(ctx context.Context) (err error) {
	if a.bare, err = a.traces(); err != nil {
		return err
	}
	if err := errors.Join(
		// A veth is no card, and a loop device no drive.
		put(a.at(), "/etc/pf9/gateway.conf.d/20-link.conf", []byte("[appliance]\nlink = \""+applianceLink+"\"\n"), 0o644),
		put(a.at(), "/etc/systemd/system/"+firstbootUnit+".d/disc.conf", []byte("[Service]\nDeviceAllow=/dev/sr0 r\n"), 0o644),
		put(a.at(), "/etc/hostname", []byte("appliance\n"), 0o644),
		put(a.at(), "/etc/resolv.conf", []byte("nameserver 198.51.100.1\n"), 0o644),
	); err != nil {
		return err
	}
	for _, words := range [][]string{
		{"dpkg", "--install", a.debs[0]},
		{"systemctl", "enable", "systemd-networkd.service", firstbootUnit, consoleUnit},
		{"systemctl", "mask", "getty@tty1.service", "console-getty.service"},
		{"systemctl", "is-enabled", gatewayUnit},
	} {
		if err := command(ctx, append([]string{"chroot", a.at()}, words...)...); err != nil {
			return err
		}
	}
	return nil
}

// environment is the OVF environment with these properties, as a hypervisor
// writes it.
func environment(properties map[string]string) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1"
  xmlns:ve="http://www.vmware.com/schema/ovfenv" oe:id="" ve:vCenterId="vm-42">
  <PlatformSection><Kind>VMware ESXi</Kind><Version>8.0.3</Version><Vendor>VMware, Inc.</Vendor><Locale>en</Locale></PlatformSection>
  <PropertySection>
`)
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&b, "    <Property oe:key=%q oe:value=\"", key)
		_ = xml.EscapeText(&b, []byte(properties[key])) // a Builder never fails
		b.WriteString("\"/>\n")
	}
	b.WriteString("  </PropertySection>\n</Environment>\n")
	return b.String()
}

// disc makes an ISO 9660 image of the environment, and a device of it.
func (a *appliance) disc(ctx context.Context, properties map[string]string) (string, error) {
	dir, image := filepath.Join(a.r.box.Dir, "disc"), filepath.Join(a.r.box.Dir, "ovf.iso")
	if err := put(dir, "ovf-env.xml", []byte(environment(properties)), 0o644); err != nil {
		return "", err
	}
	if err := command(ctx, "xorriso", "-as", "mkisofs", "-quiet", "-J", "-R", "-V", "OVF ENV", "-o", image, dir); err != nil {
		return "", err
	}
	return loopDevice(ctx, a.r.box, image)
}

// joinToken is a new token for a gateway, once it is known for this one.
func (a *appliance) joinToken(ctx context.Context) (string, error) {
	made, err := a.cp.Client.CreateJoinToken(ctx, api.JoinTokenRequest{Kind: "gateway", Host: a.host})
	return made.Secret, err
}

// connected waits until the deployment unit has one gateway, of this name, which
// is there since after a time.
func (a *appliance) connected(ctx context.Context, limit time.Duration, name string, after time.Time) (host api.Host, err error) {
	return host, until(ctx, limit, func() error {
		hosts, err := a.cp.Client.Hosts(ctx)
		if err != nil || len(hosts) != 1 {
			return errors.Join(fmt.Errorf("the deployment unit has %d hosts, want one", len(hosts)), err)
		}
		if host = hosts[0]; host.Kind != "gateway" || host.Hostname != name || !host.Connected || host.Since.Before(after) {
			return fmt.Errorf("the deployment unit has %+v, want the gateway %s connected since %s", host, name, after)
		}
		return nil
	})
}

// healthy wants no unit to have failed in this boot, and no error in its journal.
func (a *appliance) healthy(ctx context.Context, boot string) error {
	failed, err := a.output(ctx, "systemctl", "--failed", "--plain", "--no-legend")
	if err != nil {
		return err
	}
	most(a.r, "units that failed, "+boot+" "+strings.Join(lines(failed), " "), len(lines(failed)), 0, "")
	log, err := a.output(ctx, "journalctl", "-b", "-p", "err", "--quiet", "--no-pager", "-o", "short-precise")
	if err != nil {
		return err
	}
	most(a.r, "  errors in the journal "+strings.Join(lines(log), " "), len(lines(log)), 0, "")
	return nil
}

// has wants a program in the container to print all texts.
func (a *appliance) has(ctx context.Context, texts []string, words ...string) error {
	out, err := a.output(ctx, words...)
	if err != nil {
		return err
	}
	flat := strings.Join(strings.Fields(out), " ")
	for _, t := range texts {
		if !strings.Contains(flat, t) {
			return fmt.Errorf("%s says\n%s\nwant %q", strings.Join(words, " "), out, t)
		}
	}
	return nil
}

// address waits until the card has an address, and its default route goes by a
// gateway, or nowhere if that is empty. This machine's ip asks, for the Debian has none.
func (a *appliance) address(ctx context.Context, address, gateway string) error {
	return until(ctx, 20*time.Second, func() error {
		have, err := a.ip(ctx, "-o", "-4", "address", "show", "dev", applianceLink)
		route, err2 := a.ip(ctx, "-4", "route", "show", "default")
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		if strings.Count(have, " inet ") != 1 || !strings.Contains(have, " inet "+address) {
			return fmt.Errorf("the card has %q, want %s alone", have, address)
		}
		if gateway == "" && route != "" || gateway != "" && !strings.HasPrefix(route, "default via "+gateway+" ") {
			return fmt.Errorf("the default route is %q, want one by %q", route, gateway)
		}
		return nil
	})
}

func (a *appliance) ip(ctx context.Context, words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", append([]string{"-t", a.init, "-n", "ip"}, words...)...).Output()
	return string(out), err
}

// mainPID is the process of a service; 0: none.
func (a *appliance) mainPID(ctx context.Context, unit string) (string, error) {
	out, err := a.output(ctx, "systemctl", "show", "--property=MainPID", "--value", unit)
	return strings.TrimSpace(out), err
}

// another waits until another process than the one before is a service's.
func (a *appliance) another(ctx context.Context, unit, before string) error {
	return until(ctx, 20*time.Second, func() error {
		now, err := a.mainPID(ctx, unit)
		if err == nil && (now == "0" || now == before) {
			err = fmt.Errorf("the process of %s is %s, want another than %s", unit, now, before)
		}
		return err
	})
}

// quietly runs a program in the container.
func (a *appliance) quietly(ctx context.Context, words ...string) error {
	return a.run(ctx, io.Discard, words...)
}

// ctl runs pf9ctl, as the deployment unit's administrator.
func (a *appliance) ctl(ctx context.Context, words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, a.r.box.Programs.Ctl, append([]string{
		"--url", a.cp.URL, "--ca-file", a.cp.CAFile, "--token-file", filepath.Join(a.cp.State, "admin.token"),
	}, words...)...).CombinedOutput()
	return string(out), err
}

// traces are what there is of the gateway in the root: by name, and by owner.
func (a *appliance) traces() ([]string, error) {
	users, err := os.ReadFile(filepath.Join(a.at(), "etc/passwd"))
	if err != nil {
		return nil, err
	}
	look := []string{
		"find", a.at(), "-xdev", "(", "-path", "*/root/pf9-gateway-*", "-o", "-path", "*/var/log/*", ")", "-prune", "-o",
		"(", "-name", "*pf9*", "-o", "-name", "gateway.conf*",
	}
	for line := range strings.Lines(string(users)) {
		if f := strings.Split(line, ":"); f[0] == "pf9" {
			look = append(look, "-o", "-uid", f[2], "-o", "-gid", f[3])
		}
	}
	out, err := exec.Command(look[0], append(look[1:], ")", "-print")...).Output()
	return lines(string(out)), err
}
