package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/api"
)

// The steps of applianceBar at the screen.

// killConsole kills the console; systemd starts another.
func (a *appliance) killConsole(ctx context.Context) error {
	pid, err := a.mainPID(ctx, consoleUnit)
	if err != nil {
		return err
	}
	a.screen.clear()
	began := time.Now()
	if err := a.quietly(ctx, "systemctl", "kill", "--signal=KILL", consoleUnit); err != nil {
		return err
	}
	if err := errors.Join(a.another(ctx, consoleUnit, pid), a.screen.shows(ctx, 10*time.Second, "openpf9 gateway", "name gw-one", "link up for")); err != nil {
		return err
	}
	most(a.r, "SIGKILL of the console, until another shows the status", time.Since(began), 5*time.Second, "")
	return nil
}

// The fields of the page "Network", and how many they are.
const (
	fieldName    = 0
	fieldAddress = 1
	fieldGateway = 2
	fields       = 6
)

// change types into the page "Network" and applies it.
func (a *appliance) change(ctx context.Context, field int, value string) error {
	const clearField = "\x15" // Ctrl-U
	if err := a.screen.press("\x1b"); err != nil {
		return err
	}
	if err := a.screen.shows(ctx, 5*time.Second, "name gw-one"); err != nil {
		return err
	}
	if err := a.screen.press("n"); err != nil {
		return err
	}
	if err := a.screen.shows(ctx, 5*time.Second, "Web proxy", "Apply"); err != nil {
		return err
	}
	if err := a.screen.press(strings.Repeat("\t", field) + clearField + value + strings.Repeat("\t", fields-field) + "\r"); err != nil {
		return err
	}
	return nil
}

// goodChange gives the appliance another address, over which the deployment unit
// answers, and goes back.
func (a *appliance) goodChange(ctx context.Context) error {
	for i, address := range []string{lanPrefix + "11/24", applianceIP + "/24"} {
		began := time.Now()
		if err := a.change(ctx, fieldAddress, address); err != nil {
			return err
		}
		if err := a.screen.shows(ctx, 30*time.Second, "The change was kept: the deployment unit "+a.cp.URL+" answered"); err != nil {
			return err
		}
		if i == 0 {
			note(a.r, "another address typed at the screen, until it is kept", time.Since(began), "")
		}
		if err := a.address(ctx, address, lanGateway); err != nil {
			return err
		}
		if _, err := a.from(ctx, address); err != nil {
			return err
		}
		if i == 0 {
			most(a.r, "  until the gateway is connected from there", time.Since(began), 10*time.Second, "")
		}
		if err := a.has(ctx, []string{"Address=" + address}, "cat", "/etc/systemd/network/10-pf9.network"); err != nil {
			return err
		}
		a.screen.clear()
		if err := a.redraw(ctx); err != nil {
			return err
		}
	}
	return nil
}

// from waits until the deployment unit has the gateway's tunnel from an address.
func (a *appliance) from(ctx context.Context, address string) (host api.Host, err error) {
	address, _, _ = strings.Cut(address, "/")
	return host, until(ctx, 40*time.Second, func() error {
		host, err = a.connected(ctx, 40*time.Second, "gw-one", time.Time{})
		if at, _, _ := strings.Cut(host.Address, ":"); err == nil && at != address {
			err = fmt.Errorf("the tunnel is from %s, want %s", host.Address, address)
		}
		return err
	})
}

// redraw has the console draw everything again.
func (a *appliance) redraw(ctx context.Context) error {
	pid, err := a.mainPID(ctx, consoleUnit)
	if err != nil {
		return err
	}
	if err := a.quietly(ctx, "systemctl", "restart", consoleUnit); err != nil {
		return err
	}
	return a.another(ctx, consoleUnit, pid)
}

// badChange begins a change over which nobody answers: of the default gateway.
func (a *appliance) badChange(ctx context.Context) error {
	const nobody = lanPrefix + "2"
	if err := a.change(ctx, fieldGateway, nobody); err != nil {
		return err
	}
	return errors.Join(
		a.screen.shows(ctx, 10*time.Second, "Changed: gw.gateway.", "Otherwise it is rolled back"),
		a.address(ctx, applianceIP+"/24", nobody),
	)
}

// back wants the network from before, and the screen to tell of it.
func (a *appliance) back(ctx context.Context, why string) error {
	return errors.Join(
		a.address(ctx, applianceIP+"/24", lanGateway),
		a.has(ctx, []string{"Gateway=" + lanGateway}, "cat", "/etc/systemd/network/10-pf9.network"),
		a.screen.shows(ctx, 20*time.Second, "rolled back: "+why),
	)
}

const restarted = "the appliance or its console was restarted before the change was confirmed"

// killChange kills the console while its change waits.
func (a *appliance) killChange(ctx context.Context) error {
	if err := a.badChange(ctx); err != nil {
		return err
	}
	a.screen.clear()
	began := time.Now()
	if err := a.quietly(ctx, "systemctl", "kill", "--signal=KILL", consoleUnit); err != nil {
		return err
	}
	if err := a.back(ctx, restarted); err != nil {
		return err
	}
	note(a.r, "SIGKILL of the console amid a change, until it is rolled back", time.Since(began), "")
	return nil
}

// cutChange cuts the power while a change waits.
func (a *appliance) cutChange(ctx context.Context) error {
	if err := a.badChange(ctx); err != nil {
		return err
	}
	a.close()
	a.screen.clear()
	began := time.Now()
	if err := a.start(ctx); err != nil {
		return err
	}
	if err := a.back(ctx, restarted); err != nil {
		return err
	}
	// The deployment unit may have missed that the tunnel was gone.
	if err := a.screen.shows(ctx, 30*time.Second, "link up for"); err != nil {
		return err
	}
	note(a.r, "power cut amid a change, until it is rolled back and connected", time.Since(began), "")
	return a.healthy(ctx, "after a power cut")
}

// lateChange lets a change's window pass.
func (a *appliance) lateChange(ctx context.Context) error {
	if a.r.quick {
		return nil
	}
	const window = 90 * time.Second
	began := time.Now()
	if err := a.badChange(ctx); err != nil {
		return err
	}
	if err := a.screen.shows(ctx, window+20*time.Second, fmt.Sprintf("rolled back: nobody confirmed it within %s, and nothing answered", "1m30s")); err != nil {
		return err
	}
	most(a.r, "a change that nobody confirms, until it is rolled back", time.Since(began), window+15*time.Second, "")
	if err := a.back(ctx, "nobody confirmed it"); err != nil {
		return err
	}
	// While there is time: a new name of a gateway that is connected.
	began = time.Now()
	if err := a.change(ctx, fieldName, "gw-new"); err != nil {
		return err
	}
	if _, err := a.connected(ctx, 45*time.Second, "gw-new", time.Time{}); err != nil {
		return err
	}
	most(a.r, "another name typed at the screen, until the deployment unit has it", time.Since(began), 40*time.Second, "")
	return nil
}
