package ovfenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kdomanski/iso9660"
)

// image makes a disc as the library writes it: names in capitals and a version.
func image(t testing.TB, files map[string]string) []byte {
	t.Helper()
	w, err := iso9660.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Cleanup() }()
	for name, content := range files {
		if err := w.AddFile(strings.NewReader(content), name); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := w.WriteTo(&b, "OVFENV"); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, name string, b []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t *testing.T, image []byte) (string, error) {
	t.Helper()
	b, err := disc(t.Context(), write(t, "disc.iso", image))
	return string(b), err
}

func TestDisc(t *testing.T) {
	got, err := read(t, image(t, map[string]string{"readme.txt": "x", FileName: esxi, "sub/" + FileName: "wrong"}))
	if err != nil || got != esxi {
		t.Errorf("%q, %v, want the document", got, err)
	}
}

// The system's own tool writes what vCenter's does: long names by Rock Ridge and
// by Joliet.
func TestDiscOfTheSystemsTools(t *testing.T) {
	for _, tool := range []string{"genisoimage", "xorrisofs"} {
		for _, flags := range []string{"", "-J", "-R", "-J -R", "-l -allow-lowercase -relaxed-filenames", "-iso-level 4"} {
			t.Run(tool+flags, func(t *testing.T) {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("%s is not installed", tool)
				}
				out := filepath.Join(t.TempDir(), "disc.iso")
				args := append(strings.Fields(flags), "-quiet", "-o", out, write(t, FileName, []byte(esxi)))
				if said, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
					t.Skipf("%s %v: %v\n%s", tool, args, err, said)
				}
				got, err := disc(t.Context(), out)
				if err != nil || string(got) != esxi {
					t.Errorf("%q, %v, want the document", got, err)
				}
			})
		}
	}
}

func TestDiscRefuses(t *testing.T) {
	good := image(t, map[string]string{FileName: esxi})
	tests := []struct {
		name  string
		image []byte
		want  string
	}{
		{"no disc", nil, "no ISO 9660"},
		{"another file system", make([]byte, 1<<20), "no ISO 9660"},
		{"another disc", image(t, map[string]string{"linux.img": "x"}), "has no ovf-env.xml"},
		{"a cut disc", good[:len(good)-4096], "unexpected EOF"},
		{"a huge document", image(t, map[string]string{FileName: strings.Repeat("x", MaxBytes+1)}), "more than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got, err := read(t, test.image); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%.40q, %v, want an error with %q", got, err, test.want)
			}
		})
	}
}

