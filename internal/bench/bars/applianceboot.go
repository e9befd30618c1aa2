package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
)

// The steps of applianceBar that are boots.

// firstBoot boots what has just been deployed: its properties are on a disc.
func (a *appliance) firstBoot(ctx context.Context) (err error) {
	if a.token, err = a.joinToken(ctx); err != nil {
		return err
	}
	device, err := a.disc(ctx, map[string]string{
		"gw.hostname": "gw-one", "gw.ip": applianceIP + "/24", "gw.gateway": lanGateway, "gw.dns": lanGateway + ",198.51.100.2",
		"gw.ntp": "ntp.example," + lanGateway, "gw.du_url": a.cp.URL, "gw.join_token": a.token, "vm.vmname": "gateway & others",
	})
	if err != nil {
		return err
	}
	began := time.Now()
	if a.container, err = boot(ctx, a.at(), "--network-bridge="+a.lan.bridge, "--bind="+a.screen.path+":/dev/tty1", "--bind-ro="+device+":/dev/sr0"); err != nil {
		return err
	}
	host, err := a.connected(ctx, 30*time.Second, "gw-one", time.Time{})
	if err != nil {
		return err
	}
	a.host = host.ID
	note(a.r, "first boot, until the gateway is connected", time.Since(began), "")
	if out, err := a.ctl(ctx, "get", "host"); err != nil || !strings.Contains(out, "gw-one") {
		return errors.Join(fmt.Errorf("pf9ctl get host says\n%s", out), err)
	}
	if err := errors.Join(
		a.address(ctx, applianceIP+"/24", lanGateway),
		a.has(ctx, []string{"gw-one"}, "hostname"),
		a.has(ctx, []string{"gw-one"}, "cat", "/etc/hostname"),
		a.has(ctx, []string{"NTP=ntp.example " + lanGateway}, "systemd-analyze", "cat-config", "systemd/timesyncd.conf"),
		a.has(ctx, []string{"nameserver " + lanGateway + " nameserver 198.51.100.2"}, "cat", "/etc/resolv.conf"),
		a.has(ctx, []string{"10-pf9.network", "routable"}, "networkctl", "--no-pager", "status", applianceLink),
		a.has(ctx, []string{"pf9 600"}, "stat", "--format=%U %a", "/etc/pf9/certs/hostagent/key.pem"),
		a.has(ctx, []string{"root 755 root 700 pf9 750"}, "stat", "--format=%U %a", "/var/lib/pf9", "/var/lib/pf9/appliance", "/var/lib/pf9/gateway"),
		a.screen.shows(ctx, 10*time.Second, "name gw-one", applianceLink+" "+applianceIP+"/24", "static "+applianceIP+"/24 via "+lanGateway, "link up for"),
	); err != nil {
		return err
	}
	told, err := a.output(ctx, "sh", "-c", `journalctl -b --no-pager | grep -cF "$0"; grep -rlF "$0" /etc /var/lib /run`, a.token)
	if err == nil || strings.TrimSpace(told) != "0" { // the last grep finds nothing, which is its error
		return fmt.Errorf("the join token stands in the journal or in files: %s", told)
	}
	return a.healthy(ctx, "first boot")
}

// analyze asks systemd about the units.
func (a *appliance) analyze(ctx context.Context) error {
	said, err := a.output(ctx, "sh", "-c", `exec systemd-analyze verify --man=no "$0" "$@" 2>&1`, gatewayUnit, firstbootUnit, consoleUnit)
	most(a.r, "complaints of systemd-analyze verify "+said, len(lines(said)), 0, "")
	if err != nil {
		return err
	}
	for _, u := range []struct {
		unit string
		most float64
	}{{gatewayUnit, 2}, {firstbootUnit, 3.2}, {consoleUnit, 3.2}} {
		out, err := a.output(ctx, "systemd-analyze", "security", "--no-pager", u.unit)
		if err != nil {
			return err
		}
		exposure, err := exposure(out)
		if err != nil {
			return err
		}
		most(a.r, "  exposure of "+u.unit, exposure, u.most, "")
	}
	return nil
}

