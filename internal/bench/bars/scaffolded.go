package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// scaffolded is a plugin as `plugin new` writes it, in a folder of its own.
type scaffolded struct {
	name, kind string
	dir        string
	program    string // where its package puts it
}

func newScaffolded(ctx context.Context, r *run, lang string) (*scaffolded, error) {
	sdk, err := top(ctx)
	if err != nil {
		return nil, err
	}
	p := &scaffolded{name: "acme-disks", kind: "com.acme.disk", dir: filepath.Join(r.box.Dir, lang)}
	p.program = "/usr/libexec/pf9-hostagent/" + p.name
	words := []string{r.box.Programs.HostAgent, "plugin", "new", p.name, "--lang", lang, "--kind", p.kind, "--dir", p.dir}
	if lang == "go" {
		words = append(words, "--sdk", sdk)
	} else {
		p.program += ".py"
	}
	return p, command(ctx, words...)
}

func (p *scaffolded) packageName() string { return "pf9-plugin-" + p.name }

// rpm builds a package of this version with rpmbuild, as the plugin's README
// says, looks at what is in it, and returns its file.
func (p *scaffolded) rpm(ctx context.Context, version string) (string, error) {
	spec := filepath.Join(p.dir, "packaging", p.packageName()+".spec")
	if err := errors.Join(setVersion(spec, version), setVersion(filepath.Join(p.dir, p.name+".toml"), version)); err != nil {
		return "", err
	}
	top := p.dir + "-rpm"
	if err := os.MkdirAll(top, 0o755); err != nil {
		return "", err
	}
	git := []string{"git", "-C", p.dir, "-c", "user.name=bars", "-c", "user.email=bars@example.com"}
	source := p.packageName() + "-" + version
	for _, words := range [][]string{
		append(git, "init", "--quiet"), append(git, "add", "."),
		append(git, "commit", "--quiet", "--message", version),
		append(git, "archive", "--prefix="+source+"/", "-o", filepath.Join(top, source+".tar.gz"), "HEAD"),
		// A build machine has the compiler as an rpm; this one need not.
		{"rpmbuild", "-bb", "--quiet", "--nodeps", "--define", "_sourcedir " + top, "--define", "_topdir " + top, spec},
	} {
		if err := command(ctx, words...); err != nil {
			return "", err
		}
	}
	found, err := filepath.Glob(filepath.Join(top, "RPMS", "*", source+"-*.rpm"))
	if err != nil || len(found) != 1 {
		return "", errors.Join(fmt.Errorf("rpmbuild made %q, want one rpm", found), err)
	}
	return found[0], p.holds(ctx, found[0])
}

// setVersion writes another version into a file that names one.
func setVersion(file, version string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(text), "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(strings.ToLower(l), "version") })
	if i < 0 {
		return fmt.Errorf("%s names no version", file)
	}
	_, old, _ := strings.Cut(lines[i], "0.")
	old = "0." + strings.TrimRight(old, "\"\n")
	lines[i] = strings.Replace(lines[i], old, version, 1)
	return os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644)
}

// holds wants a package, a deb or an rpm, to have what makes a plugin, and nothing
// else.
func (p *scaffolded) holds(ctx context.Context, file string) error {
	got, err := lookInto(ctx, file)
	if err != nil {
		return err
	}
	unit := "/usr/lib/systemd/system/pf9-hostagent-plugin-" + p.name
	return got.is(filepath.Join(p.dir, "packaging"), []string{"pf9-hostagent"}, []string{
		"-rw-r--r-- root /usr/lib/pf9-hostagent/plugins/" + p.name + ".toml",
		"-rw-r--r-- root " + unit + ".socket",
		"-rw-r--r-- root " + unit + "@.service",
		"-rwxr-xr-x root " + p.program,
	})
}

// nfpm builds a package, a deb or an rpm, with nfpm, as the plugin's README says,
// looks at what is in it, and returns its file.
func (p *scaffolded) nfpm(ctx context.Context, tool, packager, version string) (string, error) {
	cmd := exec.CommandContext(ctx, "make", "-s", "-C", p.dir, packager, "VERSION="+version)
	cmd.Env = append(cmd.Environ(), "PATH="+filepath.Dir(tool)+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make %s: %w\n%s", packager, err, out)
	}
	found, err := filepath.Glob(filepath.Join(p.dir, "dist", "*"+version+"*."+packager))
	if err != nil || len(found) != 1 {
		return "", errors.Join(fmt.Errorf("nfpm made %q, want one %s", found, packager), err)
	}
	return found[0], p.holds(ctx, found[0])
}