func TestDiscStopsInTime(t *testing.T) {
	endless := readerAt(func(p []byte, _ int64) (int, error) { // volume descriptors without an end
		clear(p)
		copy(p, "\x00CD001\x01")
		return len(p), nil
	})
	if _, err := (iso{endless, t.Context().Err}).document(); err == nil || !strings.Contains(err.Error(), "has no end") {
		t.Errorf("an endless disc: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (iso{endless, ctx.Err}).document(); !errors.Is(err, context.Canceled) {
		t.Errorf("after its time: %v", err)
	}
	broken := readerAt(func([]byte, int64) (int, error) { return 0, errors.New("sector cannot be read") })
	if _, err := (iso{broken, t.Context().Err}).document(); err == nil || !strings.Contains(err.Error(), "sector cannot be read") {
		t.Errorf("a scratched disc: %v", err)
	}
}

type readerAt func([]byte, int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// FuzzDisc damages a good disc: three bytes say where, the fourth what. Only
// sectors with something in them are worth damaging.
func FuzzDisc(f *testing.F) {
	good := image(f, map[string]string{FileName: esxi, "a/b": "c"})
	var where []int
	for i := 16 * 2048; i < len(good); i++ {
		if sector := good[i/2048*2048:]; !bytes.Equal(sector[:2048], make([]byte, 2048)) {
			where = append(where, i)
		}
	}
	f.Add([]byte{})
	f.Add([]byte{0, 0, 1, 0xff, 0, 1, 1, 0xff})
	f.Add([]byte("10\x009")) // made another reader eat all memory
	f.Fuzz(func(t *testing.T, damage []byte) {
		disc := bytes.Clone(good)
		for ; len(damage) >= 4; damage = damage[4:] {
			disc[where[(int(damage[0])<<16|int(damage[1])<<8|int(damage[2]))%len(where)]] = damage[3]
		}
		content, err := iso{bytes.NewReader(disc), t.Context().Err}.document()
		if err != nil && content != nil || len(content) > MaxBytes {
			t.Errorf("%d bytes, %v", len(content), err)
		}
	})
}

// rpctool is a program that answers as vmware-rpctool does, and keeps what it is
// told to set.
func rpctool(t *testing.T, env string) (path, set string) {
	t.Helper()
	dir := t.TempDir()
	set = filepath.Join(dir, "set")
	value := write(t, "value", []byte(env))
	path = filepath.Join(dir, "vmware-rpctool")
	script := fmt.Sprintf(`#!/bin/sh
case "$1" in
"info-get guestinfo.ovfEnv") if [ -s %[1]s ]; then cat %[1]s; else echo "No value found"; exit 1; fi ;;
"info-set guestinfo.ovfEnv "*) printf %%s "${1#info-set guestinfo.ovfEnv }" >%[2]s ;;
*) echo "Unknown command"; exit 1 ;;
esac
`, value, set)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, set
}

func TestReadLooksInOrder(t *testing.T) {
	only := func(key string) string { return string(Environment{map[string]string{key: "x"}}.Marshal()) }
	full, _ := rpctool(t, only("guest"))
	empty, _ := rpctool(t, "")
	iso := write(t, "disc.iso", image(t, map[string]string{FileName: only("disc")}))
	other := write(t, "other.iso", image(t, map[string]string{"x": "y"}))
	file := write(t, "env.xml", []byte(only("file")))
	absent := filepath.Join(t.TempDir(), "absent")
	tests := []struct {
		name string
		from Sources
		want string
	}{
		{"guestinfo first", Sources{full, []string{iso}, []string{file}}, "guest"},
		{"no value", Sources{empty, []string{iso}, []string{file}}, "disc"},
		{"no tool", Sources{absent, []string{other, iso}, []string{file}}, "disc"},
		{"another disc", Sources{absent, []string{other}, []string{absent, file}}, "file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found, err := test.from.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := found.Properties[test.want]; !ok {
				t.Errorf("found %s with %v, want %s", found, found.Properties, test.want)
			}
		})
	}
	_, err := Sources{empty, []string{other}, []string{absent}}.Read(t.Context())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("nowhere: %v, want fs.ErrNotExist", err)
	}
	for _, want := range []string{"No value found", "has no ovf-env.xml", "no such file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestReadDoesNotPassOverWhatIsWrong(t *testing.T) {
	bad, _ := rpctool(t, `<Environment oe:value="a&b"/>`)
	file := write(t, "env.xml", Environment{}.Marshal())
	if _, err := (Sources{bad, nil, []string{file}}).Read(t.Context()); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error = %v, want one about the XML", err)
	}
}

func TestBlank(t *testing.T) {
	env := string(Environment{map[string]string{"gw.join_token": "secret", "gw.ip": "192.0.2.10/24"}}.Marshal())
	gone := func(t *testing.T, b []byte) {
		t.Helper()
		got, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.Properties["gw.join_token"] != "" || got.Properties["gw.ip"] != "192.0.2.10/24" {
			t.Errorf("properties = %v", got.Properties)
		}
	}
	t.Run("file", func(t *testing.T) {
		file := write(t, "env.xml", []byte(env))
		held, err := os.Open(file) // as the disk's blocks: the content under the old name
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = held.Close() }()
		s := Sources{Files: []string{file}}
		found, err := s.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Blank(t.Context(), found, "gw.join_token"); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		gone(t, b)
		old := make([]byte, len(env))
		if _, err := held.ReadAt(old, 0); err != nil || bytes.Contains(old, []byte("secret")) {
			t.Errorf("the old blocks hold %q, %v", old, err)
		}
	})
	t.Run("guestinfo", func(t *testing.T) {
		tool, set := rpctool(t, env)
		s := Sources{Rpctool: tool}
		found, err := s.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Blank(t.Context(), found, "gw.join_token"); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(set)
		if err != nil {
			t.Fatal(err)
		}
		gone(t, b)
	})
	t.Run("disc", func(t *testing.T) {
		s := Sources{Discs: []string{write(t, "disc.iso", image(t, map[string]string{FileName: env}))}}
		found, err := s.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Blank(t.Context(), found, "gw.join_token"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("error = %v, want fs.ErrPermission", err)
		}
	})
}