// secondBoot reboots from the screen, with the disc in the drive still.
func (a *appliance) secondBoot(ctx context.Context) error {
	const files = `find /etc /var/lib/pf9/appliance -type f -printf '%p %s %T@\n'`
	before, err := a.output(ctx, "sh", "-c", files)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := a.screen.press("r"); err != nil {
		return err
	}
	if err := a.screen.shows(ctx, 5*time.Second, "Reboot the gateway?"); err != nil {
		return err
	}
	a.screen.clear()
	if err := errors.Join(a.screen.press("\t\r"), a.again(ctx)); err != nil {
		return err
	}
	if _, err := a.connected(ctx, 30*time.Second, "gw-one", began); err != nil {
		return err
	}
	note(a.r, "reboot from the screen, from the keys until the gateway is connected", time.Since(began), "")
	after, err := a.output(ctx, "sh", "-c", files)
	if err != nil {
		return err
	}
	changed := slices.DeleteFunc(lines(after), func(l string) bool { return strings.Contains(before, l+"\n") })
	most(a.r, "  files of /etc and of the appliance that it wrote "+strings.Join(changed, " "), len(changed), 0, "")
	log, err := a.output(ctx, "journalctl", "-b", "--no-pager", "-o", "cat", "-u", firstbootUnit)
	if err != nil || strings.Contains(log, "applied") || strings.Contains(log, "enrolled") {
		return errors.Join(fmt.Errorf("the second boot did something:\n%s", log), err)
	}
	if err := errors.Join(a.address(ctx, applianceIP+"/24", lanGateway), a.screen.shows(ctx, 10*time.Second, "name gw-one", "link up for")); err != nil {
		return err
	}
	// systemd must not hold the daemon until routers have been looked for.
	took, err := a.output(ctx, "systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "--value", gatewayUnit)
	if err != nil {
		return err
	}
	userspace, err := a.output(ctx, "systemctl", "show", "--property=UserspaceTimestampMonotonic", "--value")
	if err != nil {
		return err
	}
	var up, from int64
	if _, err := fmt.Sscan(took+" "+userspace, &up, &from); err != nil {
		return err
	}
	most(a.r, "  from systemd's start until the gateway is ready", time.Duration(up-from)*time.Microsecond, 5*time.Second, "")
	return a.healthy(ctx, "second boot")
}

// rpctool stands for VMware's program: it takes one argument, a command, and
// answers as that does. What is set is kept in a file.
const rpctool = `#!/bin/sh
store=/etc/guestinfo.ovfEnv
case "$1" in
"info-get guestinfo.ovfEnv") [ -s $store ] || { echo "No value found" >&2; exit 1; }; cat $store ;;
"info-set guestinfo.ovfEnv "*) printf '%s\n' "${1#info-set guestinfo.ovfEnv }" >$store ;;
*) echo "Unknown command" >&2; exit 1 ;;
esac
`

// guestinfo boots with new properties, which VMware's tools hand out: a name, an
// address by DHCP, and no default route, so that only a proxy leads to the
// deployment unit. The identity stays.
func (a *appliance) guestinfo(ctx context.Context) error {
	proxy, err := a.lan.proxy(a.r.box, "gateway", "p@ss:word")
	if err != nil {
		return err
	}
	if err := a.lan.dhcp(a.r.box, a.at()); err != nil {
		return err
	}
	a.properties = map[string]string{
		"gw.hostname": "gw-two", "gw.ip": "", "gw.gateway": "", "gw.dns": "", "gw.ntp": "", "gw.proxy": proxy.url, "gw.du_url": a.cp.URL,
	}
	if err := put(a.at(), "/usr/bin/vmware-rpctool", []byte(rpctool), 0o755); err != nil {
		return err
	}
	began := time.Now()
	host, err := a.rebootWith(ctx, "")
	if err != nil {
		return err
	}
	most(a.r, "reboot into DHCP and a proxy, until the gateway is connected", time.Since(began), 20*time.Second, "")
	if asked := proxy.asked(); len(asked) == 0 || slices.ContainsFunc(asked, func(t string) bool { return "https://"+t != a.cp.URL }) {
		return fmt.Errorf("the proxy was asked for %q, want %s", asked, a.cp.URL)
	}
	if host.ID != a.host {
		return fmt.Errorf("the gateway is %s, was %s", host.ID, a.host)
	}
	if err := errors.Join(
		a.address(ctx, lanPrefix+"1", ""), // .100 to .120
		a.has(ctx, []string{"gw-two"}, "hostname"),
		a.has(ctx, []string{"nameserver 198.51.100.1"}, "cat", "/etc/resolv.conf"), // the system's own again
		a.screen.shows(ctx, 10*time.Second, "name gw-two", "network DHCP", "link up for"),
	); err != nil {
		return err
	}
	return a.healthy(ctx, "guestinfo, DHCP and proxy")
}

// rebootWith boots with the properties and, if it is not empty, a token in
// guestinfo, and waits until the gateway is connected.
func (a *appliance) rebootWith(ctx context.Context, token string) (api.Host, error) {
	properties := maps.Clone(a.properties)
	if token != "" {
		properties["gw.join_token"] = token
	}
	if err := put(a.at(), "/etc/guestinfo.ovfEnv", []byte(environment(properties)), 0o600); err != nil {
		return api.Host{}, err
	}
	began := time.Now()
	a.screen.clear()
	if err := a.reboot(ctx); err != nil {
		return api.Host{}, err
	}
	return a.connected(ctx, time.Minute, properties["gw.hostname"], began)
}

// newToken boots with another token: the gateway enrols anew.
func (a *appliance) newToken(ctx context.Context) error {
	before, err := a.cp.Client.Hosts(ctx)
	if err != nil {
		return err
	}
	token, err := a.joinToken(ctx)
	if err != nil {
		return err
	}
	host, err := a.rebootWith(ctx, token)
	if err != nil {
		return err
	}
	if host.ID != a.host || host.Certificate.Serial == before[0].Certificate.Serial {
		return fmt.Errorf("the gateway is %s with the certificate %s, was %s with %s; want the same with another", host.ID, host.Certificate.Serial, a.host, before[0].Certificate.Serial)
	}
	left, err := a.output(ctx, "cat", "/etc/guestinfo.ovfEnv")
	if err != nil || strings.Contains(left, token) || !strings.Contains(left, "gw-two") {
		return errors.Join(fmt.Errorf("guestinfo has still\n%s", left), err)
	}
	return a.healthy(ctx, "another token")
}

// spentToken boots with the token of the first boot, which is refused, and then
// without.
func (a *appliance) spentToken(ctx context.Context) error {
	// The identity that is there works on.
	if _, err := a.rebootWith(ctx, a.token); err != nil {
		return err
	}
	const refusal = "the deployment unit refused"
	log, err := a.output(ctx, "journalctl", "-b", "--no-pager", "-o", "cat", "-u", firstbootUnit)
	if err != nil || !strings.Contains(log, refusal) {
		return errors.Join(fmt.Errorf("the unit's journal does not say that %s:\n%s", refusal, log), err)
	}
	if err := a.screen.shows(ctx, 10*time.Second, refusal, "link up for"); err != nil {
		return err
	}
	_, said, _ := strings.Cut(strings.Join(strings.Fields(a.screen.text()), " "), refusal)
	said, _, _ = strings.Cut(said, " F2 ") // the keys below
	a.r.out = append(a.r.out, figure{"a token used twice, on the screen", "told", refusal + said, true})
	if _, err := a.rebootWith(ctx, ""); err != nil {
		return err
	}
	return a.healthy(ctx, "without the token")
}
