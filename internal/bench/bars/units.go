package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/internal/pluginhost"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/packaging"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// unitsHost is a Debian on which the agent is the service that its unit makes,
// and on which a plugin of the scaffold's goes through its life.
type unitsHost struct {
	*container
	r      *run
	plugin *scaffolded
	python *scaffolded // another, of which packages are built only
	rpms   []string    // of the plugin, the older one first; none: there is no rpmbuild
	deb    string      // of the plugin
}

// unitsBar does on such a host what an administrator does, with the commands
// that there are for it.
func unitsBar(ctx context.Context, r *run) error {
	h := &unitsHost{r: r}
	if err := h.furnish(ctx); err != nil {
		return err
	}
	var err error
	if h.container, err = boot(ctx, h.root(), "--private-network"); err != nil {
		return err
	}
	defer h.close()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"the agent starts under its unit", h.start},
		{"the plugin's package is installed", h.install},
		{"plugin enable", h.enable},
		{"plugin show", h.show},
		{"get of its kind", h.get},
		{"plugin logs", h.logs},
		{"plugin attach", h.attach},
		{"upgrade of its package", h.upgrade},
		{"plugin disable", h.disable},
		{"plugin disable of one that does not leave", h.stubborn},
		{"SIGKILL of the agent", h.kill},
		{"removal of its package", h.remove},
		{"its deb", h.liveDeb},
	} {
		if err := step.do(ctx); err != nil {
			var log strings.Builder
			_ = h.run(ctx, &log, "journalctl", "-b", "-n", "40", "--no-pager", "-o", "short-precise") // what there is
			return fmt.Errorf("%s: %w\n%s", step.what, err, &log)
		}
	}
	return nil
}

func (h *unitsHost) root() string { return filepath.Join(h.r.box.Dir, "root") }

