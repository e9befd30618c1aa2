package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The steps of applianceBar at its package.

// upgradeDeb installs the next version. What runs is what is installed then; the
// enrolment stays.
func (a *appliance) upgradeDeb(ctx context.Context) error {
	gateway, err := a.mainPID(ctx, gatewayUnit)
	if err != nil {
		return err
	}
	console, err := a.mainPID(ctx, consoleUnit)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := a.quietly(ctx, "dpkg", "--install", a.debs[1]); err != nil {
		return err
	}
	if err := errors.Join(a.another(ctx, gatewayUnit, gateway), a.another(ctx, consoleUnit, console)); err != nil {
		return err
	}
	if _, err := a.connected(ctx, 20*time.Second, "gw-two", began); err != nil {
		return err
	}
	note(a.r, "upgrade of the deb, until the gateway is connected", time.Since(began), "")
	return nil
}

// removeDeb removes the package, installs it again, and purges it.
func (a *appliance) removeDeb(ctx context.Context) error {
	if err := a.quietly(ctx, "dpkg", "--remove", "pf9-gateway"); err != nil {
		return err
	}
	if err := a.nothingRuns(ctx, "removed deb", "--no-legend"); err != nil { // what is enabled stays so
		return err
	}
	began := time.Now()
	if err := a.quietly(ctx, "dpkg", "--install", a.debs[1]); err != nil {
		return err
	}
	if _, err := a.connected(ctx, 20*time.Second, "gw-two", began); err != nil {
		return fmt.Errorf("installed again after a removal: %w", err)
	}
	// What the bar itself put there.
	if err := a.quietly(ctx, "rm", "-r", "/usr/bin/vmware-rpctool", "/etc/guestinfo.ovfEnv", "/etc/systemd/system/"+firstbootUnit+".d"); err != nil {
		return err
	}
	if err := a.quietly(ctx, "dpkg", "--purge", "pf9-gateway"); err != nil {
		return err
	}
	if err := errors.Join(
		a.has(ctx, []string{"appliance"}, "cat", "/etc/hostname"), // as they were
		a.has(ctx, []string{"nameserver 198.51.100.1"}, "cat", "/etc/resolv.conf"),
	); err != nil {
		return err
	}
	return errors.Join(a.nothingRuns(ctx, "purged deb", "--all"), a.nothingLeft("purged deb"))
}

// liveRPM installs and removes the rpm while systemd runs.
func (a *appliance) liveRPM(ctx context.Context) error {
	rpm := func(how, what string) error {
		return a.quietly(ctx, "rpm", how, "--nodeps", "--force-debian", what) // systemd is there, but not as an rpm
	}
	if err := rpm("--install", a.rpm); err != nil {
		return err
	}
	if err := a.has(ctx, []string{"enabled disabled disabled"}, "sh", "-c", `systemctl is-enabled "$@" || :`, "sh", gatewayUnit, firstbootUnit, consoleUnit); err != nil {
		return err
	}
	if pid, err := a.mainPID(ctx, gatewayUnit); err != nil || pid != "0" {
		return errors.Join(fmt.Errorf("the rpm started its service, process %s", pid), err)
	}
	if err := a.quietly(ctx, "rpm", "--verify", "--nodeps", "pf9-gateway"); err != nil {
		return err
	}
	if err := a.quietly(ctx, "systemctl", "start", gatewayUnit); err != nil {
		return err
	}
	if err := a.has(ctx, []string{"not enrolled"}, "sh", "-c", "pf9-gateway status || :"); err != nil {
		return err
	}
	if err := rpm("--erase", "pf9-gateway"); err != nil {
		return err
	}
	return errors.Join(a.nothingRuns(ctx, "removed rpm", "--all"), a.nothingLeft("removed rpm"))
}

// nothingRuns wants no unit and no process of the gateway. With "--all" a unit must
// not even be enabled.
func (a *appliance) nothingRuns(ctx context.Context, what, which string) error {
	units, err := a.output(ctx, "systemctl", "list-units", which, "--plain", "--no-legend", "pf9*")
	if err != nil {
		return err
	}
	processes, err := a.output(ctx, "sh", "-c", `for p in /proc/[0-9]*; do case "$(readlink $p/exe)" in *pf9*) echo process ${p#/proc/} ;; esac; done`)
	if err != nil {
		return err
	}
	left := append(lines(units), lines(processes)...)
	most(a.r, "units and processes left of a "+what+" "+strings.Join(left, " "), len(left), 0, "")
	return nil
}

// nothingLeft wants no file of the gateway that was not there before.
func (a *appliance) nothingLeft(what string) error {
	now, err := a.traces()
	if err != nil {
		return err
	}
	before := strings.Join(a.bare, "\n") + "\n"
	var left []string
	for _, file := range now {
		if !strings.Contains(before, file+"\n") {
			left = append(left, strings.TrimPrefix(file, a.at()))
		}
	}
	most(a.r, "  files "+strings.Join(left, " "), len(left), 0, "")
	return nil
}
