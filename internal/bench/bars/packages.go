package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// top is the root of the repository.
func top(ctx context.Context) (string, error) {
	file, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find our own module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(file))), nil
}

// nfpm builds the program that makes debs and rpms, unless this run has it.
func nfpm(ctx context.Context, r *run) (string, error) {
	program := filepath.Join(r.box.Dir, "bin/nfpm")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	at, err := top(ctx)
	if err != nil {
		return "", err
	}
	return program, command(ctx, "go", "build", "-C", filepath.Join(at, "packaging/tools"), "-o", program, "github.com/goreleaser/nfpm/v2/cmd/nfpm")
}

// gatewayPackage builds the gateway's package, a deb or an rpm, of this version,
// looks at what is in it, and returns its file.
func gatewayPackage(ctx context.Context, r *run, packager, version string) (string, error) {
	tool, err := nfpm(ctx, r)
	if err != nil {
		return "", err
	}
	at, err := top(ctx)
	if err != nil {
		return "", err
	}
	file := filepath.Join(r.box.Dir, "pf9-gateway-"+version+"."+packager)
	cmd := exec.CommandContext(ctx, tool, "package", "--config", "packaging/gateway/nfpm.yaml", "--packager", packager, "--target", file)
	cmd.Dir = at
	cmd.Env = append(cmd.Environ(), "BIN="+filepath.Dir(r.box.Programs.Gateway), "ARCH="+runtime.GOARCH, "VERSION="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("nfpm package: %w\n%s", err, out)
	}
	got, err := lookInto(ctx, file)
	if err != nil {
		return "", err
	}
	unit := "-rw-r--r-- root /usr/lib/systemd/system/pf9-gateway"
	return file, got.is(filepath.Join(at, "packaging/gateway"), []string{"systemd"}, []string{
		"-rw-r--r-- root /etc/pf9/gateway.conf",
		"-rw-r--r-- root /usr/lib/systemd/system-preset/80-pf9-gateway.preset",
		"-rw-r--r-- root /usr/lib/sysusers.d/pf9.conf",
		"-rw-r--r-- root /usr/lib/tmpfiles.d/pf9-gateway.conf",
		"-rw-r--r-- root /usr/lib/tmpfiles.d/pf9.conf",
		"-rw-r--r-- root /usr/share/man/man5/gateway.conf.5",
		"-rw-r--r-- root /usr/share/man/man8/pf9-gateway.8",
		"-rwxr-xr-x root /usr/bin/pf9-gateway",
		unit + ".service", unit + "-console.service", unit + "-firstboot.service",
	})
}

// inside is what a package says that it has.
type inside struct {
	file    string
	files   []string          // "-rw-r--r-- root /path", without directories
	scripts map[string]string // by what ours are called
	needs   string
}

// ownScripts are a package's scripts, by what ours are called, and what rpm and
// dpkg call them.
var ownScripts = map[string]struct{ rpm, deb string }{
	"after-install.sh": {"%{POSTIN}", "postinst"},
	"before-remove.sh": {"%{PREUN}", "prerm"},
	"after-remove.sh":  {"%{POSTUN}", "postrm"},
}

// lookInto reads a package, a deb or an rpm.
func lookInto(ctx context.Context, file string) (inside, error) {
	in := inside{file: file, scripts: make(map[string]string)}
	ask := func(words ...string) (string, error) {
		out, err := exec.CommandContext(ctx, words[0], words[1:]...).Output()
		if err != nil {
			return "", fmt.Errorf("look into %s: %s: %w", filepath.Base(file), strings.Join(words, " "), err)
		}
		return string(out), nil
	}
	isDeb := strings.HasSuffix(file, ".deb")
	list, needs := []string{"rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILENAMES}\n]", file}, []string{"rpm", "-qp", "--requires", file}
	if isDeb {
		list, needs = []string{"dpkg-deb", "--contents", file}, []string{"dpkg-deb", "--field", file, "Depends"}
	}
	out, err := ask(list...)
	if err != nil {
		return in, err
	}
	for _, l := range lines(out) {
		if isDeb { // -rw-r--r-- root/root 139 2026-11-26 20:33 ./usr/...
			f := strings.Fields(l)
			if len(f) != 6 {
				return in, fmt.Errorf("dpkg-deb lists %q", l)
			}
			owner, _, _ := strings.Cut(f[1], "/")
			l = f[0] + " " + owner + " " + strings.TrimPrefix(f[5], ".")
		}
		if !strings.HasPrefix(l, "d") {
			in.files = append(in.files, l)
		}
	}
	slices.Sort(in.files)
	if in.needs, err = ask(needs...); err != nil {
		return in, err
	}
	for name, called := range ownScripts {
		words := []string{"rpm", "-qp", "--qf", called.rpm, file}
		if isDeb {
			words = []string{"dpkg-deb", "--info", file, called.deb}
		}
		if in.scripts[name], err = ask(words...); err != nil {
			return in, err
		}
	}
	return in, nil
}

// is wants a package to have these files and no others, the scripts of a folder,
// and to need these packages.
func (in inside) is(scripts string, needs, files []string) error {
	name := filepath.Base(in.file)
	slices.Sort(files)
	if got := slices.DeleteFunc(slices.Clone(in.files), func(l string) bool { return strings.Contains(l, " /usr/share/doc/") }); !slices.Equal(got, files) {
		return fmt.Errorf("%s has\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(files, "\n"))
	}
	for _, s := range slices.Sorted(maps.Keys(in.scripts)) {
		want, err := os.ReadFile(filepath.Join(scripts, s))
		if err != nil {
			return err
		}
		if strings.TrimSpace(in.scripts[s]) != strings.TrimSpace(string(want)) {
			return fmt.Errorf("%s has, as its %s,\n%s\nwant\n%s", name, s, in.scripts[s], want)
		}
	}
	for _, n := range needs {
		if !strings.Contains(in.needs, n) {
			return fmt.Errorf("%s does not need %s, but %q", name, n, in.needs)
		}
	}
	return nil
}