// furnish makes the Debian, and the plugin's packages.
func (h *unitsHost) furnish(ctx context.Context) (err error) {
	if h.plugin, err = newScaffolded(ctx, h.r, "go"); err != nil {
		return err
	}
	if h.python, err = newScaffolded(ctx, h.r, "python"); err != nil {
		return err
	}
	var more []string
	if _, err := exec.LookPath("rpmbuild"); err != nil {
		h.r.out = append(h.r.out, figure{"rpms of new plugins", "skipped", "rpmbuild is missing (Debian: rpm)", true})
	} else if err := h.packages(ctx); err != nil {
		return err
	} else {
		more = []string{"rpm"}
	}
	if err := debian(ctx, h.root(), more...); err != nil {
		return err
	}
	if err := h.nfpmPackages(ctx); err != nil {
		return err
	}
	for _, file := range append(slices.Clone(h.rpms), h.deb) {
		text, err := os.ReadFile(file)
		if err == nil {
			err = put(h.root(), "/root/"+filepath.Base(file), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(deafPlugin.furnish(h.root(), ""), furnishAgent(ctx, h.root(), h.r.box.Programs.HostAgent))
}

// packages builds the rpms of new plugins, in both languages.
func (h *unitsHost) packages(ctx context.Context) error {
	if _, err := h.python.rpm(ctx, "0.1.0"); err != nil {
		return err
	}
	for _, version := range []string{"0.1.0", "0.2.0"} {
		file, err := h.plugin.rpm(ctx, version)
		if err != nil {
			return err
		}
		h.rpms = append(h.rpms, file)
	}
	note(h.r, "rpms of new plugins, in Go and Python, with what they must have", len(h.rpms)+1, "")
	return nil
}

// nfpmPackages builds debs and rpms of new plugins, in both languages, with nfpm.
func (h *unitsHost) nfpmPackages(ctx context.Context) error {
	if _, err := exec.LookPath("rpm"); err != nil {
		return fmt.Errorf("rpm is missing, to look into rpms (Debian: rpm): %w", err)
	}
	tool, err := nfpm(ctx, h.r)
	if err != nil {
		return err
	}
	for _, p := range []*scaffolded{h.python, h.plugin} {
		for _, packager := range []string{"rpm", "deb"} {
			file, err := p.nfpm(ctx, tool, packager, "0.2.0")
			if err != nil {
				return err
			}
			h.deb = file
		}
	}
	note(h.r, "debs and rpms by nfpm, likewise", 4, "")
	return nil
}

// furnishAgent puts into a root what the agent's package does.
func furnishAgent(ctx context.Context, root, program string) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	errs := put(root, "/usr/bin/pf9-hostagent", text, 0o755)
	for name, to := range map[string]string{
		"pf9-hostagent.service": "/usr/lib/systemd/system/pf9-hostagent.service",
		"pf9.sysusers":          "/usr/lib/sysusers.d/pf9.conf",
		"pf9.tmpfiles":          "/usr/lib/tmpfiles.d/pf9.conf",
		"hostagent.conf":        "/etc/pf9/hostagent.conf",
	} {
		text, err := fs.ReadFile(packaging.Linux, path.Join("linux", name))
		errs = errors.Join(errs, err, put(root, to, text, 0o644))
	}
	return errors.Join(errs, command(ctx, "systemd-sysusers", "--root="+root))
}

// pf9 runs the agent's command line on the host.
func (h *unitsHost) pf9(ctx context.Context, words ...string) (string, error) {
	return h.output(ctx, append([]string{"/usr/bin/pf9-hostagent"}, words...)...)
}

// says runs the agent's command line and wants all texts in what it prints.
func (h *unitsHost) says(ctx context.Context, command string, texts ...string) error {
	out, err := h.pf9(ctx, strings.Fields(command)...)
	if err != nil {
		return err
	}
	for _, t := range texts {
		if !strings.Contains(out, t) {
			return fmt.Errorf("%s says\n%s\nwant %q", command, out, t)
		}
	}
	return nil
}

// knownPlugin is what `plugin list -o json` tells of a plugin.
type knownPlugin struct {
	Name    string            `json:"name"`
	Enabled bool              `json:"enabled"`
	Running *inventory.Plugin `json:"running"`
}

// known asks for the plugin; nil if it is not known.
func (h *unitsHost) known(ctx context.Context) (*knownPlugin, error) {
	out, err := h.pf9(ctx, "plugin", "list", "-o", "json")
	if err != nil {
		return nil, err
	}
	var all []knownPlugin
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(p knownPlugin) bool { return p.Name == h.plugin.name })
	if i < 0 {
		return nil, nil
	}
	return &all[i], nil
}

// becomes waits until the agent calls the plugin so.
func (h *unitsHost) becomes(ctx context.Context, state, version string) error {
	return until(ctx, 20*time.Second, func() error {
		p, err := h.known(ctx)
		switch {
		case err != nil:
			return err
		case p == nil || p.Running == nil:
			return errors.New("the agent does not know the plugin")
		case p.Running.State != state || version != "" && p.Running.Version != version:
			return fmt.Errorf("the plugin is %s %s (%s), want %s %s", p.Running.Version, p.Running.State, p.Running.Reason, state, version)
		}
		return nil
	})
}

// running are the processes of the plugin.
func (h *unitsHost) running(ctx context.Context) ([]string, error) {
	const look = `for p in /proc/[0-9]*; do [ "$(readlink $p/exe)" != "$0" ] || echo process ${p#/proc/}; done`
	out, err := h.output(ctx, "sh", "-c", look, h.plugin.program)
	return lines(out), err
}

// left is everything that is there of the plugin, beside its package.
func (h *unitsHost) left(ctx context.Context) ([]string, error) {
	all, err := h.running(ctx)
	units, err2 := h.output(ctx, "systemctl", "list-units", "--all", "--plain", "--no-legend", pluginhost.UnitName(h.plugin.name)+"*")
	files, err3 := h.output(ctx, "find", "/run", "/etc", "/var/lib/pf9", "/tmp", "/var/tmp",
		"-name", "*"+h.plugin.name+"*", "-not", "-path", "/run/systemd/propagate/*")
	return slices.Concat(all, lines(units), lines(files)), errors.Join(err, err2, err3)
}

func lines(text string) []string {
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// resources are the ids of what the agent has of the plugin.
func (h *unitsHost) resources(ctx context.Context) ([]string, error) {
	out, err := h.pf9(ctx, "get", h.plugin.kind, "-o", "json")
	if err != nil {
		return nil, err
	}
	var all []wire.Resource
	err = json.Unmarshal([]byte(out), &all)
	var ids []string
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids, err
}
