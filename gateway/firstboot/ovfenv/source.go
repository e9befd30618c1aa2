package ovfenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openpf9/openpf9/gateway/firstboot/program"
	"github.com/openpf9/openpf9/internal/atomicfile"
)

const rpctoolLimit = 10 * time.Second

// Sources are the places to look, in this order: guestinfo, discs, files. The
// zero value has none; [Usual] returns what an appliance has.
type Sources struct {
	Rpctool string   // program; empty: do not ask
	Discs   []string // patterns of devices or images
	Files   []string
}

// Usual is where an appliance finds its environment: VMware's guestinfo, a disc,
// a file that an administrator put there, QEMU's firmware configuration.
func Usual(etc string) Sources {
	return Sources{
		Rpctool: "vmware-rpctool",
		Discs:   []string{"/dev/sr*"},
		Files: []string{
			filepath.Join(etc, "gateway", FileName),
			"/sys/firmware/qemu_fw_cfg/by_name/opt/org.pf9/ovf-env/raw",
		},
	}
}

// FileName is what the document is called on a disc.
const FileName = "ovf-env.xml"

// The transports.
const (
	Guestinfo = "guestinfo"
	Disc      = "disc"
	File      = "file"
)

// Found is an environment and where it was.
type Found struct {
	Environment
	Transport string // Guestinfo, Disc or File
	Where     string // program, device or file
}

// String says where the environment was found.
func (f Found) String() string { return f.Transport + " " + f.Where }

// Read looks for the environment. The first place that has one decides, also if
// what it has is wrong: then it is an error. Without any the error is
// fs.ErrNotExist and says why each place had none.
func (s Sources) Read(ctx context.Context) (Found, error) {
	var none []error
	type place struct {
		transport, where string
		read             func() ([]byte, error)
	}
	var places []place
	if s.Rpctool != "" {
		places = append(places, place{Guestinfo, s.Rpctool, func() ([]byte, error) { return guestinfo(ctx, s.Rpctool) }})
	}
	for _, pattern := range s.Discs {
		devices, err := filepath.Glob(pattern)
		if err != nil {
			return Found{}, fmt.Errorf("look for discs: %q: %w", pattern, err)
		}
		slices.Sort(devices)
		for _, d := range devices {
			places = append(places, place{Disc, d, func() ([]byte, error) { return disc(ctx, d) }})
		}
	}
	for _, file := range s.Files {
		places = append(places, place{File, file, func() ([]byte, error) { return readFile(file) }})
	}
	for _, p := range places {
		if ctx.Err() != nil {
			return Found{}, ctx.Err()
		}
		b, err := p.read()
		if err != nil {
			none = append(none, fmt.Errorf("%s %s: %w", p.transport, p.where, err))
			continue
		}
		env, err := Parse(b)
		if err != nil {
			return Found{}, fmt.Errorf("%s %s: %w", p.transport, p.where, err)
		}
		return Found{env, p.transport, p.where}, nil
	}
	return Found{}, &missing{none}
}

// missing is fs.ErrNotExist with the reasons.
type missing struct{ reasons []error }

func (m *missing) Error() string {
	text := make([]string, len(m.reasons))
	for i, r := range m.reasons {
		text[i] = r.Error()
	}
	return "no OVF environment was found (" + strings.Join(text, "; ") + ")"
}

func (m *missing) Is(target error) bool { return target == fs.ErrNotExist }

func guestinfo(ctx context.Context, rpctool string) ([]byte, error) {
	b, err := program.Run(ctx, rpctoolLimit, rpctool, "info-get guestinfo.ovfEnv")
	if err == nil && len(strings.TrimSpace(string(b))) == 0 {
		return nil, errors.New("the value guestinfo.ovfEnv is empty")
	}
	return b, err
}

func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, MaxBytes+1)) // Parse refuses the one more
}

// Blank takes a property's value away from where the environment was found, as
// far as that can be done from inside: a file is written over, guestinfo gets a
// new value until the virtual machine is powered on again. A disc cannot be
// written; that is fs.ErrPermission.
func (s Sources) Blank(ctx context.Context, f Found, key string) error {
	if f.Properties[key] == "" {
		return nil
	}
	properties := make(map[string]string, len(f.Properties))
	for k, v := range f.Properties {
		properties[k] = v
	}
	properties[key] = ""
	b := Environment{properties}.Marshal()
	switch f.Transport {
	case File:
		if err := scrub(f.Where); err != nil {
			return fmt.Errorf("write over %s: %w", f.Where, err)
		}
		return atomicfile.Write(f.Where, b, 0o600)
	case Guestinfo:
		_, err := program.Run(ctx, rpctoolLimit, f.Where, "info-set guestinfo.ovfEnv "+string(b))
		return err
	}
	return fmt.Errorf("%s cannot be written: %w", f, fs.ErrPermission)
}

// scrub writes zeros over a file's content in place, for its blocks outlive the
// file's name.
func scrub(file string) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fs.ErrPermission
	}
	if _, err := f.WriteAt(make([]byte, min(info.Size(), MaxBytes+1)), 0); err != nil {
		return err
	}
	return f.Sync()
}
