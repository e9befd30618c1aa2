package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/pluginhost"
)

// The steps of unitsBar.

// start starts the agent, which is not enrolled: what it discovers is there all
// the same.
func (h *unitsHost) start(ctx context.Context) error {
	began := time.Now()
	if err := h.run(ctx, io.Discard, "systemctl", "enable", "--now", "pf9-hostagent.service"); err != nil {
		return err
	}
	note(h.r, "systemctl enable --now pf9-hostagent, until it is ready", time.Since(began), "")
	return h.says(ctx, "status", "version", "discovered")
}

// install installs the package. A plugin does not run by that.
func (h *unitsHost) install(ctx context.Context) error {
	if len(h.rpms) == 0 {
		if err := command(ctx, "make", "-s", "-C", h.plugin.dir, "install", "DESTDIR="+h.root()); err != nil {
			return err
		}
	} else if err := h.rpm(ctx, "--install", h.rpms[0]); err != nil {
		return err
	} else if out, err := h.output(ctx, "rpm", "--verify", "--nodeps", h.plugin.packageName()); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	p, err := h.known(ctx)
	if err != nil {
		return err
	}
	left, err := h.left(ctx)
	if err != nil || p == nil || p.Enabled || p.Running != nil || len(left) > 0 {
		return errors.Join(fmt.Errorf("a plugin that is not enabled is %+v, and there is %q", p, left), err)
	}
	return h.says(ctx, "plugin list", h.plugin.name+"  0.1.0    no       -")
}

// rpm installs or upgrades a package. Its dependency, the agent, is there, but
// not as an rpm.
func (h *unitsHost) rpm(ctx context.Context, how, file string) error {
	return h.run(ctx, io.Discard, "rpm", how, "--nodeps", "--force-debian", "/root/"+filepath.Base(file))
}

func (h *unitsHost) enable(ctx context.Context) error {
	began := time.Now()
	if err := h.says(ctx, "plugin enable "+h.plugin.name, "is enabled; it may list "+h.plugin.kind); err != nil {
		return err
	}
	if err := h.becomes(ctx, "ok", ""); err != nil {
		return err
	}
	note(h.r, "plugin enable, until plugin list calls it ok", time.Since(began), "")
	return nil
}

func (h *unitsHost) show(ctx context.Context) error {
	out, err := h.pf9(ctx, "plugin", "show", h.plugin.name)
	if err != nil {
		return err
	}
	rows := make(map[string]string)
	for _, l := range lines(out) {
		name, value, _ := strings.Cut(l, "  ")
		rows[name] = strings.TrimSpace(value)
	}
	for name, want := range map[string]string{
		"version": "0.1.0", "enabled": "yes", "state": "ok", "kinds": h.plugin.kind, "restarts": "0",
		"runner": pluginhost.RunnerSystemd, "program": h.plugin.program, "network": "none",
	} {
		if rows[name] != want {
			return fmt.Errorf("%s is %q, want %q:\n%s", name, rows[name], want, out)
		}
	}
	if len(rows["program's sha256"]) != 64 {
		return fmt.Errorf("no sum of the program:\n%s", out)
	}
	return nil
}

// get compares what the agent has with the directory that the plugin lists.
func (h *unitsHost) get(ctx context.Context) error {
	if err := h.run(ctx, io.Discard, "touch", "/etc/made-for-the-plugin"); err != nil {
		return err
	}
	if _, err := h.pf9(ctx, "resync"); err != nil {
		return err
	}
	return until(ctx, 20*time.Second, func() error {
		out, err := h.output(ctx, "ls", "-A", "/etc")
		if err != nil {
			return err
		}
		want := lines(out)
		slices.Sort(want)
		got, err := h.resources(ctx)
		if err != nil || !slices.Equal(got, want) {
			return errors.Join(fmt.Errorf("the agent has %q of %q", got, want), err)
		}
		return nil
	})
}

// logs lets the plugin fail and looks for what it says then.
func (h *unitsHost) logs(ctx context.Context) error {
	const file = "/etc/pf9/hostagent.conf.d/70-away.conf"
	text := fmt.Sprintf("[plugins.%q.config]\ndir = \"/nonexistent\"\n", h.plugin.name)
	if err := put(h.root(), file, []byte(text), 0o644); err != nil {
		return err
	}
	if _, err := h.pf9(ctx, "reload"); err != nil {
		return err
	}
	// Nothing was listed with this configuration, so it has failed.
	err := until(ctx, 20*time.Second, func() error {
		p, err := h.known(ctx)
		if err != nil || p == nil || p.Running == nil || !strings.Contains(p.Running.Reason, "/nonexistent") {
			return errors.Join(fmt.Errorf("the plugin is %+v", p), err)
		}
		return h.says(ctx, "plugin logs "+h.plugin.name+" --no-pager -o cat", "its last list stays in force", "/nonexistent")
	})
	if err != nil {
		return err
	}
	if err := h.run(ctx, io.Discard, "rm", file); err != nil {
		return err
	}
	if _, err := h.pf9(ctx, "reload"); err != nil {
		return err
	}
	return h.becomes(ctx, "ok", "")
}

// attach looks at the plugin beside the agent, for two seconds.
func (h *unitsHost) attach(ctx context.Context) error {
	socket := filepath.Join(pluginhost.DefaultSockets, h.plugin.name+".sock")
	out, err := h.output(ctx, "timeout", "--preserve-status", "--signal=INT", "2", "/usr/bin/pf9-hostagent", "plugin", "attach", socket)
	if err != nil || !strings.Contains(out, h.plugin.kind+"  made-for-the-plugin") {
		return errors.Join(fmt.Errorf("it shows %q", out), err)
	}
	err = until(ctx, 3*time.Second, func() error {
		pids, err := h.running(ctx)
		if len(pids) != 1 {
			return errors.Join(fmt.Errorf("%d of the plugin run, want the agent's only", len(pids)), err)
		}
		return err
	})
	if err != nil {
		return err
	}
	return h.says(ctx, "plugin list", h.plugin.name+"  0.1.0    yes      ok")
}

// upgrade lets a newer package take the place of the running one.
func (h *unitsHost) upgrade(ctx context.Context) error {
	if len(h.rpms) == 0 {
		return nil // furnish has said so
	}
	began := time.Now()
	if err := h.rpm(ctx, "--upgrade", h.rpms[1]); err != nil {
		return err
	}
	if err := h.becomes(ctx, "ok", "0.2.0"); err != nil {
		return err
	}
	note(h.r, "rpm --upgrade, until the new version is ok", time.Since(began), "")
	pids, err := h.running(ctx)
	if err == nil && len(pids) != 1 {
		err = fmt.Errorf("%d of the plugin run, want the new one only", len(pids))
	}
	return err
}

func (h *unitsHost) disable(ctx context.Context) error {
	began := time.Now()
	if err := h.says(ctx, "plugin disable "+h.plugin.name, "is disabled"); err != nil {
		return err
	}
	note(h.r, "plugin disable", time.Since(began), "")
	left, err := h.left(ctx)
	if err != nil {
		return err
	}
	most(h.r, "  processes, units and files left "+strings.Join(left, " "), len(left), 0, "")
	err = until(ctx, 20*time.Second, func() error {
		if p, err := h.known(ctx); err != nil || p == nil || p.Enabled || p.Running != nil {
			return errors.Join(fmt.Errorf("the plugin is %+v, want it neither enabled nor running", p), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if ids, err := h.resources(ctx); len(ids) > 0 || err != nil && !strings.Contains(err.Error(), "nothing here lists") {
		return errors.Join(fmt.Errorf("the agent still has %q", ids), err)
	}
	return nil
}

// stubborn disables a plugin that only a SIGKILL ends.
func (h *unitsHost) stubborn(ctx context.Context) error {
	d := &unitsHost{container: h.container, plugin: &scaffolded{name: deafPlugin.name, program: "/usr/libexec/pf9-" + deafPlugin.name}}
	if err := d.says(ctx, "plugin enable "+d.plugin.name, "is enabled"); err != nil {
		return err
	}
	if err := d.becomes(ctx, "ok", ""); err != nil {
		return err
	}
	if err := d.says(ctx, "plugin disable "+d.plugin.name, "is disabled"); err != nil {
		return err
	}
	pids, err := d.running(ctx)
	if err != nil {
		return err
	}
	most(h.r, "  of one that leaves neither at its end nor at SIGTERM", len(pids), 0, "")
	return nil
}

// kill kills the agent while the plugin runs. systemd starts it again.
func (h *unitsHost) kill(ctx context.Context) error {
	if err := h.enable(ctx); err != nil {
		return err
	}
	pids, err := h.running(ctx)
	if err != nil || len(pids) == 0 {
		return errors.Join(errors.New("no plugin runs"), err)
	}
	began := time.Now()
	if err := h.run(ctx, io.Discard, "systemctl", "kill", "--signal=KILL", "pf9-hostagent.service"); err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	if pids, err = h.running(ctx); err != nil {
		return err
	}
	most(h.r, "plugin processes left 1 s after SIGKILL of the agent", len(pids), 0, "")
	if err := until(ctx, 20*time.Second, func() error { return h.says(ctx, "status", "discovered") }); err != nil {
		return err
	}
	if err := h.becomes(ctx, "ok", ""); err != nil {
		return err
	}
	note(h.r, "  until systemd's new agent has it again", time.Since(began), "")
	return nil
}

// remove takes the package away from under the running plugin.
func (h *unitsHost) remove(ctx context.Context) error {
	if len(h.rpms) == 0 {
		return nil // furnish has said so
	}
	if err := h.run(ctx, io.Discard, "rpm", "--erase", "--nodeps", "--force-debian", h.plugin.packageName()); err != nil {
		return err
	}
	if err := h.nothingLeft(ctx, "rpm is removed"); err != nil {
		return err
	}
	return until(ctx, 20*time.Second, func() error {
		if p, err := h.known(ctx); err != nil || p != nil {
			return errors.Join(fmt.Errorf("the agent still knows %+v", p), err)
		}
		return nil
	})
}

// nothingLeft looks for what a package left that went while its plugin was enabled.
func (h *unitsHost) nothingLeft(ctx context.Context, how string) error {
	left, err := h.left(ctx)
	if err != nil {
		return err
	}
	packaged, err := h.output(ctx, "find", "/usr", "-name", "*"+h.plugin.name+"*")
	if err != nil {
		return err
	}
	left = append(left, lines(packaged)...)
	most(h.r, "left of an enabled plugin whose "+how+" "+strings.Join(left, " "), len(left), 0, "")
	return nil
}

// liveDeb installs the plugin's deb, enables it and purges it while it runs.
func (h *unitsHost) liveDeb(ctx context.Context) error {
	// The agent is there, but not as a deb.
	if err := h.run(ctx, io.Discard, "dpkg", "--install", "--force-depends", "/root/"+filepath.Base(h.deb)); err != nil {
		return err
	}
	if p, err := h.known(ctx); err != nil || p == nil || p.Enabled || p.Running != nil {
		return errors.Join(fmt.Errorf("a plugin that is not enabled is %+v", p), err)
	}
	if err := h.enable(ctx); err != nil {
		return err
	}
	if err := h.run(ctx, io.Discard, "dpkg", "--purge", h.plugin.packageName()); err != nil {
		return err
	}
	return h.nothingLeft(ctx, "deb is purged")
}
